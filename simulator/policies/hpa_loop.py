"""The stock HPA per variant, on whatever signal a policy computes (see `simulator.hpa`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..hpa import Behavior, HpaSpec, HpaState, decide
from ..pod import PodState
from ..world import World

__all__ = ["SYNC_S", "HpaLoop", "Signal", "hpa_specs"]

SYNC_S = 15.0

# What a policy shows the HPA of each variant: usage over target, summed over its pods; None
# where the metrics API would have no answer.
Signal: TypeAlias = Callable[[World], Sequence[float | None]]


def hpa_specs(world: World, behavior: Behavior | None, *, zero: bool = False) -> list[HpaSpec]:
    """Return one HPA per variant with the scenario's bounds; a minimum of 0 only if `zero`.

    With a minimum of 0 (feature gate HPAScaleToZero, on from Kubernetes 1.37) an external
    metric above 0 wakes a variant at the next sync.
    """
    return [
        HpaSpec(
            min_replicas=spec.min_replicas if zero else max(spec.min_replicas, 1),
            max_replicas=spec.max_replicas,
            behavior=behavior,
        )
        for spec in world.variants
    ]


@dataclass(slots=True)
class HpaLoop:
    """One HPA controller. With several metrics, the signal is the largest of them."""

    specs: Sequence[HpaSpec]
    signal: Signal
    _states: list[HpaState] | None = None

    def sync(self, world: World) -> None:
        """Do what the controller does every sync period."""
        states = self._states or [HpaState() for _ in self.specs]
        values = self.signal(world)
        for row, spec in enumerate(self.specs):
            wanted = int(world.wanted[row])
            if wanted == 0 and spec.min_replicas > 0:
                world.scale(row, spec.min_replicas)  # who runs on HPA alone starts with some
                continue
            there = world.count(row, PodState.PENDING, PodState.STARTING, PodState.READY)
            decision = decide(
                states[row],
                spec,
                replicas=wanted,
                status_replicas=there,
                metric=values[row],
                now_s=world.now_s,
            )
            states[row] = decision.state
            world.scale(row, decision.replicas)
        self._states = states
