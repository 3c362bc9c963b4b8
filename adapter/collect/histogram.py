"""Moments and percentiles of a distribution that is known by buckets. Pure, one row per item.

Inside a bucket the mass is taken as uniform, as `histogram_quantile` in Prometheus does. Where the
sum is known too, the place of the mass within its buckets is shifted until the mean is exact.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentile", "second_moment"]

FloatArray = NDArray[np.float64]


def percentile(bounds: FloatArray, cumulative: FloatArray, ratio: float) -> FloatArray:
    """Return the value below which `ratio` of the mass lies, linear within buckets.

    Parameters
    ----------
    bounds : ndarray, shape (B,)
        Upper bounds, rising; the last is +inf.
    cumulative : ndarray, shape (N, B)
        Mass at or below each bound.
    ratio : float
        In (0, 1).

    Returns
    -------
    ndarray, shape (N,)
        NaN without mass, and where it lies in the first bucket: what is below the first bound
        can't be read from a histogram. The last finite bound where it lies beyond it.
    """
    rows = np.arange(len(cumulative))
    total = cumulative[:, -1]
    rank = ratio * total
    at = np.minimum((cumulative < rank[:, None]).sum(axis=1), len(bounds) - 1)
    before = np.maximum(at - 1, 0)
    low, high = bounds[before], bounds[at]
    mass = cumulative[rows, at] - cumulative[rows, before]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (rank - cumulative[rows, before]) / mass
        inside = low + (high - low) * part
    value = np.where(np.isinf(high), low, inside)
    return np.where((total > 0) & (at > 0), value, np.nan)


def second_moment(bounds: FloatArray, cumulative: FloatArray, total: FloatArray) -> FloatArray:
    """Return the mean square of a non-negative quantity, given its exact sum.

    Parameters
    ----------
    bounds : ndarray, shape (B,)
        Upper bounds, rising; the last is +inf.
    cumulative : ndarray, shape (N, B)
        Mass at or below each bound.
    total : ndarray, shape (N,)
        Sum of the quantity.

    Returns
    -------
    ndarray, shape (N,)
        NaN without mass; never below the squared mean.

    Notes
    -----
    With mass n in buckets [a, a + w], every mean a + θ w with one θ in [0, 1] that makes the
    overall mean exact, and the variance of a bucket w² θ (1 - θ) / 3: the uniform's w²/12 at its
    middle, none at its ends. Mass beyond the last finite bound a has what the sum leaves for it,
    as an exponential excess e: a² + 2 a e + 2 e².
    """
    mass = np.diff(cumulative, axis=1, prepend=0.0)
    count = cumulative[:, -1]
    low = np.concatenate([[0.0], bounds[:-2]])
    width = bounds[:-1] - low
    inner, beyond = mass[:, :-1], mass[:, -1]
    last = bounds[-2] if len(bounds) > 1 else 0.0
    least = inner @ low + beyond * last
    spread = inner @ width
    with np.errstate(invalid="ignore", divide="ignore"):
        # Without mass beyond, θ closes the gap; with it, buckets stand at their middle first.
        theta = np.where(spread > 0, (total - least) / spread, 0.0)
        theta = np.clip(np.where(beyond > 0, np.minimum(theta, 0.5), theta), 0.0, 1.0)
        excess = np.where(beyond > 0, np.maximum(total - least - theta * spread, 0.0) / beyond, 0.0)
        part = theta[:, None]
        square = (low + part * width) ** 2 + width**2 * part * (1.0 - part) / 3.0
        outer = last**2 + 2.0 * last * excess + 2.0 * excess**2
        moment = ((inner * square).sum(axis=1) + np.where(beyond > 0, beyond * outer, 0.0)) / count
        return np.where(count > 0, np.maximum(moment, (total / count) ** 2), np.nan)
