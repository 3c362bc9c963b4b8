"""Distributions by their first moments: what a percentile needs when means are not enough.

Latencies are sums of skewed, positive parts whose cumulants add. A lognormal shifted to
the same three cumulants gives their percentiles in closed form; an exponential, cut
where a queue ends, gives those of a wait. Nothing here knows what the numbers stand for.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .domain import Columns, FloatArray

__all__ = [
    "HERMITE_NODES",
    "HERMITE_WEIGHTS",
    "CutExponential",
    "ShiftedLognormal",
    "normal_quantile",
    "normal_survival",
]

# Gauss-Hermite rule of 6 points for the standard normal: exact to degree 11.
HERMITE_NODES = (
    -3.3242574335521193, -1.8891758777537109, -0.6167065901925941,
    0.6167065901925941, 1.8891758777537109, 3.3242574335521193,
)  # fmt: skip
HERMITE_WEIGHTS = (
    0.0025557844020562, 0.0886157460419145, 0.4088284695560293,
    0.4088284695560293, 0.0886157460419145, 0.0025557844020562,
)  # fmt: skip

# Hart's rational form of the normal tail (see `normal_survival`), highest power first.
_NUMERATOR = (
    3.52624965998911e-2, 0.700383064443688, 6.37396220353165, 33.912866078383,
    112.079291497871, 221.213596169931, 220.206867912376,
)  # fmt: skip
_DENOMINATOR = (
    8.83883476483184e-2, 1.75566716318264, 16.064177579207, 86.7807322029461,
    296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752,
)  # fmt: skip
_RATIONAL_UP_TO = 7.07106781186547
_FARTHEST = 37.0
# Below this skewness a lognormal is a normal to all digits that matter.
_LEAST_SKEWNESS = 1e-3
# A cut exponential this flat is as good as uniform.
_LEAST_SLOPE = 1e-5


def normal_survival(x: FloatArray) -> FloatArray:
    """Return P(Z > x) of a standard normal Z, to 14 digits up to 37, no less beyond.

    References
    ----------
    .. [1] J. F. Hart, "Computer Approximations", Wiley 1968, algorithm 5666; the
       continued fraction for the far tail as in G. West, "Better approximations to
       cumulative normal functions", Wilmott Magazine, 2005.
    """
    z = np.minimum(np.abs(x), _FARTHEST)
    with np.errstate(under="ignore"):
        bell = np.exp(-0.5 * z * z)
    tail = bell * _horner(_NUMERATOR, z) / _horner(_DENOMINATOR, z)
    if np.any(z > _RATIONAL_UP_TO):
        fraction = z + 1.0 / (z + 2.0 / (z + 3.0 / (z + 4.0 / (z + 0.65))))
        tail = np.where(z > _RATIONAL_UP_TO, bell / fraction / np.sqrt(2.0 * np.pi), tail)
    return np.where(x >= 0.0, tail, 1.0 - tail)


def normal_quantile(probability: FloatArray) -> FloatArray:
    """Return z with P(Z <= z) = `probability`; 0 and 1 give -inf and inf.

    Percentiles are few and repeat, so each distinct one is worked out once.
    """
    distinct, place = np.unique(probability, return_inverse=True)
    normal = NormalDist()
    edges = {0.0: -np.inf, 1.0: np.inf}
    values = [edges[p] if p in edges else normal.inv_cdf(p) for p in distinct.tolist()]
    return np.array(values)[place].reshape(np.shape(probability))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutExponential(Columns):
    """X on [0, end] with a density proportional to exp(slope x / end), of a given mean.

    The wait in a queue that holds so many: exponential where it is long and stable
    (slope far below 0), uniform where as much comes as goes, close to its end in an
    overload.

    Attributes
    ----------
    mean : ndarray, > 0
    slope : ndarray
    """

    mean: FloatArray
    slope: FloatArray

    def survival(self, x: FloatArray) -> FloatArray:
        """Return P(X > x), shape (..., V)."""
        left = 1.0 - np.clip(x / self._end(), 0.0, 1.0)
        slope = self._steep()
        steep = np.abs(slope)
        with np.errstate(under="ignore"):
            falling = np.exp(np.minimum(slope, 0.0) * (1.0 - left))
            return falling * np.expm1(-steep * left) / np.expm1(-steep)

    def quantile(self, probability: FloatArray) -> FloatArray:
        """Return x with P(X <= x) = `probability`, shape (V,)."""
        slope = self._steep()
        over = 1.0 - probability
        with np.errstate(under="ignore"):
            falling = np.log(over + probability * np.exp(np.minimum(slope, 0.0))) / slope
            rising = 1.0 + np.log(probability + over * np.exp(-np.maximum(slope, 0.0))) / slope
        return self._end() * np.where(slope < 0.0, falling, rising)

    def _end(self) -> FloatArray:
        slope = self._steep()
        with np.errstate(over="ignore"):
            return self.mean / (-1.0 / np.expm1(-slope) - 1.0 / slope)

    def _steep(self) -> FloatArray:
        """Return the slope, kept off 0, where its formulas have no digits left."""
        return np.where(np.abs(self.slope) < _LEAST_SLOPE, _LEAST_SLOPE, self.slope)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShiftedLognormal(Columns):
    """X = shift + scale exp(sigma Z), Z standard normal; a column entry per variant."""

    shift: FloatArray
    scale: FloatArray
    sigma: FloatArray

    @classmethod
    def from_cumulants(
        cls, mean: FloatArray, variance: FloatArray, third: FloatArray
    ) -> "ShiftedLognormal":
        """Return the one with these first three cumulants.

        Parameters
        ----------
        mean, variance, third : ndarray, shape (V,)
            Variance > 0; a third cumulant at or below zero is taken as nearly none.

        Notes
        -----
        With w = exp(σ²), the skewness is (w + 2) sqrt(w - 1), a cubic in w whose root is
        w = 1 + 4 sinh²(asinh(skewness / 2) / 3).
        """
        skewness = np.maximum(third / variance**1.5, _LEAST_SKEWNESS)
        excess = 4.0 * np.sinh(np.arcsinh(0.5 * skewness) / 3.0) ** 2  # w - 1
        scale = np.sqrt(variance / (excess * (1.0 + excess)))
        return cls(
            shift=mean - scale * np.sqrt(1.0 + excess),
            scale=scale,
            sigma=np.sqrt(np.log1p(excess)),
        )

    def survival(self, t: FloatArray) -> FloatArray:
        """Return P(X > t), shape of `t` (V,)."""
        return normal_survival(self._normal_score(t))

    def quantile(self, probability: FloatArray) -> FloatArray:
        """Return t with P(X <= t) = `probability`."""
        return self.at(normal_quantile(probability))

    def at(self, z: FloatArray) -> FloatArray:
        """Return the value that stands where `z` stands in a standard normal."""
        return self.shift + self.scale * np.exp(self.sigma * z)

    def mean_above(self, t: FloatArray) -> FloatArray:
        """Return E[max(X - t, 0)]."""
        score = self._normal_score(t)
        inner = self.scale * np.exp(0.5 * self.sigma**2) * normal_survival(score - self.sigma)
        return np.maximum(inner - (t - self.shift) * normal_survival(score), 0.0)

    def _normal_score(self, t: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(t - self.shift, 0.0) / self.scale) / self.sigma


def _horner(coefficients: tuple[float, ...], x: FloatArray) -> FloatArray:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
