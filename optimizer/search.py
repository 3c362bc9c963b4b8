"""One part, as a whole: who gets what of the resources that its services share.

Prices first: a relaxed choice among whole counts tells what resources are worth, and what no
plan undercuts. Then a whole plan near it: rounded, repaired, filled with what is left. Where
that may still lose something, the exact solver looks at what could be better: the candidates
that at these prices are nearly the best, and any counts of the few services that the relaxed
choice splits.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .candidates import Candidates, Members, members_of
from .choice import Choice, Pricer, choose
from .domain import BoolArray, FloatArray, IntArray
from .enumeration import Pricing, alone
from .local_search import filled, improved, repaired
from .lp_prices import relaxed
from .mip import whole_choice
from .neighborhood import around
from .problem import SLACK, Problem

__all__ = ["Method", "Part", "SolverLimits", "searched"]

# Candidates of a service that are listed for the solver at least, and at most.
_FEWEST_EACH, _MOST_EACH = 4, 64
# Shares nearer to none or all are that.
_WHOLE = 1e-6
# Alternatives that the solver begins with, for each resource; how its reach grows, how often.
_CHOICES_EACH, _FARTHER, _REACHES = 4, 3.0, 2


class Method(IntEnum):
    """What answered for a part."""

    ENUMERATION = 0  # alone: nothing scarce
    SEARCH = 1  # prices, enumeration and local search
    SOLVER = 2  # HiGHS
    LAST_PLAN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverLimits:
    """How far to look: a plan within `gap_ratio` is good enough, 0 asks for proof.

    The exact solver chooses among all counts of parts of at most `always` variants, of larger
    ones among at most so many candidates, and all counts of so many services; it looks at so
    many nodes. Where that leaves more open than it should, parts of at most `small` variants
    are left to it as a whole. For parts of more than `variants` it is asked only where the
    search may have lost more than `large_gap_ratio`.
    """

    always: int = 24
    small: int = 64
    variants: int = 200
    candidates: int = 200
    loose: int = 12
    nodes: int = 10
    large_gap_ratio: float = 1e-2

    def of_large(self) -> "SolverLimits":
        """Return the limits for large parts: each look there takes longer."""
        few = max(1, self.candidates // 4), max(1, self.loose // 3)
        return replace(self, candidates=few[0], loose=few[1])

    gap_ratio: float = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The plan of a part, (V,), prices of its resources, (R,), and how good it is known to be.

    `proven`: nothing better than the tolerance is left to find.
    """

    counts: IntArray
    price: FloatArray
    method: Method
    objective: float
    bound: float
    proven: bool = False


def searched(
    problem: Problem,
    penalty: FloatArray,
    last: IntArray,
    price: FloatArray | None,
    limits: SolverLimits,
) -> Part:
    """Return the best plan that is found.

    Parameters
    ----------
    problem : Problem
    penalty : array, shape (S,)
        Of a wholly unmet service. [currency/h]
    last : array of int, shape (V,)
        The last plan: a candidate if it fits.
    price : array, shape (R,), optional
        Of resources, to begin with; else those of the relaxation. [currency/h]
    limits : SolverLimits
    """
    members = members_of(problem)
    known = [plan for plan in (problem.lowest, last) if problem.fits(plan).all()]
    exactly = bool(alone(problem).all()) and not problem.single
    point, bound = last.astype(np.float64), -np.inf
    if price is None or not exactly:
        linear = relaxed(problem, penalty)
        point, price, bound = linear.counts, linear.price, linear.bound
    pricer = _pricer(members, penalty, point, known)
    first, _ = pricer(price, np.full(len(penalty), np.inf))
    begin = None if problem.single else known[-1]
    chosen = choose(first, problem.capacity, price, pricer, begin)
    best = _rounded(problem, penalty, chosen, known)
    best = _finished(problem, penalty, chosen, best, pricer, limits)
    return replace(best, bound=max(bound, chosen.bound) if exactly else bound)


def _pricer(
    members: Members, penalty: FloatArray, point: FloatArray, plans: list[IntArray]
) -> Pricer:
    """Return what finds candidates at prices: exactly for one role, around a point for two."""
    problem = members.problem
    count = len(problem.demand_rps)
    exactly = alone(problem) & (not problem.single)
    rows = np.flatnonzero(exactly)
    every = np.arange(count)
    fixed_service, fixed_counts = around(members, point, np.flatnonzero(~exactly))
    fixed = Candidates.of(
        members,
        penalty,
        np.concatenate([fixed_service, *(every for _ in plans)]),
        np.concatenate([fixed_counts, *(members.counts_of(plan) for plan in plans)]),
    )

    def pricer(price: FloatArray, limit: FloatArray) -> tuple[Candidates, FloatArray]:
        """Return candidates within each service's limit, and what none of it undercuts."""
        paid = problem.uses.price(price, len(problem.service))
        priced = fixed.value + fixed.use @ price
        least = np.minimum.reduceat(priced, fixed.first)
        pricing = Pricing(members, penalty, paid, rows)
        mine = limit[rows]
        near = pricing.near(pricing.rounded() if np.isinf(mine).any() else mine)
        least[rows] = np.minimum(near.least, least[rows])
        exact_ones = Candidates.of(members, penalty, near.service, near.counts)
        return fixed.take(priced <= limit[fixed.service]).joined(exact_ones), least

    return pricer


