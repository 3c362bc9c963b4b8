"""Plans that are made before anything happens: the cheapest mix for a rate, slot by slot."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray, IntArray

from ..reference import variant_capacity_rps
from ..world import World

__all__ = ["Fleet", "capacities_rps", "cheapest_counts", "fleets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The variants of one model, with what a replica carries and costs."""

    model: int
    rows: tuple[int, ...]
    least: tuple[int, ...]
    most: tuple[int, ...]
    cost_per_hour: tuple[float, ...]


def fleets(world: World) -> list[Fleet]:
    """Return the variants of each model."""
    scenario = world.scenario
    return [
        Fleet(
            model=model,
            rows=(rows := tuple(r for r, m in enumerate(world.model_of) if m == model)),
            least=tuple(scenario.variants[r].min_replicas for r in rows),
            most=tuple(scenario.variants[r].max_replicas for r in rows),
            cost_per_hour=tuple(_cost_per_hour(world, r) for r in rows),
        )
        for model in range(len(scenario.models))
    ]


def capacities_rps(world: World, fleet: Fleet, at_s: float) -> FloatArray:
    """Return what one replica of each variant carries of the lengths of `at_s`."""
    return np.array([variant_capacity_rps(world.scenario, row, at_s=at_s) for row in fleet.rows])


def _cost_per_hour(world: World, row: int) -> float:
    spec = world.variants[row]
    kind = world.scenario.accelerators[spec.accelerator]
    return spec.accelerators_per_replica * kind.cost_per_hour


def cheapest_counts(fleet: Fleet, capacity_rps: Sequence[float], rate_rps: float) -> IntArray:
    """Return the cheapest counts that carry `rate_rps`; all there is where nothing does.

    Tries every count of all variants but the last, which takes the rest.
    """
    free = [range(low, high + 1) for low, high in zip(fleet.least, fleet.most, strict=True)]
    best, least = np.array(fleet.most, dtype=np.int64), math.inf
    for counts in itertools.product(*free[:-1]):
        carried = sum(n * c for n, c in zip(counts, capacity_rps, strict=False))
        rest = max(rate_rps - carried, 0.0)
        own = float(capacity_rps[-1])
        needed = math.ceil(rest / own - 1e-9) if own > 0 else (0 if rest == 0 else math.inf)
        needed = max(needed, fleet.least[-1])
        if needed > fleet.most[-1]:
            continue
        whole = (*counts, int(needed))
        cost = sum(n * c for n, c in zip(whole, fleet.cost_per_hour, strict=True))
        if cost < least - 1e-9:
            best, least = np.array(whole, dtype=np.int64), cost
    return best
