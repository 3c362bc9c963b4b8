"""The whole decision: sizing, saturation, memory, counts and predictions, in that order.

`plan(request)` is a function: the same request gives the same plan. Rows are put into
the order of their names before anything is chosen, so a plan doesn't depend on the order
in which variants were declared.
"""

from dataclasses import replace

import numpy as np

from .ahead import Ahead, look_ahead
from .decision import Binding, Plan, PlanRequest, PlanState
from .domain import BoolArray, FloatArray, IntArray, aligned, rows_of
from .estimator_state import EstimatorState
from .latency import Prediction, predict
from .learning import with_learned_profiles
from .need import (
    TRICKLE_RPS,
    Capacity,
    Need,
    any_of,
    replica_capacity,
    required,
    sized,
    with_energy_priced,
)
from .rationing import ration
from .recall import Recall, Recalled, inputs_of, recalled
from .roles import (
    ROLES,
    asked_of_roles,
    in_roles,
    joint_need,
    joint_removable,
    role_rows,
)
from .saturation_paper import paper_targets
from .stabilization import Settlement, settle

__all__ = ["plan"]

# Of a Plan, what isn't a column.
_WHOLE = frozenset({"state", "recall"})


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
    )


def _plan_ordered(request: PlanRequest) -> Plan:
    request, estimator = with_learned_profiles(request)
    request = in_roles(request)
    ahead = look_ahead(request)
    sizing, sizes = sized(request, ahead)
    request = with_energy_priced(request, sizing)
    capacity = replica_capacity(request, sizing)
    need = required(request, capacity, ahead)
    lowest, highest, frozen = _bounds(request, need)
    settled = _settled(request, capacity, need, lowest, highest)
    settled = _by_the_paper(request, settled, lowest, highest)
    rationed = ration(
        request,
        settled,
        rate_rps=capacity.rate_rps,
        lowest=lowest,
        highest=highest,
        need_rps=need.now_rps,
        cold_start_s=ahead.cold_start_s,
    )
    settled = rationed.settled
    desired = settled.desired
    share_rps = _shares(request, desired, capacity.rate_rps)
    prediction, predictions = _predict(request, ahead, desired, share_rps)
    return Plan(
        desired=desired,
        binding=np.where(
            rationed.scarce & ~frozen,
            settled.binding,
            _binding(request, settled, capacity, need, frozen, highest),
        ),
        demand_replicas=need.demand_replicas,
        saturation_replicas=need.saturation_replicas,
        capacity_rps=np.where(capacity.known, capacity.rate_rps, np.nan),
        share_rps=share_rps,
        utilization_ratio=_utilization(request, capacity),
        ttft_mean_s=prediction.ttft_mean_s,
        ttft_s=prediction.ttft_s,
        itl_mean_s=prediction.itl_mean_s,
        itl_s=prediction.itl_s,
        power_w=_power_w(request, desired, prediction),
        slo_feasible=capacity.slo_feasible,
        memory_bound=capacity.memory_bound,
        trust=request.variants.trust,
        traffic_ratio=_traffic(request, share_rps),
        cold_start_s=ahead.cold_start_s,
        level_rps=ahead.outlook.level_rps[request.variants.model],
        expected_rps=ahead.outlook.expected_rps[request.variants.model],
        upper_rps=ahead.outlook.upper_rps[request.variants.model],
        dispersion=ahead.outlook.dispersion[request.variants.model],
        scarce=rationed.scarce,
        unmet_ratio=rationed.unmet_ratio,
        scarcity_price_per_hour=rationed.price_per_hour,
        method=rationed.method,
        gap_ratio=np.where(rationed.scarce, rationed.gap_ratio, 0.0),
        state=_state(request, need, ahead, desired, estimator),
        recall=Recall(
            sizing=sizes,
            prediction=predictions,
            resource_names=request.supply.names if request.supply is not None else (),
            resource_price=rationed.resource_price,
        ),
    )


def _settled(
    request: PlanRequest, capacity: Capacity, need: Need, lowest: IntArray, highest: IntArray
) -> Settlement:
    """Settle each role of each model; the roles of one grow and shrink together."""
    rows = role_rows(request)
    most_rps = highest * capacity.rate_rps
    settled = settle(
        variants=replace(request.variants, model=rows),
        rate_rps=capacity.rate_rps,
        lowest=lowest,
        highest=highest,
        removable=joint_removable(rows, need.removable),
        need_rps=joint_need(rows, most_rps, need.now_rps),
        peak_rps=joint_need(rows, most_rps, need.kept_rps),
        policy=request.policy,
    )
    covered = np.asarray(settled.covered.reshape(-1, ROLES).all(axis=1))
    most = np.bincount(rows, weights=most_rps, minlength=ROLES * len(covered))
    asked = asked_of_roles(rows, need.now_rps).ravel()
    held = np.asarray((most < asked * (1.0 - 1e-9)).reshape(-1, ROLES).any(axis=1))
    return replace(settled, covered=covered & ~held)


def _bounds(request: PlanRequest, need: Need) -> tuple[IntArray, IntArray, BoolArray]:
    """Return lowest and highest counts, and which variants are frozen.

    A frozen variant keeps the larger of what was last asked for and what is there: it
    has no reading to justify less, and nothing is known that justifies more. A partial one
    may get more, and keeps at least as much: a failing source takes nothing away, and that
    includes what is on its way.
    """
    variants = request.variants
    frozen = variants.blind | ~need.known[variants.model]
    kept = np.maximum(_previous(request), variants.current_replicas)
    kept = np.clip(kept, variants.min_replicas, variants.max_replicas)
    lowest = np.where(frozen | variants.partial, kept, variants.min_replicas)
    highest = np.where(frozen, kept, variants.max_replicas)
    return lowest, highest, frozen


