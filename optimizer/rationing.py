"""From what every model wants to what there is: the settled counts, made to fit.

Counts that fit are left as they are: nothing is scarce then, and each model's own optimum is
the whole's. Where they don't, a swap for the sake of cost is put off first, since for a while
it needs both sides; if that isn't enough, the parts that share what runs out are allocated
anew, by priority.
"""

from dataclasses import dataclass, replace

import numpy as np

from .change import STOP_SHARE, start_per_hour
from .components import components
from .decision import Binding, PlanRequest
from .domain import BoolArray, FloatArray, IntArray
from .problem import Problem
from .roles import ROLES, asked_of_roles, role_rows
from .scarcity import Allocation, Method, allocate
from .stabilization import Settlement
from .supply import Uses

__all__ = ["Rationed", "ration"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rationed:
    """Counts that fit, and what is known of how they were shared; columns per variant.

    Attributes
    ----------
    settled : Settlement
    scarce : ndarray of bool
        Whether the count was decided together with others for what runs out.
    unmet_ratio : ndarray
        Share of the model's demand that isn't carried within its SLO.
    price_per_hour : ndarray
        What the resources of one replica would save elsewhere. [currency/h]
    method : ndarray of int
        A `scarcity.Method`.
    gap_ratio : float
        How far from the least possible the shared parts may be.
    resource_price : ndarray, shape (R,)
        What one more unit of each resource would save. [currency/h]
    """

    settled: Settlement
    scarce: BoolArray
    unmet_ratio: FloatArray
    price_per_hour: FloatArray
    method: IntArray
    gap_ratio: float
    resource_price: FloatArray


def ration(
    request: PlanRequest,
    settled: Settlement,
    *,
    rate_rps: FloatArray,
    lowest: IntArray,
    highest: IntArray,
    need_rps: FloatArray,
    cold_start_s: FloatArray,
) -> Rationed:
    """Return the settled counts where they fit, else a plan that does.

    Parameters
    ----------
    request : PlanRequest
    settled : Settlement
        What the models want, each alone.
    rate_rps : array, shape (V,)
        Capacity of one replica within its SLO. [requests/s]
    lowest, highest : array of int, shape (V,)
    need_rps : array, shape (M,)
        What is to be carried. [requests/s]
    cold_start_s : array, shape (V,)
        What a start takes; it makes the price of a change. [s]
    """
    problem = _problem(request, rate_rps, lowest, highest, need_rps, cold_start_s)
    if problem.fits(settled.desired).all():
        return _untouched(problem, settled)
    calm = _without_swaps(problem, settled)
    if problem.fits(calm.desired).all():
        return _untouched(problem, calm)
    return _shared(problem, calm, _remembered(request))


def _problem(
    request: PlanRequest,
    rate_rps: FloatArray,
    lowest: IntArray,
    highest: IntArray,
    need_rps: FloatArray,
    cold_start_s: FloatArray,
) -> Problem:
    variants, supply = request.variants, request.supply
    rows = role_rows(request)
    models = len(request.model_names)
    here = np.clip(variants.current_replicas, lowest, highest)
    held = variants.partial | variants.blind | variants.paper_law
    start = start_per_hour(variants.cost_per_hour, cold_start_s)
    return Problem(
        service=variants.model,
        role=rows % ROLES,
        rate_rps=rate_rps,
        cost_per_hour=variants.cost_per_hour,
        start_per_hour=start,
        stop_per_hour=STOP_SHARE * start,
        current=here,
        lowest=np.where(held, here, lowest),
        highest=highest,
        demand_rps=asked_of_roles(rows, need_rps),
        priority=supply.rank if supply is not None else np.ones(models, dtype=np.int64),
        uses=supply.in_force(here) if supply is not None else Uses.none(),
    )


def _without_swaps(problem: Problem, settled: Settlement) -> Settlement:
    """Keep what is there for models that it carries: a swap needs room for both sides."""
    carried = (problem.unmet(problem.kept) == 0.0)[problem.service]
    fewer = np.minimum(settled.desired, problem.kept)
    grows = np.zeros(len(problem.demand_rps), dtype=np.bool_)
    grows[problem.service[settled.desired > problem.kept]] = True
    stay = carried & grows[problem.service]
    desired = np.where(stay, problem.kept, np.where(carried, fewer, settled.desired))
    binding = np.where(stay & (desired != settled.desired), Binding.CAPACITY, settled.binding)
    return replace(settled, desired=desired, binding=binding.astype(np.int64))


def _untouched(problem: Problem, settled: Settlement) -> Rationed:
    count = len(problem.service)
    return Rationed(
        settled=settled,
        scarce=np.zeros(count, dtype=np.bool_),
        unmet_ratio=problem.unmet(settled.desired)[problem.service],
        price_per_hour=np.zeros(count),
        method=np.full(count, int(Method.ENUMERATION)),
        gap_ratio=0.0,
        resource_price=np.zeros(len(problem.uses.capacity)),
    )


def _remembered(request: PlanRequest) -> FloatArray | None:
    """Return the last prices of the resources there are; None if they were others."""
    names = request.supply.names if request.supply is not None else ()
    if not names or request.recall.resource_names != names:
        return None
    return request.recall.resource_price


def _shared(problem: Problem, settled: Settlement, last: FloatArray | None) -> Rationed:
    """Allocate the parts that share a resource which the settled counts overdraw."""
    over = ~problem.fits(settled.desired)
    result = _untouched(problem, settled)
    desired, binding = settled.desired.copy(), settled.binding.copy()
    covered = settled.covered.copy()
    scarce, price = result.scarce.copy(), result.price_per_hour.copy()
    method, gap = result.method.copy(), 0.0
    resource_price = result.resource_price.copy()
    for rows, variants, resources in components(problem):
        if not over[resources].any():
            continue
        part = problem.taken(rows, variants, resources)
        begin = None if last is None else last[resources]
        found = allocate(part, wanted=settled.desired[variants], price=begin)
        resource_price[resources] = found.price
        desired[variants] = found.counts
        binding[variants] = _reasons(part, found, settled.desired[variants], binding[variants])
        covered[rows] = found.unmet_ratio == 0.0
        scarce[variants] = True
        price[variants] = part.uses.price(found.price, len(variants))
        method[variants] = found.method[part.service]
        gap = max(gap, found.gap_ratio)
    return replace(
        result,
        settled=replace(settled, desired=desired, binding=binding, covered=covered),
        scarce=scarce,
        unmet_ratio=problem.unmet(desired)[problem.service],
        price_per_hour=price,
        method=method,
        gap_ratio=gap,
        resource_price=resource_price,
    )


def _reasons(part: Problem, found: Allocation, wanted: IntArray, before: IntArray) -> IntArray:
    """Say where capacity decided, and where it went to a higher class."""
    short = (found.unmet_ratio > 0.0)[part.service]
    highest_served = part.priority[part.requests_rps > 0].min(initial=1 << 30)
    lower = part.priority[part.service] > highest_served
    less = found.counts < wanted
    given_up = short & lower & (less | (found.counts < part.current))
    reasons = np.select(
        [given_up, found.counts != wanted], [int(Binding.PRIORITY), int(Binding.CAPACITY)], before
    )
    return np.asarray(reasons, dtype=np.int64)
