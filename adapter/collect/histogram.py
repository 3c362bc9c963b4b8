"""Moments and percentiles of a distribution that is known by buckets. Pure, one row per item.

A percentile takes the mass within a bucket as uniform, as `histogram_quantile` in Prometheus does.
A second moment needs better: buckets of lengths double from one to the next, and mass that falls
off within the widest of them, taken as uniform, makes it a tenth too large (measured on lognormal
lengths; a twenty-fifth as below).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentile", "second_moment"]

FloatArray = NDArray[np.float64]

_STEEPEST = 4.0


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
    Within a bucket the density is x^k, with k the slope of the density between the neighbouring
    buckets in logarithms; all is then scaled to the mean that the sum gives. Mass beyond the last
    finite bound a has what the sum leaves for it, as an exponential excess e: a² + 2 a e + 2 e².
    """
    mass = np.diff(cumulative, axis=1, prepend=0.0)
    count = cumulative[:, -1]
    inner, beyond = mass[:, :-1], mass[:, -1]
    high = bounds[:-1]
    low = np.concatenate([[0.0], high])[: len(high)]
    last = high[-1] if len(high) else 0.0
    slope = _slopes(low, high, inner)
    first = (inner * _power_mean(low, high, slope, 1)).sum(axis=1)
    square = (inner * _power_mean(low, high, slope, 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where((beyond > 0) | (first <= 0), 1.0, np.clip(total / first, 0.5, 2.0))
        excess = np.where(beyond > 0, np.maximum(total - first - beyond * last, 0.0) / beyond, 0.0)
        outer = np.where(beyond > 0, beyond * (last**2 + 2 * last * excess + 2 * excess**2), 0.0)
        moment = (square * scale**2 + outer) / count
        return np.where(count > 0, np.maximum(moment, (total / count) ** 2), np.nan)


def _slopes(low: FloatArray, high: FloatArray, inner: FloatArray) -> FloatArray:
    """Return the exponent of the density in each bucket; 0, uniform, in the one that holds 0."""
    if len(high) < 2:
        return np.zeros_like(inner)
    width = np.where(high > low, high - low, 1.0)
    middle = np.sqrt(np.maximum(np.maximum(low, high / 4.0) * high, 1e-18))
    density = np.log(np.maximum(inner, 0.5) / width)
    steps = np.diff(density, axis=1) / np.maximum(np.diff(np.log(middle)), 1e-9)
    padded = np.concatenate([steps[:, :1], steps, steps[:, -1:]], axis=1)
    slope = np.clip((padded[:, 1:] + padded[:, :-1]) / 2.0, -_STEEPEST, _STEEPEST)
    return np.where(low > 0, slope, 0.0)


def _power_mean(low: FloatArray, high: FloatArray, slope: FloatArray, power: int) -> FloatArray:
    """Return the mean of x^power over [low, high] with a density that goes as x^slope."""
    start = np.maximum(low, 1e-9)
    ratio = np.maximum(high, 2e-9) / start

    def integral(exponent: FloatArray) -> FloatArray:
        # Of (x / start)^exponent over [1, ratio]; the logarithm where the power rule ends.
        near = np.abs(exponent + 1.0) < 1e-6
        safe = np.where(near, 1.0, exponent + 1.0)
        return np.where(near, np.log(ratio), (ratio**safe - 1.0) / safe)

    mean: FloatArray = start**power * integral(slope + power) / integral(slope)
    return np.where(high > low, mean, high**power)
