"""Offered demand: what clients asked for, turned away or not. Pure.

An engine under three times its load completes a third of what is offered; a rate of completions
would say that all is well. So demand is counted where requests arrive, or by their balance: what
left, plus what has piled up, plus what was turned away before it could pile up.

Preference: a router's or gateway's own count; else, summed over replicas, an engine's arrival
counter, or completions + change of requests in flight + rejections.
"""

import numpy as np
from numpy.typing import NDArray

from .records import Readings, Reason

__all__ = ["model_offered_rate_rps", "replica_offered_rate_rps"]


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


def model_offered_rate_rps(
    *,
    router_offered: Readings,
    router_rejections: Readings,
    replica_offered: Readings,
    replica_model: NDArray[np.int64],
) -> Readings:
    """Return the rate at which requests were offered to each model. [requests/s]

    Parameters
    ----------
    router_offered, router_rejections : Readings, shape (M,)
        A router's or gateway's count of arrivals, and of what it turned away. [requests/s]
    replica_offered : Readings, shape (R,)
        What `replica_offered_rate_rps` gives. [requests/s]
    replica_model : ndarray of int, shape (R,)
        The model of each replica.

    Returns
    -------
    Readings, shape (M,)
        The router's count, which holds its refusals; else the replicas that report, plus the
        router's refusals if it counts them alone. Missing where nobody reports, for the reason
        of a replica, or NOT_READ_YET without any.
    """
    models = len(router_offered)
    use = replica_offered.present
    total = np.bincount(replica_model[use], weights=replica_offered.values[use], minlength=models)
    anyone = np.bincount(replica_model[use], minlength=models) > 0
    why = np.zeros(models, dtype=np.uint8)
    np.maximum.at(why, replica_model, replica_offered.reasons)
    why = np.where(why == Reason.PRESENT, Reason.NOT_READ_YET, why)
    values = np.where(anyone, total + np.nan_to_num(router_rejections.values), np.nan)
    own = router_offered.present
    return Readings(
        np.where(own, router_offered.values, values),
        np.where(own | anyone, Reason.PRESENT, why).astype(np.uint8),
    )
