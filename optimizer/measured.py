"""What engines that are full serve: capacity where no profile is trusted. Pure columns.

Waiting requests say that capacity is missing, not how much: counted like running ones, a queue
that grew while replicas started asks for as many replicas as would hold all of it at once, and
those come when it is served. But a full engine shows what it carries. What arrives, and what
will still wait when help is there, over that rate is what is needed; the stock of requests
stays the bound where it asks for less.
"""

import numpy as np

from .ahead import Ahead
from .backlog import backlog_ahead_requests, drained_within_s
from .decision import PlanRequest
from .domain import FloatArray
from .saturation import DEFAULT_LIMITS, Headroom

__all__ = ["served_bound_rps"]


def served_bound_rps(
    request: PlanRequest,
    ahead: Ahead,
    stock: Headroom,
    *,
    rate_rps: FloatArray,
    late_requests: FloatArray,
) -> FloatArray:
    """Return the largest need, per model, that what full engines serve gives reason for.

    Parameters
    ----------
    request : PlanRequest
    ahead : Ahead
        What arrives, and when what is asked for now is ready.
    stock : Headroom, V rows
        Whose engines are full.
    rate_rps : array, shape (V,)
        What one replica is planned with, right or wrong: the need is in its terms. [requests/s]
    late_requests : array, shape (V,)
        What waits beyond what is served in time.

    Returns
    -------
    ndarray, shape (M,)
        inf where no engine is full, or nothing is known of what it serves. [requests/s]

    Notes
    -----
    With κ = served / planned over a model's full variants, arrivals λ and what is left of the
    queue B when help is ready, to be gone in D seconds,

        need = (λ + B / D) / (κ u)

    where u is the usable share of slots: a full engine has nothing to spare.
    """
    model, count = request.variants.model, len(request.model_names)
    served = _served_rps(stock, request.workloads.output_tokens_mean)
    full = np.where(stock.saturated & (served > 0.0) & (rate_rps > 0.0), stock.full_replicas, 0)
    shown = np.bincount(model, weights=full * np.nan_to_num(served), minlength=count)
    planned = np.bincount(model, weights=full * rate_rps, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = shown / planned
    most = np.nan_to_num(scale)[model] * rate_rps
    usable = DEFAULT_LIMITS.usable_slots_ratio
    backlog = backlog_ahead_requests(
        request,
        waiting=np.bincount(model, weights=late_requests, minlength=count).astype(np.float64),
        rate_rps=ahead.now_rps,
        needed_rps=np.nan_to_num(ahead.offered_rps) / usable,
        most_rps=most,
        cold_start_s=ahead.cold_start_s,
        since_s=ahead.starts.since_s,
        horizon_s=ahead.horizon_s,
    )
    lasting = ahead.offered_rps + backlog / drained_within_s(ahead.horizon_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        need = lasting / (scale * usable)
    return np.where(np.isfinite(need), need, np.inf)


def _served_rps(stock: Headroom, output_tokens: FloatArray) -> FloatArray:
    """Return what a full replica of each variant serves; NaN: unknown.

    Completions come a request's life late, so prefills and tokens are counted, each over what a
    request needs of them. Full engines prefill and decode in turns of many seconds: the one that
    is ahead is nearer to what they carry, and the other would ask for replicas in vain.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        decoded = stock.full_output_tps / output_tokens
    return np.fmax(stock.full_prefilled_rps, decoded)
