"""Who will still wait when what is asked for now is ready: a fluid look ahead. Pure.

What waits now is no measure of what is missing: it grows for as long as replicas start, and
what is on its way may serve it before anything asked for now would help. So the queue is
carried forward, with what is ready until the starting replicas are, and with them from then
on; what is left of it a cold start from now is to be gone within half of one.
"""

import numpy as np

from .decision import PlanRequest
from .domain import FloatArray, IntArray

__all__ = ["DRAIN_S", "backlog_ahead_requests", "drained_within_s", "starting_replicas"]

# Requests that wait are to be served within this time by what is added, ...
DRAIN_S = 30.0
# ... or this share of a cold start, where that is longer: what is added stays as long.
DRAIN_RATIO = 0.5
# A start that has taken so many times as long as others isn't counted with.
LATEST_RATIO = 1.5


def drained_within_s(horizon_s: FloatArray) -> FloatArray:
    """Return the time that a backlog should be gone in. [s]"""
    return np.maximum(DRAIN_S, DRAIN_RATIO * horizon_s)


def starting_replicas(
    request: PlanRequest, *, cold_start_s: FloatArray, since_s: FloatArray
) -> IntArray:
    """Return each variant's replicas that are on their way, none where they are overdue."""
    variants = request.variants
    coming = np.nan_to_num(request.now_s - since_s) <= LATEST_RATIO * cold_start_s
    starting = np.maximum(variants.current_replicas - variants.ready_replicas, 0)
    return np.where(coming, starting, 0)


def backlog_ahead_requests(
    request: PlanRequest,
    *,
    waiting: FloatArray,
    rate_rps: FloatArray,
    needed_rps: FloatArray,
    most_rps: FloatArray,
    cold_start_s: FloatArray,
    since_s: FloatArray,
    horizon_s: FloatArray,
) -> FloatArray:
    """Return the requests of each model that wait when what is asked for now is ready.

    Parameters
    ----------
    request : PlanRequest
        Counts that are ready and on their way.
    waiting : array, shape (M,), >= 0
        Requests that wait for too long now.
    rate_rps : array, shape (M,)
        Arrivals; NaN: unknown. [requests/s]
    needed_rps : array, shape (M,)
        What is served at most by as many replicas as these arrivals need. [requests/s]
    most_rps : array, shape (V,)
        What one replica serves at most, targets or not. [requests/s]
    cold_start_s : array, shape (V,)
        [s]
    since_s : array, shape (V,)
        When the start under way began; NaN: none is timed. [s]
    horizon_s : array, shape (M,)
        When what is asked for now is ready. [s]

    Returns
    -------
    ndarray, shape (M,), >= 0
        0 where rates aren't known.

    Notes
    -----
    The content of a fluid queue over a time T with arrivals at rate λ and service at rate μ
    is max(B + (λ - μ) T, 0) [1]_, here over two stretches: before and after the replicas
    that are starting are ready, all of them when the start that is timed ends. One that has
    taken half as long again as starts do isn't counted with; nor are more than the arrivals
    need, or those that were asked for because of the queue would be reason to call them off.

    .. [1] L. Kleinrock, "Queueing Systems, Volume II", Wiley 1976, section 2.7.
    """
    variants, count = request.variants, len(request.model_names)
    model, most = variants.model, np.nan_to_num(most_rps)
    starting = starting_replicas(request, cold_start_s=cold_start_s, since_s=since_s)
    ready = np.minimum(variants.ready_replicas, variants.current_replicas)
    left_s = np.maximum(cold_start_s - np.nan_to_num(request.now_s - since_s), 0.0)
    first_s = np.zeros(count)
    np.maximum.at(first_s, model[starting > 0], left_s[starting > 0])
    first_s = np.minimum(first_s, horizon_s)
    ready_rps = np.bincount(model, weights=ready * most, minlength=count)
    coming_rps = np.bincount(model, weights=starting * most, minlength=count)
    all_rps = ready_rps + np.minimum(coming_rps, np.maximum(needed_rps - ready_rps, 0.0))
    until = np.maximum(waiting + (rate_rps - ready_rps) * first_s, 0.0)
    after = np.maximum(until + (rate_rps - all_rps) * (horizon_s - first_s), 0.0)
    return np.where(np.isfinite(after) & (all_rps > 0.0), after, 0.0)
