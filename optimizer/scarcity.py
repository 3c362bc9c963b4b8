"""Who gets what when not everything fits: by priority, then by what a replica is worth.

Parts that share nothing scarce are decided apart. In each part every request of a class
outweighs all that lower classes could gain with the same resources, and a request outweighs
any cost; so what is short is short in the lowest class, there where a replica carries least.
"""

from dataclasses import dataclass, replace

import numpy as np

from .components import components
from .domain import BoolArray, FloatArray, IntArray
from .problem import SLACK, Problem
from .search import Method, Part, SolverLimits, searched

__all__ = ["Allocation", "Method", "SolverLimits", "allocate", "penalties"]

# How much a lost request of the lowest class outweighs the dearest way to carry it.
_OVER_COST = 10.0
# The solver's arithmetic bears this ratio between the largest and the smallest penalty.
_LARGEST_SPREAD = 1e6
_LARGEST_STEP = 1e3
_LEAST_STEP = 10.0
# A class is short if it lacks this share of its requests, for what could be avoided.
_NOTICED = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """The plan and how good it is known to be.

    Attributes
    ----------
    counts : ndarray of int, shape (V,)
    unmet_ratio : ndarray, shape (S,)
        Share of each service that isn't carried within its SLO.
    price : ndarray, shape (R,)
        What one more unit of a resource would save. [currency/h]
    method : ndarray of int, shape (S,)
        A `Method`, of each service's part.
    scarce : ndarray of bool, shape (S,)
        Whether the service shares something that may run out.
    objective, bound : float
        Of the parts that share something: value of the plan and the least possible.
        [currency/h, penalties included]
    """

    counts: IntArray
    unmet_ratio: FloatArray
    price: FloatArray
    method: IntArray
    scarce: BoolArray
    objective: float
    bound: float

    @property
    def gap_ratio(self) -> float:
        """Return how far from the bound the plan may be."""
        return max(0.0, (self.objective - self.bound) / max(abs(self.objective), SLACK))


def allocate(
    problem: Problem,
    *,
    last: IntArray | None = None,
    price: FloatArray | None = None,
    limits: SolverLimits | None = None,
) -> Allocation:
    """Return the best plan that fits; see `Problem` for what best means.

    Parameters
    ----------
    problem : Problem
    last : array of int, shape (V,), optional
        The last plan: always a candidate. Default: the current counts.
    price : array, shape (R,), optional
        Of resources, when something alike was last decided: where to begin. [currency/h]
    limits : SolverLimits, optional

    Returns
    -------
    Allocation
    """
    limits = limits or SolverLimits()
    last = problem.kept if last is None else np.clip(last, problem.lowest, problem.highest)
    counts = problem.lowest.copy()
    found = np.zeros(len(problem.uses.capacity))
    services = len(problem.demand_rps)
    method, scarce = np.zeros(services, dtype=np.int64), np.zeros(services, dtype=np.bool_)
    objective = bound = 0.0
    alone = np.zeros(services, dtype=np.bool_)
    for rows, variants, resources in components(problem):
        if len(resources) == 0:
            alone[rows] = True
            continue
        begin = None if price is None else price[resources]
        part = _solved(problem.taken(rows, variants, resources), last[variants], begin, limits)
        counts[variants], found[resources] = part.counts, part.price
        method[rows], scarce[rows] = part.method, True
        objective, bound = objective + part.objective, bound + part.bound
    if alone.any():
        mine = np.flatnonzero(alone[problem.service])
        free = problem.taken(np.flatnonzero(alone), mine, np.empty(0, dtype=np.int64))
        counts[mine] = _solved(free, last[mine], None, limits).counts
    return Allocation(
        counts=counts,
        unmet_ratio=problem.unmet(counts),
        price=found,
        method=method,
        scarce=scarce,
        objective=objective,
        bound=bound,
    )


def penalties(problem: Problem) -> FloatArray:
    """Return what a wholly unmet service costs, shape (S,). [currency/h]

    Per request a class weighs more than the next by twice the range of what a request takes
    of any resource, within what the solver's arithmetic bears.
    """
    classes, row = np.unique(problem.priority, return_inverse=True)
    used = problem.rate_rps > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = (problem.cost_per_hour + problem.start_per_hour) / problem.rate_rps
        units = problem.uses.units / problem.rate_rps[problem.uses.variant]
    units = units[np.isfinite(units) & (units > 0)]
    step = 2.0 * float(units.max() / units.min()) if len(units) else _LEAST_STEP
    widest = _LARGEST_SPREAD ** (1.0 / max(1, len(classes) - 1))
    step = float(np.clip(step, _LEAST_STEP, max(_LEAST_STEP, min(_LARGEST_STEP, widest))))
    dearest = max(float(each[used].max(initial=0.0)), 1e-3)
    weight = _OVER_COST * dearest * step ** (len(classes) - 1.0 - row)
    return np.asarray(weight * problem.requests_rps)


def _solved(
    problem: Problem, last: IntArray, price: FloatArray | None, limits: SolverLimits
) -> Part:
    """Solve one part; make sure that no class loses to a lower one."""
    penalty = penalties(problem)
    part = searched(problem, penalty, last, price, limits)
    avoidable = problem.unmet_by_class(part.counts) - problem.unmet_by_class(problem.highest)
    classes, row = np.unique(problem.priority, return_inverse=True)
    asked = np.bincount(row, weights=problem.requests_rps)
    short = np.flatnonzero(avoidable > _NOTICED * asked)
    lowest = problem.priority[problem.requests_rps > 0].max(initial=0)
    if part.proven or len(short) == 0 or classes[short[0]] >= lowest:
        return part
    # The first class that is short may have lost to a lower one in rounding: decide it
    # without them, then give them what is left.
    upper = problem.priority <= classes[short[0]]
    without = _solved(problem.limited_to(upper), last, price, limits)
    if not _ahead(problem, without.counts, part.counts, int(short[0])):
        return part
    rest = problem.held(upper[problem.service], without.counts)
    counts = searched(rest, penalties(rest), last, price, limits).counts
    objective = problem.spend(counts) + float((penalty * problem.unmet(counts)).sum())
    return replace(part, counts=counts, method=Method.SEARCH, objective=objective)


def _ahead(problem: Problem, one: IntArray, other: IntArray, last_class: int) -> bool:
    """Return whether `one` loses less than `other`, highest class first."""
    lost, than = problem.unmet_by_class(one), problem.unmet_by_class(other)
    for mine, theirs in zip(lost[: last_class + 1], than[: last_class + 1], strict=True):
        if abs(mine - theirs) > SLACK * max(1.0, theirs):
            return bool(mine < theirs)
    return False
