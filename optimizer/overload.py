"""Where engines that stay full overrule a model that is trusted. Pure columns.

A replica at its capacity is full and has a queue now and then, and the queueing model has
counted with it: that is no news while those who wait still get their first token in time.
A queue too long for that, for as long as a start would help, is: demand, capacity or
lengths aren't what they are thought to be. What then has to be carried on top is the
backlog over the time it should be gone in, which grows for as long as the model is wrong.
"""

from dataclasses import dataclass

import numpy as np

from .decision import PlanRequest
from .domain import BoolArray, FloatArray
from .saturation import DEFAULT_LIMITS, Headroom, Stock

__all__ = ["Overload", "overload"]

# A full engine is taken seriously after half a cold start, at most so many seconds.
LONGEST_DOUBT_S = 60.0
# Where no target for TTFT is given, a queue longer than this is too long.
LONGEST_WAIT_S = 5.0
HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overload:
    """Which variants have been full for too long, what waits there, and since when.

    `backlog_requests` is 0 where nothing is wrong; `by_memory` says that memory is what is
    full, so that the stock bound holds whatever the rates are. `since_s` is NaN where a
    variant isn't full.
    """

    lasting: BoolArray
    by_memory: BoolArray
    backlog_requests: FloatArray
    since_s: FloatArray


def overload(
    request: PlanRequest, stock: Headroom, *, rate_rps: FloatArray, cold_start_s: FloatArray
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

    Notes
    -----
    The last of w requests in the queue of a replica that serves μ per second waits w / μ:
    within the target for TTFT if w <= μ TTFT.
    """
    replicas, count = request.replicas, len(request.variants)
    in_time = rate_rps * np.minimum(request.slo.ttft_s, LONGEST_WAIT_S)
    allowed = np.maximum(in_time, DEFAULT_LIMITS.full_queue_requests)
    late = replicas.waiting_requests > allowed[replicas.variant]
    full = stock.saturated & (np.bincount(replicas.variant[late], minlength=count) > 0)
    since_s = request.state.recalled(request.state.full_since_s, request.variant_names)
    since_s = np.where(full, since_s, np.nan)
    since_s = np.where(full & np.isnan(since_s), request.now_s, since_s)
    doubt_s = np.maximum(
        np.minimum(HALF * cold_start_s, LONGEST_DOUBT_S), request.policy.observation_window_s
    )
    lasting = full & (request.now_s - since_s >= doubt_s)
    beyond = replicas.waiting_requests - DEFAULT_LIMITS.tolerated_queue_requests
    waiting = np.bincount(
        replicas.variant, weights=np.maximum(np.nan_to_num(beyond), 0.0), minlength=count
    )
    return Overload(
        lasting=lasting,
        by_memory=lasting & (stock.stock == Stock.MEMORY),
        backlog_requests=np.where(lasting, waiting, 0.0),
        since_s=since_s,
    )
