"""A scenario under a policy: the closed loop, from the first request to the last answer.

What comes before a scenario's first moment, its lead-in, is played like the rest: every
policy starts from what it would be doing anyway, having seen as much of the load as an
installation that runs. Nothing of it is judged or paid for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

from .demand import Demand
from .history import Action, Sample, Usage
from .outcomes import Outcomes
from .scenario import Scenario
from .world import World

__all__ = ["Policy", "PolicyFactory", "Run", "play"]

DRAIN_STEP_S = 5.0

Moment = TypeVar("Moment", Action, Sample)


class Policy(Protocol):
    """Something that scales. It is asked to act whenever its time has come."""

    @property
    def next_s(self) -> float:
        """When it wants to act next; inf for never."""
        ...

    def act(self, world: World) -> None:
        """Look at the world and scale what it likes; moves `next_s` on."""
        ...


PolicyFactory: TypeAlias = Callable[[World], Policy]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What one run came to; time 0 is the end of the lead-in.

    Usage is that of the scenario's duration, without lead-in and drain.
    """

    scenario: Scenario
    policy: str
    seed: int
    demand: tuple[Demand, ...]
    outcomes: tuple[Outcomes, ...]
    usage: tuple[Usage, ...]
    actions: tuple[Action, ...]
    samples: tuple[Sample, ...]


def play(
    scenario: Scenario,
    name: str,
    factory: PolicyFactory,
    *,
    seed: int,
    compiled: bool | None = None,
) -> Run:
    """Run `scenario` under the policy that `factory` makes, and see every request to its end."""
    lead_s = scenario.lead_in_s
    world = World(scenario.led_in(), seed=seed, compiled=compiled)
    policy = factory(world)
    _run(world, policy, until_s=lead_s)
    before = world.used()
    end_s = world.scenario.duration_s
    _run(world, policy, until_s=end_s)
    usage = tuple(all_.since(lead) for all_, lead in zip(world.used(), before, strict=True))
    actions, samples = tuple(world.actions), tuple(world.samples)
    drained_s = end_s + scenario.drain_s
    while world.now_s < drained_s and any(s.queued or s.in_flight for s in world.services):
        world.advance(min(world.now_s + DRAIN_STEP_S, drained_s))
    return Run(
        scenario=scenario,
        policy=name,
        seed=seed,
        demand=tuple(each.since(lead_s) for each in world.demand),
        outcomes=tuple(service.outcomes().since(lead_s) for service in world.services),
        usage=usage,
        actions=_since(actions, lead_s),
        samples=_since(samples, lead_s),
    )


def _run(world: World, policy: Policy, *, until_s: float) -> None:
    while world.now_s < until_s:
        world.advance(min(max(policy.next_s, world.now_s), until_s))
        if policy.next_s <= world.now_s < until_s:
            policy.act(world)


def _since(records: tuple[Moment, ...], start_s: float) -> tuple[Moment, ...]:
    """Return the records from `start_s` on, on a clock that starts there."""
    return tuple(replace(r, at_s=r.at_s - start_s) for r in records if r.at_s >= start_s)
