"""Sums over a sliding window, for all targets at once: rows are targets, columns are flows.

Increments fall into slots of a fifteenth of the window or more; a slot leaves as a whole when it is
older than the window. Sums of increments never need the totals again, so single precision holds
them; resets, restarts and missed scrapes are settled before (`increments`).
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["SlotClock", "WindowTable"]

FloatArray = NDArray[np.float64]

_SLOTS = 15
_MIN_ROWS = 8


class SlotClock:
    """Says which slot is now, and which ones have left the window.

    A slot takes increments that were read from its start until the next one starts. With ticks
    further apart than a slot is long, each has a slot of its own.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._starts_s = np.full(_SLOTS + 1, -math.inf)
        self.current = 0

    @property
    def slots(self) -> int:
        """Return how many slots there are."""
        return len(self._starts_s)

    def turn(self, now_s: float) -> NDArray[np.intp]:
        """Move on to `now_s`; return the slots that have to be emptied for it."""
        # An increment read at the very start of the window happened before it.
        left = self._starts_s <= now_s - self._window_s + 1e-6
        left &= np.isfinite(self._starts_s)
        self._starts_s[left] = -math.inf
        expired = np.flatnonzero(left)
        if now_s - self._starts_s[self.current] >= self._window_s / _SLOTS - 1e-6:
            self.current = int(np.argmin(self._starts_s))
            self._starts_s[self.current] = now_s
            expired = np.union1d(expired, [self.current])
        return expired


class WindowTable:
    """Increments per slot, row and column; rows are handed out and taken back."""

    def __init__(self, columns: int, clock: SlotClock) -> None:
        self._clock = clock
        self._cells = np.zeros((clock.slots, _MIN_ROWS, columns), dtype=np.float32)
        self._free = list(range(_MIN_ROWS - 1, -1, -1))
        self._totals: FloatArray | None = None

    def take_row(self) -> int:
        """Return a row for a new target; it is empty."""
        if not self._free:
            slots, rows, columns = self._cells.shape
            grown = np.zeros((slots, rows + rows // 8 + _MIN_ROWS, columns), dtype=np.float32)
            # Slots that were never used are left untouched: they cost no memory until they are.
            used = self._cells.any(axis=(1, 2))
            grown[used, :rows] = self._cells[used]
            self._cells = grown
            self._free = list(range(len(grown[0]) - 1, rows - 1, -1))
        self._totals = None
        return self._free.pop()

    def free_row(self, row: int) -> None:
        """Take a row back."""
        self.clear(row)
        self._free.append(row)

    def clear(self, row: int) -> None:
        """Forget what a row has gained."""
        self._cells[:, row] = 0.0
        self._totals = None

    def add(self, row: int, increments: FloatArray) -> None:
        """Add to the current slot of a row."""
        self._cells[self._clock.current, row] += increments
        self._totals = None

    def empty(self, slots: NDArray[np.intp]) -> None:
        """Empty slots that have left the window."""
        if slots.size:
            self._cells[slots] = 0.0
            self._totals = None

    def totals(self) -> FloatArray:
        """Return the sums over the window, shape (rows, columns)."""
        if self._totals is None:
            self._totals = self._cells.sum(axis=0, dtype=np.float64)
        return self._totals
