"""Roots of many increasing functions at once, each in its own bracket.

Chandrupatla's method: inverse quadratic interpolation where three points allow it,
bisection where they don't; it never leaves the bracket. A status per element instead of
an exception for an array: one that can't be solved is no reason to fail the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray

__all__ = ["RootStatus", "Roots", "find_roots"]

_MAX_EVALUATIONS = 60


class RootStatus(IntEnum):
    """What became of one element."""

    CONVERGED = 0
    BELOW = 1  # positive at the lower end: the root is below the bracket
    ABOVE = 2  # not positive at the upper end: the root is above the bracket
    NOT_FINITE = 3
    NOT_CONVERGED = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roots(Columns):
    """One root per element.

    Attributes
    ----------
    x : ndarray
        A point where the function is <= 0 and, within the tolerances, no larger one.
        For BELOW the lower end, for ABOVE the upper end, for NOT_FINITE NaN.
    status : ndarray of int
        A `RootStatus`.
    """

    x: FloatArray
    status: IntArray


def find_roots(
    function: Callable[[FloatArray, IntArray], FloatArray],
    *,
    low: FloatArray,
    high: FloatArray,
    low_value: FloatArray,
    high_value: FloatArray,
    x_tolerance: float,
    value_tolerance: float = 0.0,
) -> Roots:
    """Return where increasing functions cross zero, from below.

    Parameters
    ----------
    function : callable
        Takes points, shape (K,), and the rows that they belong to, int, shape (K,);
        returns the values there, shape (K,).
    low, high : ndarray, shape (V,), 0 <= low <= high
        Bracket of each root.
    low_value, high_value : ndarray, shape (V,)
        The function at both ends; -inf and +inf stand for "far below" and "far above".
    x_tolerance : float, > 0
        Stop when the bracket is narrower than this share of the root.
    value_tolerance : float, >= 0
        Also stop at a point whose value is in [-value_tolerance, 0].

    Returns
    -------
    Roots

    References
    ----------
    .. [1] T. R. Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding
       the zero of a nonlinear function without using derivatives", Advances in
       Engineering Software 28 (1997) 145-149.
    """
    status = _outside(low_value, high_value)
    x = np.where(status == RootStatus.ABOVE, high, low)
    x[status == RootStatus.NOT_FINITE] = np.nan
    rows = np.flatnonzero(status == RootStatus.NOT_CONVERGED)
    # Aiming at the middle of the tolerated values, either side of the aim will do.
    aim = 0.5 * value_tolerance
    search = _Search.begin(
        low[rows], high[rows], low_value=low_value[rows] + aim, high_value=high_value[rows] + aim
    )
    for _ in range(_MAX_EVALUATIONS):
        best, close = search.best(aim)
        done = close | search.narrow(x_tolerance)
        if done.any():
            x[rows[done]] = best[done]
            status[rows[done]] = RootStatus.CONVERGED
            rows, search, best = rows[~done], search.take(~done), best[~done]
        if not rows.size:
            break
        point = search.next_point(x_tolerance)
        search = search.with_value(point, function(point, rows) + aim)
    else:
        x[rows] = best
    return Roots(x=x, status=status)


def _outside(low_value: FloatArray, high_value: FloatArray) -> IntArray:
    unknown = np.isnan(low_value) | np.isnan(high_value)
    conditions = [unknown, low_value > 0.0, high_value <= 0.0]
    found = [RootStatus.NOT_FINITE, RootStatus.BELOW, RootStatus.ABOVE]
    status = np.select(conditions, [int(s) for s in found], int(RootStatus.NOT_CONVERGED))
    return status.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search(Columns):
    """Three points: `a` the newest, `b` across the root from it, `c` the one before."""

    a: FloatArray
    b: FloatArray
    c: FloatArray
    fa: FloatArray
    fb: FloatArray
    fc: FloatArray
    interpolate: BoolArray

    @classmethod
    def begin(
        cls,
        low: FloatArray,
        high: FloatArray,
        *,
        low_value: FloatArray,
        high_value: FloatArray,
    ) -> "_Search":
        return cls(
            a=low,
            b=high,
            c=low,
            fa=low_value,
            fb=high_value,
            fc=low_value,
            interpolate=np.isfinite(low_value) & np.isfinite(high_value),
        )

    def best(self, aim: float) -> tuple[FloatArray, BoolArray]:
        """Return the point to report if the search ended here, and whether it may."""
        near = np.abs(self.fa) <= aim
        near_b = np.abs(self.fb) <= aim
        below = np.where(self.fa <= 0.0, self.a, self.b)
        return np.where(near, self.a, np.where(near_b, self.b, below)), near | near_b

    def narrow(self, x_tolerance: float) -> BoolArray:
        return np.abs(self.b - self.a) <= x_tolerance * np.maximum(self.a, self.b)

    def next_point(self, x_tolerance: float) -> FloatArray:
        """Interpolate where that is safe, else halve; stay inside the bracket."""
        share = np.where(self.interpolate, self._crossing(), 0.5)
        # A step of less than half the tolerance couldn't close the bracket.
        width = np.abs(self.b - self.a)
        least = np.minimum(0.5 * x_tolerance * np.maximum(self.a, self.b) / width, 0.5)
        return self.a + np.clip(share, least, 1.0 - least) * (self.b - self.a)

    def _crossing(self) -> FloatArray:
        """Return the share of the way from `a` to `b` where x, as a parabola in f, has f = 0."""
        fa, fb, fc = self.fa, self.fb, self.fc
        with np.errstate(all="ignore"):
            chord = fa / (fa - fb)
            curve = fa / (fb - fa) * fc / (fb - fc)
            curve += (self.c - self.a) / (self.b - self.a) * fa / (fc - fa) * fb / (fc - fb)
        share = np.where(fc == fa, chord, curve)
        return np.where(np.isfinite(share), share, 0.5)

    def with_value(self, point: FloatArray, value: FloatArray) -> "_Search":
        """Return the state after `value` was found at `point`."""
        same = (value <= 0.0) == (self.fa <= 0.0)
        c, fc = np.where(same, self.a, self.b), np.where(same, self.fa, self.fb)
        b, fb = np.where(same, self.b, self.a), np.where(same, self.fb, self.fa)
        with np.errstate(all="ignore"):
            x_share = (point - b) / (c - b)
            f_share = (value - fb) / (fc - fb)
            # The parabola through the three points is monotone between them [1].
            safe = (f_share**2 < x_share) & ((1.0 - f_share) ** 2 < 1.0 - x_share)
        return _Search(a=point, b=b, c=c, fa=value, fb=fb, fc=fc, interpolate=safe)
