"""The whole decision: sizing, saturation, memory, counts and predictions, in that order.

`plan(request)` is a function: the same request gives the same plan. Rows are put into
the order of their names before anything is chosen, so a plan doesn't depend on the order
in which variants were declared.
"""

from dataclasses import replace

import numpy as np

from .ahead import Ahead, look_ahead
from .correction import CorrectionState
from .counts import Bounds, bounds_in_force, wanted
from .decision import Plan, PlanRequest, PlanState
from .domain import FloatArray, IntArray, Trust
from .estimator_state import EstimatorState
from .learning import with_learned_profiles
from .need import Capacity, Need, replica_capacity, required, sized, with_energy_priced
from .outcome import power_w, predicted, shares_rps, traffic_ratio, utilization_ratio
from .rationing import Rationed, ration
from .reasons import binding
from .recall import Recall, Recalled
from .robustness import withstood_ratio
from .roles import in_roles, role_rows
from .routing import Routed, apart, rates_at, routed
from .sizing import Sizing
from .spot import with_interruptions_priced
from .tiers import rates_side_by_side

__all__ = ["plan"]

# Of a Plan, what isn't a column.
_WHOLE = frozenset({"profiles", "state", "recall"})


def plan(request: PlanRequest) -> Plan:
    """Return the replica counts for all variants, with bounds, reasons and predictions.

    Parameters
    ----------
    request : PlanRequest
        Readings, profiles, targets, policy, time and memory.

    Returns
    -------
    Plan
        Rows in the order of the request's variants.

    """
    order = np.argsort(np.array(request.variant_names, dtype=object), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    decided = _plan_ordered(_reordered(request, order, place))
    return _taken(decided, place)


def _reordered(request: PlanRequest, order: IntArray, place: IntArray) -> PlanRequest:
    return replace(
        request,
        variant_names=tuple(request.variant_names[i] for i in order),
        variants=request.variants.take(order),
        replicas=replace(request.replicas, variant=place[request.replicas.variant]),
        profiles=request.profiles.take(order),
        limits=request.limits.take(order),
        workloads=request.workloads.take(order),
        slo=request.slo.take(order),
        observations=request.observations.take(order),
        supply=request.supply.reordered(place) if request.supply is not None else None,
        routing=request.routing.reordered(order) if request.routing is not None else None,
        spot=request.spot.take(order) if request.spot is not None else None,
    )


def _plan_ordered(request: PlanRequest) -> Plan:
    request, estimator, correction = with_learned_profiles(request)
    request = in_roles(apart(request))
    router = routed(request)
    ahead = look_ahead(request)
    sizing, sizes = sized(request, ahead)
    request = with_energy_priced(request, sizing)
    request = with_interruptions_priced(request, ahead.cold_start_s)
    capacity = _side_by_side(request, router, replica_capacity(request, sizing), ahead)
    need = required(request, capacity, ahead)
    bounds = bounds_in_force(request, need)
    rationed = _rationed(request, capacity, need, ahead, bounds)
    wider = _wider(router, capacity, rationed)
    if wider is not None:
        other = _rationed(request, wider, need, ahead, bounds)
        if _loses_less(request, need, other, rationed):
            capacity, rationed = wider, other
    why = np.where(
        rationed.scarce & ~bounds.frozen,
        rationed.settled.binding,
        binding(request, rationed.settled, capacity, need, bounds),
    )
    return _told(
        request,
        capacity,
        need,
        ahead,
        router=router,
        rationed=rationed,
        why=why,
        sizes=sizes,
        estimator=estimator,
        correction=correction,
    )


def _rationed(
    request: PlanRequest, capacity: Capacity, need: Need, ahead: Ahead, bounds: Bounds
) -> Rationed:
    """Return what the models want, each alone, made to fit what there is."""
    return ration(
        request,
        wanted(request, capacity, need, ahead, bounds),
        rate_rps=capacity.rate_rps,
        lowest=bounds.lowest,
        highest=bounds.highest,
        need_rps=need.now_rps,
        cold_start_s=ahead.cold_start_s,
    )


def _wider(router: Routed, capacity: Capacity, rationed: Rationed) -> Capacity | None:
    """Return the capacity with all variants of who is short side by side, None if they are.

    Which of them may run was chosen as if each model had what there is for itself: where
    others take it, one that binds its siblings is better than none.
    """
    own = capacity.own_rps
    left_out = (capacity.rate_rps == 0.0) & (own > 0.0) & (rationed.unmet_ratio > 0.0)
    rows = np.bincount(router.rows, weights=left_out) > 0
    if not rows.any():
        return None
    together = rates_at(router, own, np.ones(len(own), dtype=np.int64))
    return replace(capacity, rate_rps=np.where(rows[router.rows], together, capacity.rate_rps))


def _loses_less(request: PlanRequest, need: Need, one: Rationed, other: Rationed) -> bool:
    """Return whether `one` loses fewer requests than `other`, of the highest class first."""
    model, models = request.variants.model, len(request.model_names)
    rank = request.supply.rank if request.supply is not None else np.ones(models, dtype=np.int64)
    classes, place = np.unique(rank, return_inverse=True)
    lost = []
    for each in (one, other):
        ratio = np.zeros(models)
        np.maximum.at(ratio, model, each.unmet_ratio)
        lost.append(np.bincount(place, weights=ratio * need.now_rps, minlength=len(classes)))
    differs = np.flatnonzero(np.abs(lost[0] - lost[1]) > 1e-9 * (1.0 + lost[1]))
    return bool(len(differs) and lost[0][differs[0]] < lost[1][differs[0]])


def _side_by_side(
    request: PlanRequest, router: Routed, capacity: Capacity, ahead: Ahead
) -> Capacity:
    """Return the capacity with what replicas carry beside each other, as requests are routed."""
    rate_rps = rates_side_by_side(
        request,
        router,
        rate_rps=capacity.own_rps,
        known=capacity.known,
        demand_rps=ahead.kept_rps,
        cold_start_s=ahead.cold_start_s,
    )
    own = capacity.own_rps
    part = np.divide(rate_rps, own, out=np.ones_like(own), where=own > 0)
    return replace(capacity, rate_rps=rate_rps, most_rps=capacity.most_rps * part)


def _told(
    request: PlanRequest,
    capacity: Capacity,
    need: Need,
    ahead: Ahead,
    *,
    router: Routed,
    rationed: Rationed,
    why: IntArray,
    sizes: Recalled[Sizing],
    estimator: EstimatorState,
    correction: CorrectionState,
) -> Plan:
    """Return the plan with what it comes to, and what is handed on."""
    desired, model, seen = rationed.settled.desired, request.variants.model, ahead.outlook
    share_rps = shares_rps(request, router, desired, capacity.own_rps)
    prediction, predictions = predicted(request, ahead, desired, share_rps)
    own_rps = np.where(capacity.known, capacity.own_rps, np.nan)
    beside_rps = rates_at(router, own_rps, desired)
    return Plan(
        desired=desired,
        binding=why,
        demand_replicas=need.demand_replicas,
        saturation_replicas=need.saturation_replicas,
        hot_replicas=need.hot_replicas,
        capacity_rps=own_rps,
        routed_rps=np.where(capacity.known, capacity.rate_rps, np.nan),
        law=router.law,
        law_basis=router.basis,
        share_rps=share_rps,
        utilization_ratio=utilization_ratio(request, router, capacity),
        ttft_mean_s=prediction.ttft_mean_s,
        ttft_s=prediction.ttft_s,
        itl_mean_s=prediction.itl_mean_s,
        itl_s=prediction.itl_s,
        power_w=power_w(request, desired, prediction),
        slo_feasible=capacity.slo_feasible,
        memory_bound=capacity.memory_bound,
        trust=request.variants.trust,
        profiles=request.profiles,
        profile_ratio=np.where(
            request.variants.trust == Trust.GIVEN, np.exp(correction.applied), 1.0
        ),
        traffic_ratio=traffic_ratio(request, share_rps),
        cold_start_s=ahead.cold_start_s,
        level_rps=seen.level_rps[model],
        expected_rps=seen.expected_rps[model],
        upper_rps=seen.upper_rps[model],
        dispersion=seen.dispersion[model],
        scarce=rationed.scarce,
        unmet_ratio=rationed.unmet_ratio,
        withstood_error_ratio=_withstood(request, desired, beside_rps, seen.level_rps),
        scarcity_price_per_hour=rationed.price_per_hour,
        method=rationed.method,
        gap_ratio=np.where(rationed.scarce, rationed.gap_ratio, 0.0),
        state=_state(
            request, need, ahead, router, desired, estimator=estimator, correction=correction
        ),
        recall=Recall(
            sizing=sizes,
            prediction=predictions,
            resource_names=request.supply.names if request.supply is not None else (),
            resource_price=rationed.resource_price,
        ),
    )


def _withstood(
    request: PlanRequest, desired: IntArray, rate_rps: FloatArray, level_rps: FloatArray
) -> FloatArray:
    """Return by how much a model's demand and capacity may be wrong, of its weakest role."""
    rows, model = role_rows(request), request.variants.model
    each = withstood_ratio(rows, desired * rate_rps, level_rps[model])
    weakest = np.full(len(level_rps), np.nan)
    np.fmin.at(weakest, model, each)
    return weakest[model]


def _state(
    request: PlanRequest,
    need: Need,
    ahead: Ahead,
    router: Routed,
    desired: IntArray,
    *,
    estimator: EstimatorState,
    correction: CorrectionState,
) -> PlanState:
    return PlanState(
        model_names=request.model_names,
        bucket_start_s=need.memory.bucket_start_s,
        peaks_rps=need.memory.peaks_rps,
        seen_demand_s=need.memory.seen_demand_s,
        offered_rps=request.models.arrival_rate_rps,
        planned_s=request.now_s,
        variant_names=request.variant_names,
        desired=desired,
        estimator=estimator,
        correction=correction,
        forecast=ahead.forecast,
        starts=ahead.starts,
        rises=ahead.rises,
        full_since_s=need.overload.since_s,
        full_requests=need.overload.reference_requests,
        sized_dispersion=ahead.dispersion,
        router=router.state,
    )


def _taken(decided: Plan, place: IntArray) -> Plan:
    """Return the plan with its rows back in the request's order."""
    rows = {
        name: getattr(decided, name)[place]
        for name in Plan.__dataclass_fields__
        if name not in _WHOLE
    }
    return Plan(
        **rows,
        profiles=decided.profiles.take(place),
        state=decided.state,
        recall=decided.recall,
    )
