"""Offered demand: what clients asked for, turned away or not. Pure.

An engine under three times its load completes a third of what is offered; a rate of completions
would say that all is well. So demand is counted where requests arrive, or by their balance: what
left, plus what has piled up, plus what was turned away before it could pile up.

An engine's own arrival counter comes first; else it is completions + change of requests in
flight + rejections. What a router or gateway counts comes before both (see model_demand.py).
"""

import numpy as np

from .records import Readings

__all__ = ["replica_offered_rate_rps"]


def replica_offered_rate_rps(
    *, arrivals: Readings, completions: Readings, inflight_slope: Readings, rejections: Readings
) -> Readings:
    """Return the rate at which requests were offered to each replica. [requests/s]

    Parameters
    ----------
    arrivals : Readings, shape (R,)
        The engine's own arrival counter, which counts what it turns away too. [requests/s]
    completions, rejections : Readings, shape (R,)
        Finished for any reason, and turned away unfinished. [requests/s]
    inflight_slope : Readings, shape (R,)
        Change of running and waiting requests per second. [requests/s]

    Returns
    -------
    Readings, shape (R,)
        Missing, for the reason of the completions, where neither way is open. An engine that
        doesn't count rejections or what is in flight is taken to have none.
    """
    balance = (
        completions.values + np.nan_to_num(inflight_slope.values) + np.nan_to_num(rejections.values)
    )
    own = arrivals.present
    return Readings(
        np.where(own, arrivals.values, np.maximum(balance, 0.0)),
        np.where(own, arrivals.reasons, completions.reasons),
    )
