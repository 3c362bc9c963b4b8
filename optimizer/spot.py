"""Replicas that may be taken away at short notice: their price, and what is kept for it. Pure."""

from dataclasses import replace

import numpy as np

from .decision import PlanRequest
from .domain import FloatArray
from .roles import role_rows

__all__ = ["reserve_rps", "with_interruptions_priced"]

_SECONDS_PER_HOUR = 3600.0


def with_interruptions_priced(request: PlanRequest, cold_start_s: FloatArray) -> PlanRequest:
    """Return the request in which a spot replica's price holds the starts that it will need.

    Each interruption is followed by a start, in which a replica is paid for and serves nothing:

        cost (1 + interruptions_per_hour cold_start_s / 3600)
    """
    spot = request.spot
    if spot is None:
        return request
    variants = request.variants
    lost = spot.interruptions_per_hour * np.nan_to_num(cold_start_s) / _SECONDS_PER_HOUR
    return replace(
        request, variants=replace(variants, cost_per_hour=variants.cost_per_hour * (1.0 + lost))
    )


def reserve_rps(request: PlanRequest, rate_rps: FloatArray, cold_start_s: FloatArray) -> FloatArray:
    """Return what each model carries beyond its need, so that losing `survive` is no SLO miss.

    Parameters
    ----------
    request : PlanRequest
    rate_rps : array, shape (V,)
        Capacity of one replica within its SLO. [requests/s]
    cold_start_s : array, shape (V,)

    Returns
    -------
    ndarray, shape (M,)
        The largest over its variants of `survive` replicas' capacity: of those that run, must
        run, or would be the first to be bought. Nothing of those whose notice is long enough
        for a start, since then what takes their place is ready before they go. [requests/s]
    """
    reserve = np.zeros(len(request.model_names))
    spot, variants = request.spot, request.variants
    if spot is None:
        return reserve
    rows = role_rows(request)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(rate_rps > 0, variants.cost_per_hour / rate_rps, np.inf)
    cheapest = np.full(int(rows.max(initial=-1)) + 1, np.inf)
    np.minimum.at(cheapest, rows, each)
    runs = (variants.current_replicas > 0) | (variants.min_replicas > 0) | (each <= cheapest[rows])
    surprised = np.nan_to_num(cold_start_s) > spot.notice_s
    lost = np.where(runs & surprised, spot.survive * rate_rps, 0.0)
    np.maximum.at(reserve, variants.model, lost)
    return reserve
