"""Requests of the window that no replica's own window holds. Pure.

Each replica tells what it was offered while it was watched. Two kinds of requests are missing
then, and a model's rate would dip whenever its replicas change:

* Those of a replica that has gone: they came, and were counted, within the window. They leave
  it as time passes, evenly.
* Those that a new replica took before it was first read: what is in flight then. Its counters
  may be days old, where nobody watched its start; what is in flight isn't.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optimizer import BoolArray, FloatArray, IntArray, rows_of

__all__ = ["Moved", "moved_rps", "with_departed", "with_newcomers"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """Requests that are counted apart, one entry each.

    `model` are names, `since_s` is when the replica was gone or first read; what came evenly
    before that `fades`, the rest leaves the window at once.
    """

    model: tuple[str, ...]
    rate_rps: FloatArray
    since_s: FloatArray
    fades: BoolArray

    @classmethod
    def nothing(cls) -> "Moved":
        """Return no requests."""
        return cls(
            model=(), rate_rps=np.empty(0), since_s=np.empty(0), fades=np.empty(0, dtype=np.bool_)
        )

    def within(self, now_s: float, window_s: float) -> "Moved":
        """Return those that haven't left the window."""
        keep = now_s - self.since_s < window_s
        if keep.all():
            return self
        return Moved(
            model=tuple(np.array(self.model, dtype=object)[keep]),
            rate_rps=self.rate_rps[keep],
            since_s=self.since_s[keep],
            fades=self.fades[keep],
        )

    def joined(self, model: tuple[str, ...], rate_rps: FloatArray, *, now_s: float) -> "Moved":
        """Return these and requests that came within the last moments."""
        return self._and(model, rate_rps, now_s, fades=False)

    def left(self, model: tuple[str, ...], rate_rps: FloatArray, *, now_s: float) -> "Moved":
        """Return these and requests that came evenly over the window."""
        return self._and(model, rate_rps, now_s, fades=True)

    def _and(
        self, model: tuple[str, ...], rate_rps: FloatArray, now_s: float, *, fades: bool
    ) -> "Moved":
        count = len(model)
        if count == 0:
            return self
        return Moved(
            model=(*self.model, *model),
            rate_rps=np.append(self.rate_rps, rate_rps),
            since_s=np.append(self.since_s, np.full(count, now_s)),
            fades=np.append(self.fades, np.full(count, fades)),
        )


def with_departed(
    moved: Moved,
    last_rps: Mapping[str, float],
    last_model: Mapping[str, str],
    there: tuple[str, ...],
    *,
    now_s: float,
) -> Moved:
    """Return the requests with those of replicas that were there at the last look."""
    gone = [name for name in last_rps.keys() - set(there) if name in last_model]
    gone.sort()
    rates = np.array([last_rps[name] for name in gone])
    return moved.left(tuple(last_model[name] for name in gone), rates, now_s=now_s)


def with_newcomers(
    moved: Moved,
    model: IntArray,
    inflight: FloatArray,
    new: BoolArray,
    model_names: tuple[str, ...],
    *,
    now_s: float,
    window_s: float,
) -> Moved:
    """Return the requests with what replicas that are `new` had taken when they were first read.

    Parameters
    ----------
    moved : Moved
    model : array of int, shape (R,)
        Of each replica.
    inflight : array, shape (R,)
        Running and waiting requests; NaN: not known.
    new : array of bool, shape (R,)
    model_names : tuple of str
    now_s, window_s : float
        [s]
    """
    rows = np.flatnonzero(new & (inflight > 0.0))
    names = tuple(model_names[i] for i in model[rows])
    return moved.joined(names, inflight[rows] / window_s, now_s=now_s)


def moved_rps(
    moved: Moved, model_names: tuple[str, ...], *, now_s: float, window_s: float
) -> FloatArray:
    """Return what they add to each model's mean over the window. [requests/s]"""
    left = np.clip(1.0 - (now_s - moved.since_s) / window_s, 0.0, 1.0)
    share = np.where(moved.fades, left, left > 0.0)
    row = rows_of(moved.model, model_names)
    known = row >= 0
    return np.bincount(
        row[known], weights=(share * moved.rate_rps)[known], minlength=len(model_names)
    ).astype(np.float64)
