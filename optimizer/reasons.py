"""The constraint that decided each count. Pure."""

import numpy as np

from .counts import Bounds, previous
from .decision import Binding, PlanRequest
from .domain import IntArray
from .need import TRICKLE_RPS, Capacity, Need, any_of
from .stabilization import Settlement

__all__ = ["binding"]


def binding(
    request: PlanRequest,
    settled: Settlement,
    capacity: Capacity,
    need: Need,
    bounds: Bounds,
) -> IntArray:
    """Return the constraint that decided each count; earlier rows win."""
    variants, model = request.variants, request.variants.model
    count = len(request.model_names)
    desired = settled.desired
    refused = any_of(model, capacity.known & ~capacity.slo_feasible, count)
    infeasible = (refused & ~any_of(model, capacity.slo_feasible, count))[model]
    short = ~settled.covered[model]
    grew = desired > variants.current_replicas
    kept = np.maximum(previous(request), variants.current_replicas)
    conditions = [
        bounds.frozen,
        short & (desired == bounds.highest),
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