def _rounded(problem: Problem, penalty: FloatArray, chosen: Choice, known: list[IntArray]) -> Part:
    """Return a whole plan near the relaxed choice, or a known one if that is better."""
    candidates, capacity = chosen.candidates, problem.capacity
    rows = repaired(candidates, chosen.share, capacity, chosen.price)
    counts = known[0] if rows is None else candidates.plan(improved(candidates, rows, capacity))
    counts = filled(problem, penalty, counts)
    best = Part(
        counts=counts,
        price=chosen.price,
        method=Method.SEARCH,
        objective=_value(problem, penalty, counts),
        bound=chosen.bound,
    )
    for plan in known:
        best = _better(problem, penalty, best, plan, Method.LAST_PLAN)
    if len(known) == 1 or np.array_equal(known[-1], problem.lowest):
        return best  # nothing is there yet
    fuller = filled(problem, penalty, known[-1])
    return _better(problem, penalty, best, fuller, Method.SEARCH)


def _finished(
    problem: Problem,
    penalty: FloatArray,
    chosen: Choice,
    best: Part,
    pricer: Pricer,
    limits: SolverLimits,
) -> Part:
    """Ask the solver, among candidates ever farther from the best at the prices.

    A plan by s above the bound has no candidate by more than s above the best: what is found
    within a reach that the rest keeps is the best there is.
    """
    tolerance = limits.gap_ratio * _stake(problem, penalty, best.counts)
    slack = best.objective - chosen.bound
    if slack <= max(tolerance, SLACK * abs(best.objective)):
        return replace(best, proven=True)
    reaches = _REACHES
    if len(problem.service) > limits.variants and limits.gap_ratio > 0.0:
        if slack <= limits.large_gap_ratio * best.objective:
            return best
        limits, reaches = limits.of_large(), 1
    reach = slack if limits.gap_ratio == 0.0 else max(2.0 * tolerance, _first_reach(chosen))
    for _ in range(reaches):
        slack = best.objective - chosen.bound
        pool, loose = _pool(penalty, chosen, best, min(reach, slack), pricer, limits)
        counts = whole_choice(pool, penalty, loose, best.counts, nodes=limits.nodes, gap=tolerance)
        if not np.array_equal(counts, best.counts):
            counts = filled(problem, penalty, counts)
        best = _better(problem, penalty, best, counts, Method.SOLVER)
        if best.objective - chosen.bound <= max(reach, tolerance):
            return replace(best, proven=True)
        reach *= _FARTHER
    if problem.single or not limits.always < len(problem.service) <= limits.small:
        return best
    every = np.ones(len(penalty), dtype=np.bool_)
    counts = whole_choice(pool, penalty, every, best.counts, nodes=limits.nodes, gap=tolerance)
    return _better(problem, penalty, best, filled(problem, penalty, counts), Method.SOLVER)


def _first_reach(chosen: Choice) -> float:
    """Return within what of the best at the prices there are a few candidates to choose from."""
    seen = chosen.candidates
    paid = seen.value + seen.use @ chosen.price - chosen.least[seen.service]
    few = len(chosen.least) + _CHOICES_EACH * len(chosen.price)
    return float(np.sort(paid)[min(few, len(paid)) - 1])


def _pool(
    penalty: FloatArray,
    chosen: Choice,
    best: Part,
    reach: float,
    pricer: Pricer,
    limits: SolverLimits,
) -> tuple[Candidates, BoolArray]:
    """Return the candidates within reach, and the services whose counts are to be chosen.

    Those are the ones that the relaxed choice splits, and those with too many to list.
    """
    members, services = chosen.candidates.members, len(chosen.least)
    pool, _ = pricer(chosen.price, chosen.least + reach)
    mine = members.counts_of(best.counts)
    pool = pool.joined(Candidates.of(members, penalty, np.arange(services), mine))
    number = np.bincount(pool.service, minlength=services)
    each = int(np.clip(limits.candidates // services, _FEWEST_EACH, _MOST_EACH))
    small = len(members.problem.service) <= limits.always
    loose = (number > each) | small
    if loose.sum() > limits.loose and not small:
        loose[:] = False
    loose[_split(chosen)[: limits.loose]] = True
    loose &= not members.problem.single
    paid = pool.value + pool.use @ chosen.price - chosen.least[pool.service]
    paid[pool.rows_of(best.counts)] = -np.inf
    paid[loose[pool.service]] = -np.inf  # not listed
    listed = np.argsort(paid, kind="stable")[: (paid == -np.inf).sum() + limits.candidates]
    return pool.take(np.sort(listed)), loose


def _split(chosen: Choice) -> IntArray:
    """Return the services that the relaxed choice splits, the most evenly split first."""
    evenly = np.minimum(chosen.share, 1.0 - chosen.share)
    most = np.maximum.reduceat(evenly, chosen.candidates.first)
    split = np.flatnonzero(most > _WHOLE)
    return split[np.argsort(-most[split], kind="stable")]


def _better(
    problem: Problem, penalty: FloatArray, best: Part, counts: IntArray, method: Method
) -> Part:
    value = _value(problem, penalty, counts)
    if value >= best.objective - SLACK * max(1.0, abs(value)):
        return best
    return replace(best, counts=counts, objective=value, method=method)


def _value(problem: Problem, penalty: FloatArray, counts: IntArray) -> float:
    return problem.spend(counts) + float((penalty * problem.unmet(counts)).sum())


def _stake(problem: Problem, penalty: FloatArray, counts: IntArray) -> float:
    """Return the value of a plan without what higher classes lose: that would hide the rest."""
    lowest = problem.priority == problem.priority[problem.requests_rps > 0].max(initial=0)
    lost = (penalty * problem.unmet(counts))[lowest].sum()
    return problem.spend(counts) + float(lost)
