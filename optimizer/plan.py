"""The whole decision: sizing, saturation, memory, counts and predictions, in that order.

`plan(request)` is a function: the same request gives the same plan. Rows are put into
the order of their names before anything is chosen, so a plan doesn't depend on the order
in which variants were declared.
"""

from dataclasses import dataclass, replace

import numpy as np

from .decision import Binding, Plan, PlanRequest, PlanState, VariantTable
from .domain import BoolArray, FloatArray, IntArray, Trust
from .latency import Prediction, predict
from .saturation import guard_need
from .sizing import Sizing, largest_arrival_rate
from .stabilization import remember_demand, settle

__all__ = ["plan"]

# Router requests that wait are to be served within this time by what is added for them.
DRAIN_S = 30.0
# A model that may not go to zero needs one replica even without demand.
TRICKLE_RPS = 1e-6


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
    ordered = _reordered(request, order)
    decided = _plan_ordered(ordered)
    return _unordered(decided, order)


def _reordered(request: PlanRequest, order: IntArray) -> PlanRequest:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return replace(
        request,
        variant_names=tuple(request.variant_names[i] for i in order),
        variants=request.variants.take(order),
        replicas=replace(request.replicas, variant=place[request.replicas.variant]),
        profiles=request.profiles.take(order),
        limits=request.limits.take(order),
        workloads=request.workloads.take(order),
        slo=request.slo.take(order),
    )