def _by_the_paper(
    request: PlanRequest, settled: Settlement, lowest: IntArray, highest: IntArray
) -> Settlement:
    """Replace the counts of variants that selected the published saturation law."""
    chosen = request.variants.paper_law
    if not chosen.any():
        return settled
    law = paper_targets(
        request.replicas,
        request.variants,
        models=len(request.model_names),
        previous=_previous(request),
    )
    counts = np.clip(law.replicas, lowest, highest)
    return replace(
        settled,
        desired=np.where(chosen, counts, settled.desired),
        binding=np.where(chosen, np.int64(Binding.SATURATION), settled.binding),
    )


def _previous(request: PlanRequest) -> IntArray:
    """Return the last plan's counts for this request's variants, 0 for new ones."""
    rows = rows_of(request.variant_names, request.state.variant_names)
    return aligned(request.state.desired, rows, absent=0)


def _shares(request: PlanRequest, counts: IntArray, rate_rps: FloatArray) -> FloatArray:
    """Return each variant's arrival rate when traffic follows capacity, in its role."""
    rows = role_rows(request)
    carried = counts * rate_rps
    total = np.bincount(rows, weights=carried)[rows]
    part = np.divide(carried, total, out=np.zeros_like(carried), where=total > 0)
    return np.asarray(part * request.models.arrival_rate_rps[request.variants.model])


def _traffic(request: PlanRequest, share_rps: FloatArray) -> FloatArray:
    offered = request.models.arrival_rate_rps[request.variants.model]
    return np.divide(share_rps, offered, out=np.full_like(share_rps, np.nan), where=offered > 0)


def _utilization(request: PlanRequest, capacity: Capacity) -> FloatArray:
    """Return demand over what the current replicas carry within the SLO; NaN: unknown."""
    rows = role_rows(request)
    rate_rps = np.where(capacity.known, capacity.rate_rps, np.nan)
    carried = np.bincount(rows, weights=request.variants.current_replicas * rate_rps)[rows]
    offered = request.models.arrival_rate_rps[request.variants.model]
    ratio = np.divide(offered, carried, out=np.full(len(rows), np.nan), where=carried > 0)
    return np.asarray(ratio)


def _predict(
    request: PlanRequest, ahead: Ahead, counts: IntArray, share_rps: FloatArray
) -> tuple[Prediction, Recalled[Prediction]]:
    """Predict latencies of one replica at its share of the planned traffic."""
    each = np.divide(share_rps, counts, out=np.full(len(counts), np.nan), where=(counts > 0))
    percentile, dispersion = request.slo.percentile_ratio, ahead.dispersion

    def compute(rows: IntArray) -> Prediction:
        return predict(
            request.profiles.take(rows),
            request.workloads.take(rows),
            request.limits.take(rows),
            each[rows],
            percentile_ratio=percentile[rows],
            dispersion=dispersion[rows],
        )

    inputs = inputs_of(
        request.profiles, request.workloads, request.limits, each, percentile, dispersion
    )
    return recalled(request.recall.prediction, request.variant_names, inputs, compute)


def _power_w(request: PlanRequest, counts: IntArray, prediction: Prediction) -> FloatArray:
    """Return modelled power: idle draw plus the busy share of the rest."""
    variants = request.variants
    busy = np.clip(np.nan_to_num(prediction.utilization), 0.0, 1.0)
    span = variants.power_full_w - variants.power_idle_w
    return counts * (variants.power_idle_w + busy * span)


def _state(
    request: PlanRequest, need: Need, ahead: Ahead, desired: IntArray, estimator: EstimatorState
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
        forecast=ahead.forecast,
        starts=ahead.starts,
        full_since_s=need.full_since_s,
        sized_dispersion=ahead.dispersion,
    )


def _binding(
    request: PlanRequest,
    settled: Settlement,
    capacity: Capacity,
    need: Need,
    frozen: BoolArray,
    highest: IntArray,
) -> IntArray:
    """Return the constraint that decided each count; earlier rows win."""
    variants, model = request.variants, request.variants.model
    count = len(request.model_names)
    desired = settled.desired
    refused = any_of(model, capacity.known & ~capacity.slo_feasible, count)
    infeasible = (refused & ~any_of(model, capacity.slo_feasible, count))[model]
    short = ~settled.covered[model]
    grew = desired > variants.current_replicas
    kept = np.maximum(_previous(request), variants.current_replicas)
    conditions = [
        frozen,
        short & (desired == highest),
        variants.partial & (desired <= kept),
        infeasible,
        need.by_saturation[model] & grew,
        (desired == variants.min_replicas) & (settled.binding != Binding.STEADY) & ~grew,
        (need.now_rps <= TRICKLE_RPS)[model] & (desired <= variants.min_replicas),
    ]
    reasons = [
        Binding.HELD_NO_DATA,
        Binding.MAX_REPLICAS,
        Binding.HELD_PARTIAL,
        Binding.SLO_INFEASIBLE,
        Binding.SATURATION,
        Binding.MIN_REPLICAS,
        Binding.IDLE,
    ]
    return np.select(conditions, [np.int64(r) for r in reasons], settled.binding)


def _taken(decided: Plan, place: IntArray) -> Plan:
    """Return the plan with its rows back in the request's order."""
    rows = {
        name: getattr(decided, name)[place]
        for name in Plan.__dataclass_fields__
        if name not in _WHOLE
    }
    return Plan(**rows, state=decided.state, recall=decided.recall)
