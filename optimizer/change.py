"""What it costs to start and to stop a replica, as a price per hour. Pure.

A change is paid once and lasts for a while: its price is spread over that while, so that it
can be held against what a plan costs per hour.
"""

import numpy as np

from .domain import FloatArray, IntArray

__all__ = ["CHANGE_LASTS_S", "STOP_SHARE", "change_per_hour", "start_per_hour"]

# A change of counts is taken to last this long. [s]
CHANGE_LASTS_S = 900.0
# Stopping a replica costs this share of starting one: it drains, and its cache is lost.
STOP_SHARE = 0.3


def start_per_hour(
    cost_per_hour: FloatArray,
    cold_start_s: FloatArray,
    lasts_s: FloatArray | float = CHANGE_LASTS_S,
) -> FloatArray:
    """Return the price of one start: a replica is paid for a cold start long, and serves nothing.

    Parameters
    ----------
    cost_per_hour : array, shape (V,)
        Of one replica. [currency/h]
    cold_start_s : array, shape (V,)
        NaN: not known, and taken for nothing. [s]
    lasts_s : array, shape (V,), optional
        How long the change is expected to last: what has been steady for long will be. [s]
    """
    return np.asarray(cost_per_hour * np.nan_to_num(cold_start_s) / lasts_s, dtype=np.float64)


def change_per_hour(start: FloatArray, before: IntArray, after: IntArray) -> FloatArray:
    """Return what it costs to get from some counts to others, (..., V). [currency/h]"""
    change = after - before
    price = np.maximum(change, 0) + STOP_SHARE * np.maximum(-change, 0)
    return np.asarray(start * price, dtype=np.float64)
