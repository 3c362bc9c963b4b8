"""From totals to increments: what each counter of one target has gained since it was last read.

Pure: pages and times in, increments out. The rules for what isn't a plain difference:

* The first reading of a target gives nothing: what its counters hold may be days old.
* A series that appears later starts from 0: its target was read before, without it.
* A process that began anew (its start time changed) counts from 0, all of it.
* A counter that falls was reset and counts from 0, as in Prometheus; unless the process is known
  to be the same, or the fall is a sliver of a large count: then it is noise (several processes
  summed while one of them answers late) and counts as no change.
* After a gap longer than the window, what happened in it belongs to no window: first reading.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .exposition import Exposition
from .grammar import Series
from .layout import Layout

__all__ = ["CounterMemory", "Increments"]

_RESET_RATIO = 0.9
_RESET_COUNT = 100.0
_MAX_PARKED = 10_000

FloatArray = NDArray[np.float64]


class Increments:
    """What a page adds to the last one of its target."""

    __slots__ = ("elapsed_s", "restarted", "values")

    def __init__(self, values: FloatArray, elapsed_s: float, *, restarted: bool) -> None:
        self.values = values  # per series of the page's layout
        self.elapsed_s = elapsed_s
        self.restarted = restarted


class CounterMemory:
    """The last value of every series of one target."""

    __slots__ = ("_last", "_layout", "_parked", "_process_start", "_read_s")

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._last: FloatArray = np.empty(0)
        self._parked: dict[Series, float] = {}
        self._process_start = math.nan
        self._read_s = math.nan

    @property
    def layout(self) -> Layout | None:
        """Return the layout of the last page."""
        return self._layout

    def advance(
        self,
        page: Exposition,
        counters: NDArray[np.intp],
        *,
        now_s: float,
        process_start: float,
        max_gap_s: float,
    ) -> Increments | None:
        """Remember the page; return its increments, or None where there is nothing to compare.

        `counters` are the places of the series that only ever grow; of others (gauges) a fall
        says nothing, and their increments mean nothing.
        """
        elapsed_s = now_s - self._read_s
        if elapsed_s <= 0:
            return None
        first = self._layout is None or not elapsed_s <= max_gap_s
        base = self._aligned(page.layout)
        values = page.values
        restarted = process_start != self._process_start and not (
            math.isnan(process_start) or math.isnan(self._process_start)
        )
        if restarted:
            base = np.zeros_like(base)
        gained = values - base
        fell = gained < 0
        reset = False
        if fell.any():
            is_reset = fell & ((values < _RESET_RATIO * base) | (base < _RESET_COUNT))
            is_reset &= math.isnan(process_start)
            gained = np.where(is_reset, values, np.where(fell, 0.0, gained))
            reset = bool(is_reset[counters].any())
        known = np.isfinite(gained)
        gained[~known] = 0.0
        self._last = np.where(np.isfinite(values), values, base)
        self._layout = page.layout
        self._process_start = process_start
        self._read_s = now_s
        if first:
            return None
        return Increments(gained, elapsed_s, restarted=restarted or reset)

    def _aligned(self, layout: Layout) -> FloatArray:
        """Return the last values in the order of `layout`; 0 for series that weren't there."""
        if layout is self._layout:
            return self._last
        old = self._layout
        known = self._parked
        if old is not None:
            known = {**known, **dict(zip(old.series, self._last.tolist(), strict=True))}
        aligned = np.array([known.pop(series, 0.0) for series in layout.series])
        # Some servers answer now from one process and now from another: nothing is born twice.
        self._parked = known if len(known) <= _MAX_PARKED else {}
        return aligned
