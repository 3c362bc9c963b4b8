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
    wanted: IntArray | None = None,
    price: FloatArray | None = None,
    limits: SolverLimits | None = None,
) -> Allocation:
    """Return the best plan that fits; see `Problem` for what best means.

    Parameters
    ----------
    problem : Problem
    last : array of int, shape (V,), optional
        The last plan: always a candidate. Default: the current counts.
    wanted : array of int, shape (V,), optional
        What the services would have if each were alone: classes for which it fits, lower ones
        left out, get no less.
    price : array, shape (R,), optional
        Of resources, when something alike was last decided: where to begin. [currency/h]
    limits : SolverLimits, optional

    Returns
    -------
    Allocation

    Notes
    -----
    Who asks for nothing is left out, with the lower bounds, so that what the others get doesn't
    depend on it.
    """
    last = problem.kept if last is None else np.clip(last, problem.lowest, problem.highest)
    given = _Given(last=last, wanted=wanted, price=price, limits=limits or SolverLimits())
    return _allocated(problem, given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Given:
    """What is known beforehand: plans, prices, and how far to look."""

    last: IntArray
    wanted: IntArray | None
    price: FloatArray | None
    limits: SolverLimits
    beneath: int = 0  # classes that were left out, below those that ask

    def taken(self, variants: IntArray | BoolArray, price: FloatArray | None = None) -> "_Given":
        """Return what is known of some variants, and another price."""
        return replace(
            self,
            last=self.last[variants],
            wanted=None if self.wanted is None else self.wanted[variants],
            price=price,
        )


def _allocated(problem: Problem, given: _Given) -> Allocation:
    """Return the best plan for those who ask, with the lower bounds of those who don't."""
    asking = problem.requests_rps > 0
    if asking.all() or not asking.any():
        return _by_parts(problem, given)
    rows, mine = np.flatnonzero(asking), asking[problem.service]
    found = _by_parts(problem.among(asking, problem.lowest), given.taken(mine))
    counts = problem.lowest.copy()
    counts[mine] = found.counts
    method, scarce = np.zeros(len(asking), dtype=np.int64), np.zeros(len(asking), dtype=np.bool_)
    method[rows], scarce[rows] = found.method, found.scarce
    return replace(
        found, counts=counts, unmet_ratio=problem.unmet(counts), method=method, scarce=scarce
    )


def _by_parts(problem: Problem, given: _Given) -> Allocation:
    """Solve each part that shares nothing scarce with the others."""
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
        begin = None if given.price is None else given.price[resources]
        part = _solved(problem.taken(rows, variants, resources), given.taken(variants, begin))
        counts[variants], found[resources] = part.counts, part.price
        method[rows], scarce[rows] = part.method, True
        objective, bound = objective + part.objective, bound + part.bound
    if alone.any():
        mine = np.flatnonzero(alone[problem.service])
        free = problem.taken(np.flatnonzero(alone), mine, np.empty(0, dtype=np.int64))
        counts[mine] = _solved(free, given.taken(mine)).counts
    return Allocation(
        counts=counts,
        unmet_ratio=problem.unmet(counts),
        price=found,
        method=method,
        scarce=scarce,
        objective=objective,
        bound=bound,
    )


def penalties(problem: Problem, beneath: int = 0) -> FloatArray:
    """Return what a wholly unmet service costs, shape (S,). [currency/h]

    Per request a class weighs more than the next by twice the range of what a request takes
    of any resource, within what the solver's arithmetic bears. With classes left out `beneath`,
    the others weigh what they would beside them: or a request would be given up for money that
    isn't given up where somebody lower asks, too.
    """
    classes, row = np.unique(problem.priority, return_inverse=True)
    used = problem.rate_rps > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = (problem.cost_per_hour + problem.start_per_hour) / problem.rate_rps
        units = problem.uses.units / problem.rate_rps[problem.uses.variant]
    units = units[np.isfinite(units) & (units > 0)]
    step = 2.0 * float(units.max() / units.min()) if len(units) else _LEAST_STEP
    widest = _LARGEST_SPREAD ** (1.0 / max(1, len(classes) - 1 + beneath))
    step = float(np.clip(step, _LEAST_STEP, max(_LEAST_STEP, min(_LARGEST_STEP, widest))))
    dearest = max(float(each[used].max(initial=0.0)), 1e-3)
    weight = _OVER_COST * dearest * step ** (len(classes) - 1.0 - row + beneath)
    return np.asarray(weight * problem.requests_rps)


def _solved(problem: Problem, given: _Given) -> Part:
    """Solve one part so that no class loses anything to a lower one.

    Penalties weigh classes in one sum, which is exact but for rounding. Where a class that
    isn't the last is short in it, the classes down to the last but one are decided as if there
    were no other, so that what they get can't depend on it; the last gets what that leaves.
    """
    penalty = penalties(problem, given.beneath)
    part = searched(problem, penalty, given.last, given.price, given.limits)
    classes = np.unique(problem.priority[problem.requests_rps > 0])
    if len(classes) < 2 or not _short(problem, part.counts, classes[-2]):
        return part
    upper = problem.priority <= classes[-2]
    counts = _without_lower(problem, upper, part, given)
    if not _ahead(problem, counts, part.counts, classes[-2]):
        return part
    counts = _with_lower(problem, upper, counts, part.price, given.limits)
    objective = problem.spend(counts) + float((penalty * problem.unmet(counts)).sum())
    return replace(part, counts=counts, method=Method.SEARCH, objective=objective)


def _without_lower(problem: Problem, upper: BoolArray, part: Part, given: _Given) -> IntArray:
    """Return the counts of the `upper` services as if nobody else asked for anything.

    Of large parts the search begins with what `part` has for them, to be improved upon.
    """
    mine = upper[problem.service]
    counts = problem.lowest.copy()
    if given.wanted is not None:
        wanted = np.where(mine, given.wanted, problem.lowest)
        if problem.fits(wanted).all():
            return wanted
    first, known = problem.among(upper, problem.lowest), given.taken(mine)
    if len(problem.service) > given.limits.always:
        # A replica is little beside so many: what it is worth decides nothing here.
        known = replace(known, last=part.counts[mine], price=part.price)
    else:
        known = replace(known, beneath=given.beneath + 1)
    counts[mine] = _allocated(first, known).counts
    return counts


def _with_lower(
    problem: Problem, upper: BoolArray, counts: IntArray, price: FloatArray, limits: SolverLimits
) -> IntArray:
    """Return the best plan that carries as much of the `upper` services as `counts` do.

    The same may be carried by other replicas, if that leaves more to the rest; where the
    search finds no such plan, their counts stay as they are. All of theirs is to be carried
    then, so they weigh as one class, which can lie farther from the last than all apart.
    """
    served = problem.demand_rps * (1.0 - problem.unmet(counts))[:, None]
    bound = problem.asking(np.where(upper[:, None], served, problem.demand_rps))
    apart = penalties(replace(bound, priority=np.where(upper, 1, 2)))
    moved = searched(bound, apart, counts, price, limits).counts
    if not (bound.unmet(moved)[upper] > 0.0).any():
        return moved
    rest = problem.held(upper[problem.service], counts)
    return searched(rest, penalties(rest), counts, None, limits).counts


def _short(problem: Problem, counts: IntArray, last_class: int) -> bool:
    """Return whether a class down to `last_class` lacks what could be carried."""
    avoidable = problem.unmet_by_class(counts) - problem.unmet_by_class(problem.highest)
    upper = np.unique(problem.priority) <= last_class
    return bool((avoidable > SLACK * max(1.0, float(problem.requests_rps.sum())))[upper].any())


def _ahead(problem: Problem, one: IntArray, other: IntArray, last_class: int) -> bool:
    """Return whether `one` loses less than `other` down to `last_class`, highest class first."""
    lost, than = problem.unmet_by_class(one), problem.unmet_by_class(other)
    upper = np.unique(problem.priority) <= last_class
    for mine, theirs in zip(lost[upper], than[upper], strict=True):
        if abs(mine - theirs) > SLACK * max(1.0, theirs):
            return bool(mine < theirs)
    return False
