"""Which replicas should go first when a variant loses some. Pure columns.

Those with the fewest requests in flight, for each of them is worked off or lost; among
equals the one with the coldest cache, for what it knows must not be computed anew elsewhere.
"""

import numpy as np

from .domain import BoolArray, FloatArray, IntArray

__all__ = ["leaving_first"]


def leaving_first(
    variant: IntArray,
    *,
    in_flight_requests: FloatArray,
    prefix_hit_ratio: FloatArray,
    removed: IntArray,
) -> BoolArray:
    """Return which replicas are the `removed` ones of their variant.

    Parameters
    ----------
    variant : array of int, shape (R,)
        Row in `removed` of each replica.
    in_flight_requests, prefix_hit_ratio : array, shape (R,)
        NaN: not known. Of such a replica nobody can say that it may go: it goes last.
    removed : array of int, shape (V,)
        Replicas that each variant is to lose; nothing where it is 0 or less.

    Returns
    -------
    ndarray of bool, shape (R,)
        At most `removed` per variant; of equals the first in order.
    """
    busy = np.where(np.isnan(in_flight_requests), np.inf, in_flight_requests)
    warm = np.where(np.isnan(prefix_hit_ratio), 0.0, prefix_hit_ratio)
    order = np.lexsort((warm, busy, variant))
    grouped = variant[order]
    first = np.searchsorted(grouped, grouped, side="left")
    rank = np.empty(len(variant), dtype=np.int64)
    rank[order] = np.arange(len(variant)) - first
    return np.asarray(rank < removed[variant], dtype=np.bool_)
