"""How wrong demand and capacity may be before a plan misses its SLO; plans that bear more. Pure.

With carried C = Σ n rate and expected demand λ, a plan misses its SLO where

    demand is larger than thought by e:      (1 + e) λ > C
    capacity is smaller than thought by e:   λ > (1 - e) C

of which the second comes first, at e = 1 - λ / C. Where demand is smaller or capacity larger
than thought nothing is missed.
"""

from dataclasses import replace

import numpy as np

from .allocation import cheapest_mix
from .decision import Binding
from .domain import BoolArray, FloatArray, IntArray
from .problem import SLACK
from .stabilization import Settlement
from .tables import VariantTable

__all__ = ["CHECKED_ERRORS", "sturdier", "withstood_ratio"]

# Errors that a plan is checked under; it is made to bear the first if that is cheap.
CHECKED_ERRORS = (0.2, 0.5)
# What bearing the first may cost on top.
DEARER_RATIO = 0.03


def withstood_ratio(
    rows: IntArray, carried_rps: FloatArray, expected_rps: FloatArray
) -> FloatArray:
    """Return the error of demand or capacity that each row's plan bears within its SLO.

    Parameters
    ----------
    rows : array of int, shape (V,)
        What each variant carries for: (model, role).
    carried_rps : array, shape (V,)
        Of all its replicas within the SLO; NaN: not known. [requests/s]
    expected_rps : array, shape (V,)
        Demand of its row; NaN: not known. [requests/s]

    Returns
    -------
    ndarray, shape (V,)
        0.2: 20 % of error; below 0: missed as it is; 1 without demand; NaN: not known.
    """
    total = np.bincount(rows, weights=carried_rps)[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1.0 - expected_rps / total
    return np.where(expected_rps == 0.0, 1.0, np.where(total == 0.0, -np.inf, ratio))


def sturdier(
    settled: Settlement,
    *,
    rows: IntArray,
    variants: VariantTable,
    rate_rps: FloatArray,
    highest: IntArray,
    expected_rps: FloatArray,
) -> Settlement:
    """Return the counts with those in place of them that bear 20 % of error for little more.

    Parameters
    ----------
    settled : Settlement
        Counts to begin with.
    rows : array of int, shape (V,)
        (model, role) of each variant.
    variants : VariantTable, V rows
    rate_rps : array, shape (V,), >= 0
        Capacity of one replica within its SLO; 0: not known. [requests/s]
    highest : array of int, shape (V,)
    expected_rps : array, shape (R,), >= 0
        Demand of each row. [requests/s]

    Notes
    -----
    Only where counts change anyhow, and only between them and what is there, or beyond it: a
    count that stands is never changed for this, so that the choice can't go to and fro with
    the noise of demand.
    """
    desired, here = settled.desired, variants.current_replicas
    asked_rps = expected_rps / (1.0 - CHECKED_ERRORS[0])
    carried = np.bincount(rows, weights=desired * rate_rps, minlength=len(asked_rps))
    changes = np.bincount(rows, weights=desired != here, minlength=len(asked_rps)) > 0
    weak = changes & (carried < asked_rps * (1.0 - SLACK)) & (expected_rps > 0)
    weak &= _may_be_cheap(rows, desired, variants, rate_rps, asked_rps - carried)
    mine = np.flatnonzero(weak[rows] & (rate_rps > 0))
    if len(mine) == 0:
        return settled
    grows = np.bincount(rows, weights=desired > here, minlength=len(asked_rps)) > 0
    floor = np.where(grows[rows], np.minimum(here, desired), desired)
    ceiling = np.where(grows[rows], highest, np.maximum(here, desired))
    row, asking = np.unique(rows[mine], return_inverse=True)
    mix = cheapest_mix(
        model=asking,
        rate_rps=rate_rps[mine],
        cost_per_hour=variants.cost_per_hour[mine],
        lowest=floor[mine],
        highest=np.maximum(ceiling, floor)[mine],
        demand_rps=asked_rps[row],
    )
    other = desired.copy()
    other[mine] = mix.replicas
    before, after = (
        np.bincount(rows, weights=n * variants.cost_per_hour, minlength=len(asked_rps))
        for n in (desired, other)
    )
    taken = np.zeros(len(asked_rps), dtype=np.bool_)
    taken[row] = mix.covered
    taken &= after <= before * (1.0 + DEARER_RATIO)
    moved = taken[rows] & (other != desired)
    return replace(
        settled,
        desired=np.where(moved, other, desired),
        binding=np.where(moved, np.int64(Binding.STURDY), settled.binding),
    )


def _may_be_cheap(
    rows: IntArray,
    desired: IntArray,
    variants: VariantTable,
    rate_rps: FloatArray,
    lacking_rps: FloatArray,
) -> BoolArray:
    """Return where some mix may carry as much for little more: what no such mix is spared.

    No mix carries a request for less than the cheapest variant does.
    """
    cost = variants.cost_per_hour
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(rate_rps > 0, cost / rate_rps, np.inf)
    cheapest = np.full(len(lacking_rps), np.inf)
    np.minimum.at(cheapest, rows, each)
    spent = np.bincount(rows, weights=desired * cost, minlength=len(lacking_rps))
    carried = np.bincount(rows, weights=desired * rate_rps, minlength=len(lacking_rps))
    with np.errstate(invalid="ignore"):
        least = cheapest * (carried + lacking_rps)
    return np.asarray(least <= spent * (1.0 + DEARER_RATIO))
