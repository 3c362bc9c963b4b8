"""How long a variant's replicas take to start, from what was asked for and what got ready. Pure.

The clock of a start runs from the moment that the scale target asks for more to the
moment that as many are ready: scheduling, image, weights and warm-up, and whatever else
the cluster does meanwhile. Several starts are remembered, and the slow ones count: a
forecast that looks too short ahead is no use.
"""

from dataclasses import dataclass

import numpy as np

from .domain import FloatArray, IntArray, rows_of

__all__ = ["ColdStartState", "cold_start_s", "observe_starts"]

# Starts that are remembered per variant.
STARTS = 8
# Share of them that took no longer than what is planned with.
QUANTILE = 0.9
# ... where that is declared, by starts that took longer: at least half of them, and no more
# than so many times as long, since one that found no node took what others didn't.
USUAL, LARGEST_RATIO = 0.5, 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColdStartState:
    """Starts of each variant, rows matched by name.

    Attributes
    ----------
    names : tuple of str, length V
    asked : ndarray of int, shape (V,)
        Replicas that the scale target last asked for; -1: not known.
    waited_for : ndarray of int, shape (V,)
        Ready replicas that end the start under way; 0: none is.
    since_s : ndarray, shape (V,)
        When it began. [s]
    took_s : ndarray, shape (V, 8)
        Starts that ended, newest last; NaN: none. [s]
    """

    names: tuple[str, ...]
    asked: IntArray
    waited_for: IntArray
    since_s: FloatArray
    took_s: FloatArray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> "ColdStartState":
        """Return the state of variants that nobody has seen start."""
        return cls(
            names=names,
            asked=np.full(len(names), -1, dtype=np.int64),
            waited_for=np.zeros(len(names), dtype=np.int64),
            since_s=np.full(len(names), np.nan),
            took_s=np.full((len(names), STARTS), np.nan),
        )

    def aligned(self, names: tuple[str, ...]) -> "ColdStartState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        fresh = self.empty(names)
        rows = rows_of(names, self.names)
        for name in self.__slots__[1:]:
            getattr(fresh, name)[rows >= 0] = getattr(self, name)[rows[rows >= 0]]
        return fresh


def observe_starts(
    state: ColdStartState,
    *,
    names: tuple[str, ...],
    current: IntArray,
    ready: IntArray,
    now_s: float,
) -> ColdStartState:
    """Return the state after one more look at what is asked for and what is ready.

    Parameters
    ----------
    state : ColdStartState
    names : tuple of str, length V
    current, ready : array of int, shape (V,)
        Replicas that are asked for, and that take requests.
    now_s : float
        [s]

    Notes
    -----
    One start is timed at a time: what is asked for on top meanwhile doesn't move its end,
    and a count that falls below it calls it off.
    """
    state = state.aligned(names)
    under_way = state.waited_for > 0
    ended = under_way & (ready >= state.waited_for)
    called_off = under_way & (current < state.waited_for) & ~ended
    took = np.where(ended, now_s - state.since_s, np.nan)
    shifted = np.concatenate([state.took_s[:, 1:], took[:, None]], axis=1)
    idle = ~under_way | ended | called_off
    begins = idle & (state.asked >= 0) & (current > state.asked) & (current > ready)
    waited_for = np.where(begins, current, np.where(idle, 0, state.waited_for))
    since_s = np.where(begins, now_s, np.where(idle, np.nan, state.since_s))
    return ColdStartState(
        names=names,
        asked=current.copy(),
        waited_for=waited_for,
        since_s=since_s,
        took_s=np.where(ended[:, None], shifted, state.took_s),
    )


def cold_start_s(
    state: ColdStartState, declared_s: FloatArray, *, default_s: float | FloatArray
) -> FloatArray:
    """Return the time to plan a start with. [s]

    What is declared, or what most starts took, if that is longer: who declares too little
    looks too short ahead, and gives back too soon what takes long to have again. Where nothing
    is declared, what all but the slowest took, else the default.
    """
    learned = _quantile_s(state.took_s, QUANTILE)
    usual = np.minimum(_quantile_s(state.took_s, USUAL), LARGEST_RATIO * declared_s)
    known = np.where(np.isfinite(declared_s), np.fmax(declared_s, usual), learned)
    return np.where(np.isfinite(known), known, default_s)


def _quantile_s(took_s: FloatArray, quantile: float) -> FloatArray:
    """Return a quantile of each row's starts; NaN where none ended."""
    ordered = np.sort(took_s, axis=1)  # NaN last
    number = np.isfinite(ordered).sum(axis=1)
    place = np.ceil(quantile * number).astype(np.int64) - 1
    return np.asarray(ordered[np.arange(len(ordered)), np.maximum(place, 0)])
