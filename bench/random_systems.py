"""Random systems that share accelerators, for the solver's tests and its bench."""

import numpy as np

from optimizer.domain import IntArray
from optimizer.problem import Problem
from optimizer.scarcity import penalties
from optimizer.supply import Uses

__all__ = ["instance", "loses_less", "value"]


def instance(
    models: int,
    *,
    seed: int,
    variants_each: int = 4,
    types: int = 9,
    classes: int = 3,
    tightness: float = 1.0,
    most: int = 1000,
) -> Problem:
    """Return a random system whose GPUs are `tightness` times what an even split would take."""
    rng = np.random.default_rng(seed)
    count = models * variants_each
    service = np.repeat(np.arange(models), variants_each)
    kind = np.concatenate([rng.choice(types, variants_each, replace=False) for _ in range(models)])
    units = rng.choice([1.0, 1.0, 2.0, 4.0], count)
    cost = np.exp(rng.uniform(np.log(0.5), np.log(8.0), types))[kind] * units
    rate = cost**0.9 * rng.uniform(0.5, 2.0, count)
    demand = rng.lognormal(2.5, 1.0, models)
    even = units * demand[service] / rate / variants_each
    return Problem(
        service=service,
        role=np.zeros(count, dtype=np.int64),
        rate_rps=rate,
        cost_per_hour=cost,
        start_per_hour=0.15 * cost,
        stop_per_hour=0.045 * cost,
        current=rng.integers(0, 4, count),
        lowest=np.zeros(count, dtype=np.int64),
        highest=np.full(count, most),
        demand_rps=demand[:, None],
        priority=rng.integers(1, classes + 1, models),
        uses=Uses(
            resource=kind,
            variant=np.arange(count),
            units=units,
            capacity=np.floor(tightness * np.bincount(kind, weights=even, minlength=types)),
        ),
    )


def value(problem: Problem, counts: IntArray) -> float:
    """Return what a plan costs, its penalties included. [currency/h]"""
    return problem.spend(counts) + float((penalties(problem) * problem.unmet(counts)).sum())


def loses_less(problem: Problem, one: IntArray, other: IntArray) -> bool:
    """Return whether `one` loses fewer requests of the highest class in which they differ.

    Penalties only weigh classes in one sum; a plan that puts a higher one first is the better.
    """
    mine, theirs = problem.unmet_by_class(one), problem.unmet_by_class(other)
    differ = np.flatnonzero(np.abs(mine - theirs) > 1e-6)
    return len(differ) > 0 and bool(mine[differ[0]] < theirs[differ[0]])
