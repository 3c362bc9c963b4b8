"""What a plan comes to: traffic, utilization, latencies and power at its counts. Pure."""

import numpy as np

from .ahead import Ahead
from .decision import PlanRequest
from .domain import FloatArray, IntArray
from .latency import Prediction, predict
from .need import Capacity
from .recall import Recalled, inputs_of, recalled
from .roles import role_rows
from .routing import Routed, division, rates_at

__all__ = ["power_w", "predicted", "shares_rps", "traffic_ratio", "utilization_ratio"]


def shares_rps(
    request: PlanRequest, router: Routed, counts: IntArray, rate_rps: FloatArray
) -> FloatArray:
    """Return each variant's arrival rate, in its role, as requests are routed."""
    part = division(router, rate_rps, counts)
    return np.asarray(part * request.models.arrival_rate_rps[request.variants.model])


def traffic_ratio(request: PlanRequest, share_rps: FloatArray) -> FloatArray:
    """Return each variant's part of its model's requests; NaN where none arrive."""
    offered = request.models.arrival_rate_rps[request.variants.model]
    return np.divide(share_rps, offered, out=np.full_like(share_rps, np.nan), where=offered > 0)


def utilization_ratio(request: PlanRequest, router: Routed, capacity: Capacity) -> FloatArray:
    """Return demand over what the current replicas carry within the SLO; NaN: unknown."""
    rows, here = role_rows(request), request.variants.current_replicas
    each = rates_at(router, capacity.own_rps, here)
    rate_rps = np.where(capacity.known, each, np.nan)
    carried = np.bincount(rows, weights=here * rate_rps)[rows]
    offered = request.models.arrival_rate_rps[request.variants.model]
    ratio = np.divide(offered, carried, out=np.full(len(rows), np.nan), where=carried > 0)
    return np.asarray(ratio)


def predicted(
    request: PlanRequest, ahead: Ahead, counts: IntArray, share_rps: FloatArray
) -> tuple[Prediction, Recalled[Prediction]]:
    """Predict latencies of one replica at its share of the planned traffic."""
    each = np.divide(share_rps, counts, out=np.full(len(counts), np.nan), where=(counts > 0))
    percentile, dispersion = request.slo.percentile_ratio, ahead.dispersion

    def compute(rows: IntArray) -> Prediction:
        """Predict the latencies of these rows."""
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


def power_w(request: PlanRequest, counts: IntArray, prediction: Prediction) -> FloatArray:
    """Return modelled power: idle draw plus the busy share of the rest."""
    variants = request.variants
    busy = np.clip(np.nan_to_num(prediction.utilization), 0.0, 1.0)
    span = variants.power_full_w - variants.power_idle_w
    return counts * (variants.power_idle_w + busy * span)
