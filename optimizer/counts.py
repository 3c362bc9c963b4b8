"""Counts that each model would have alone: in force, settled, sturdy. Pure."""

from dataclasses import dataclass, replace

import numpy as np

from .ahead import Ahead
from .change import CHANGE_LASTS_S, start_per_hour
from .decision import Binding, PlanRequest
from .domain import BoolArray, FloatArray, IntArray, aligned, rows_of
from .need import Capacity, Need, all_of
from .robustness import sturdier
from .roles import ROLES, asked_of_roles, joint_need, joint_removable, role_rows
from .saturation_paper import paper_targets
from .stabilization import Settlement, settle

__all__ = ["Bounds", "bounds_in_force", "previous", "wanted"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Lowest and highest counts, and which variants are frozen; one entry per variant."""

    lowest: IntArray
    highest: IntArray
    frozen: BoolArray


def bounds_in_force(request: PlanRequest, need: Need) -> Bounds:
    """Return the bounds that hold for this decision.

    A frozen variant keeps the larger of what was last asked for and what is there: it
    has no reading to justify less, and nothing is known that justifies more. A partial one
    may get more, and keeps at least as much: a failing source takes nothing away, and that
    includes what is on its way.
    """
    variants = request.variants
    frozen = variants.blind | ~need.known[variants.model]
    kept = np.maximum(previous(request), variants.current_replicas)
    kept = np.clip(kept, variants.min_replicas, variants.max_replicas)
    lowest = np.where(frozen | variants.partial, kept, variants.min_replicas)
    highest = np.where(frozen, kept, variants.max_replicas)
    return Bounds(lowest=lowest, highest=highest, frozen=frozen)


def wanted(
    request: PlanRequest, capacity: Capacity, need: Need, ahead: Ahead, bounds: Bounds
) -> Settlement:
    """Return what the models want, each alone; the roles of one grow and shrink together.

    Parameters
    ----------
    request : PlanRequest
    capacity : Capacity
        What a replica carries within its SLO.
    need : Need
        What is to be carried.
    ahead : Ahead
        What is expected to arrive.
    bounds : Bounds
    """
    settled = _settled(request, capacity, need, ahead, bounds)
    if not request.policy.global_allocation:
        return _by_the_paper(request, settled, bounds)
    rows = role_rows(request)
    known = capacity.known & capacity.slo_feasible
    sturdy = sturdier(
        settled,
        rows=rows,
        variants=request.variants,
        rate_rps=np.where(known, capacity.rate_rps, 0.0),
        highest=bounds.highest,
        expected_rps=asked_of_roles(rows, np.nan_to_num(ahead.outlook.level_rps)).ravel(),
    )
    return _by_the_paper(request, _that_fits(request, sturdy, settled), bounds)


def _that_fits(request: PlanRequest, sturdy: Settlement, settled: Settlement) -> Settlement:
    """Return the sturdier counts unless they overdraw what the others wouldn't."""
    if request.supply is None or np.array_equal(sturdy.desired, settled.desired):
        return sturdy
    uses = request.supply.in_force(request.variants.current_replicas)
    over = uses.used(sturdy.desired) > uses.capacity
    return settled if over.any() else sturdy


def _settled(
    request: PlanRequest, capacity: Capacity, need: Need, ahead: Ahead, bounds: Bounds
) -> Settlement:
    """Settle each role of each model; the roles of one grow and shrink together.

    Without global allocation a variant is settled alone, for its share of its role's need.
    """
    rows = role_rows(request)
    lowest, highest = bounds.lowest, bounds.highest
    most_rps = highest * capacity.rate_rps
    need_rps, peak_rps = (
        joint_need(rows, most_rps, each) for each in (need.now_rps, need.kept_rps)
    )
    alone = not request.policy.global_allocation
    share = _share_ratio(request, capacity, rows)
    settled = settle(
        variants=replace(request.variants, model=np.arange(len(rows)) if alone else rows),
        rate_rps=capacity.rate_rps,
        lowest=lowest,
        highest=highest,
        removable=joint_removable(rows, need.removable),
        need_rps=share * need_rps[rows] if alone else need_rps,
        peak_rps=share * peak_rps[rows] if alone else peak_rps,
        policy=request.policy,
        start_per_hour=_start_per_hour(request, ahead),
        steady=ahead.settled[request.variants.model] if alone else np.repeat(ahead.settled, ROLES),
    )
    each = all_of(rows, settled.covered, len(need_rps)) if alone else settled.covered
    covered = np.asarray(each.reshape(-1, ROLES).all(axis=1))
    most = np.bincount(rows, weights=most_rps, minlength=ROLES * len(covered))
    asked = asked_of_roles(rows, need.now_rps).ravel()
    held = np.asarray((most < asked * (1.0 - 1e-9)).reshape(-1, ROLES).any(axis=1))
    return replace(settled, covered=covered & ~held)


def _start_per_hour(request: PlanRequest, ahead: Ahead) -> FloatArray:
    """Return the price of a start, spread over as long as the load has been steady already."""
    steady_s = np.nan_to_num(ahead.outlook.steady_s)[request.variants.model]
    lasts_s = np.maximum(steady_s, CHANGE_LASTS_S)
    return start_per_hour(request.variants.cost_per_hour, ahead.cold_start_s, lasts_s)


def _share_ratio(request: PlanRequest, capacity: Capacity, rows: IntArray) -> FloatArray:
    """Return the share of its role that each variant carries now; equal ones where none does."""
    carried = request.variants.current_replicas * capacity.rate_rps
    weight = np.where(np.bincount(rows, weights=carried)[rows] > 0, carried, 1.0)
    return np.asarray(weight / np.bincount(rows, weights=weight)[rows])


def _by_the_paper(request: PlanRequest, settled: Settlement, bounds: Bounds) -> Settlement:
    """Replace the counts of variants that selected the published saturation law."""
    chosen = request.variants.paper_law
    if not chosen.any():
        return settled
    law = paper_targets(
        request.replicas,
        request.variants,
        models=len(request.model_names),
        previous=previous(request),
    )
    counts = np.clip(law.replicas, bounds.lowest, bounds.highest)
    return replace(
        settled,
        desired=np.where(chosen, counts, settled.desired),
        binding=np.where(chosen, np.int64(Binding.SATURATION), settled.binding),
    )


def previous(request: PlanRequest) -> IntArray:
    """Return the last plan's counts for this request's variants, 0 for new ones."""
    rows = rows_of(request.variant_names, request.state.variant_names)
    return aligned(request.state.desired, rows, absent=0)
