"""Which replicas' readings are believed, and why the others aren't. Pure.

A pod's page is its own word (design 4.14). A number that isn't one says that the page is
broken. A rate that the requests in flight can't explain says that a counter is: by Little's
law, a rate of λ whose requests take W each keeps λ W of them in flight. A replica that isn't
believed counts as one that is silent: its last rate stands for it, and nothing is taken away.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .records import Readings, Reason

__all__ = ["doubts"]

# Without these nothing can be said of a replica; others may be missing one by one.
_NEEDED = (
    "running_requests",
    "waiting_requests",
    "kv_usage_ratio",
    "arrival_rate_rps",
    "completion_rate_rps",
)
# A window sees a rate and what is in flight at different times: a burst that has just ended,
# or one that has just begun, is off by a few times, and a page a second by no more than that.
_FACTOR = 10.0
# Of a request whose time isn't measured: no engine does one in less.
_LEAST_S = 1e-3
# Below this a rate isn't worth a doubt, whatever is in flight.
_SMALL_RPS = 10.0


def doubts(signals: Mapping[str, Readings]) -> NDArray[np.uint8]:
    """Return per replica why its readings aren't believed, PRESENT where they are.

    Parameters
    ----------
    signals : mapping of str to Readings, shape (R,)
        REPLICA_SIGNALS.
    """
    broken = np.logical_or.reduce([signals[n].reasons == Reason.NOT_FINITE for n in _NEEDED])
    why = np.where(_implausible(signals), Reason.IMPLAUSIBLE, Reason.PRESENT)
    return np.where(broken, Reason.NOT_FINITE, why).astype(np.uint8)


def _implausible(signals: Mapping[str, Readings]) -> NDArray[np.bool_]:
    def value(name: str) -> NDArray[np.float64]:
        return np.nan_to_num(signals[name].values)

    rate_rps = np.maximum(value("completion_rate_rps"), value("arrival_rate_rps"))
    latest = value("running_requests") + value("waiting_requests")
    in_flight = np.maximum(value("mean_running_requests") + value("mean_waiting_requests"), latest)
    takes_s = value("ttft_mean_s") + value("itl_mean_s") * np.maximum(
        value("output_tokens_mean") - 1.0, 0.0
    )
    most_rps = _FACTOR * (in_flight + 1.0) / np.maximum(takes_s, _LEAST_S)
    return np.asarray(rate_rps > np.maximum(most_rps, _SMALL_RPS))
