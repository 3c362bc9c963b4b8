"""A scenario under a policy: the closed loop, from the first request to the last answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .demand import Demand
from .scenario import Scenario
from .service import Outcomes
from .world import Action, Sample, Usage, World

__all__ = ["Policy", "PolicyFactory", "Run", "play"]

DRAIN_STEP_S = 5.0


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
    """What one run came to. Usage is that of the scenario's duration, without the drain."""

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
    world = World(scenario, seed=seed, compiled=compiled)
    policy = factory(world)
    while world.now_s < scenario.duration_s:
        until_s = min(max(policy.next_s, world.now_s), scenario.duration_s)
        world.advance(until_s)
        if policy.next_s <= world.now_s < scenario.duration_s:
            policy.act(world)
    world.finish()
    usage = tuple(world.usage)
    world.usage = [Usage() for _ in world.variants]
    actions, samples = tuple(world.actions), tuple(world.samples)
    end_s = scenario.duration_s + scenario.drain_s
    while world.now_s < end_s and any(s.queued or s.in_flight for s in world.services):
        world.advance(min(world.now_s + DRAIN_STEP_S, end_s))
    return Run(
        scenario=scenario,
        policy=name,
        seed=seed,
        demand=world.demand,
        outcomes=tuple(service.outcomes() for service in world.services),
        usage=usage,
        actions=actions,
        samples=samples,
    )
