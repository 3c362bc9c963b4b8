"""Where engines that stay full overrule a model that is trusted. Pure columns.

A replica at its capacity is full and has a queue now and then, and the queueing model has
counted with it: that is no news while those who wait still get their first token in time.
A queue too long for that, for as long as a start would help, is, unless it gets shorter
or replicas are on their way: demand, capacity or lengths aren't what they are thought to be.
What then has to be carried on top is the backlog over the time it should be gone in, which
grows for as long as the model is wrong.
"""

from dataclasses import dataclass

import numpy as np

from .decision import PlanRequest
from .domain import BoolArray, FloatArray, IntArray
from .saturation import DEFAULT_LIMITS, Headroom, Stock

__all__ = ["Overload", "overload"]

# A full engine is taken seriously after half a cold start, at most so many seconds.
LONGEST_DOUBT_S = 60.0
# Where no target for TTFT is given, a queue longer than this is too long.
LONGEST_WAIT_S = 5.0
HALF = 0.5
# A queue of less than this share of what it was is being served.
SHORTER_RATIO = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overload:
    """Which variants have been full for too long, what waits there, and since when.

    `backlog_requests` is 0 where nothing is wrong, `late_requests` what waits beyond what is
    served in time; `by_memory` says that memory is what is full, so that the stock bound holds
    whatever the rates are. `since_s` is NaN where a variant isn't full; a queue is compared with
    `reference_requests`, what waited then.
    """

    lasting: BoolArray
    by_memory: BoolArray
    backlog_requests: FloatArray
    late_requests: FloatArray
    since_s: FloatArray
    reference_requests: FloatArray


def overload(
    request: PlanRequest,
    stock: Headroom,
    *,
    rate_rps: FloatArray,
    cold_start_s: FloatArray,
    helped: BoolArray,
) -> Overload:
    """Return where queues have been too long for as long as a start would help.

    Parameters
    ----------
    request : PlanRequest
    stock : Headroom, V rows
        What the engines' state asks for now.
    rate_rps : array, shape (V,)
        What one replica is thought to carry. [requests/s]
    cold_start_s : array, shape (V,)
        [s]
    helped : array of bool, shape (V,)
        Whether replicas of its model are on their way.

    Notes
    -----
    The last of w requests in the queue of a replica that serves μ per second waits w / μ:
    within the target for TTFT if w <= μ TTFT.
    """
    replicas, count = request.replicas, len(request.variants)
    in_time = rate_rps * np.minimum(request.slo.ttft_s, LONGEST_WAIT_S)
    allowed = np.maximum(in_time, DEFAULT_LIMITS.full_queue_requests)
    beyond = np.maximum(replicas.waiting_requests - allowed[replicas.variant], 0.0)
    late = _per_variant(replicas.variant, beyond, count)
    full = stock.saturated & (late > 0.0)
    since_s, reference = _since(request, full, late, helped)
    doubt_s = np.maximum(
        np.minimum(HALF * cold_start_s, LONGEST_DOUBT_S), request.policy.observation_window_s
    )
    lasting = full & (request.now_s - since_s >= doubt_s)
    above = replicas.waiting_requests - DEFAULT_LIMITS.tolerated_queue_requests
    waiting = _per_variant(replicas.variant, np.maximum(above, 0.0), count)
    return Overload(
        lasting=lasting,
        by_memory=lasting & (stock.stock == Stock.MEMORY),
        backlog_requests=np.where(lasting, waiting, 0.0),
        late_requests=late,
        since_s=since_s,
        reference_requests=reference,
    )


def _since(
    request: PlanRequest, full: BoolArray, late: FloatArray, helped: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return since when each variant has been full for no good reason, and what waited then.

    A queue that gets shorter is one, and so are replicas that start, unless they are late.
    """
    state, names = request.state, request.variant_names
    since_s = state.recalled(state.full_since_s, names)
    reference = state.recalled(state.full_requests, names)
    shorter = late < SHORTER_RATIO * reference
    begins = full & (np.isnan(since_s) | shorter | helped)
    since_s = np.where(begins, request.now_s, np.where(full, since_s, np.nan))
    return since_s, np.where(begins, late, np.where(full, reference, np.nan))


def _per_variant(variant: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Sum replicas' values over each variant; unknown ones count nothing."""
    total = np.bincount(variant, weights=np.nan_to_num(values), minlength=count)
    return np.asarray(total, dtype=np.float64)
