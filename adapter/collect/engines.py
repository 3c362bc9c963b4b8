"""What all targets say now and said over the window, in columns: one row per target.

No rule about engines is here (`binding`), none about what readings mean (`readings`). Nothing is
read from anywhere: pages come in, columns stand ready.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..records import Reason
from .binding import Binding, BucketBinding
from .exposition import Exposition
from .increments import CounterMemory
from .signals import (
    AREA_OF,
    ELAPSED,
    FLOWS,
    GAUGE_BOUNDS,
    GAUGES,
    INFLIGHT,
    INFLIGHT_CHANGE,
    RAW_SIGNALS,
    flow,
    gauge,
)
from .window import SlotClock, WindowTable

__all__ = ["BucketTable", "EngineTable"]

FloatArray = NDArray[np.float64]

# A histogram, the window that its buckets go into, and the row there.
_BoundBuckets = tuple[tuple[BucketBinding, WindowTable, int], ...]

_AREA_GAUGES = np.array([gauge(name) for name in AREA_OF])
_AREA_FLOWS = np.array([flow(f"{name}.area") for name in AREA_OF])
_INFLIGHT_GAUGES = np.array([gauge(name) for name in INFLIGHT])
_INFLIGHT_FLOW, _ELAPSED_FLOW = flow(INFLIGHT_CHANGE), flow(ELAPSED)


class BucketTable:
    """The buckets of all targets that have a histogram with the same bounds."""

    def __init__(self, bounds: tuple[float, ...], clock: SlotClock) -> None:
        self.bounds = np.array(bounds)
        self.window = WindowTable(len(bounds), clock)
        self._row_of: dict[int, int] = {}

    def row(self, target: int) -> int:
        """Return the row of a target, a new one if it has none yet."""
        if target not in self._row_of:
            self._row_of[target] = self.window.take_row()
        return self._row_of[target]

    def drop(self, target: int) -> None:
        """Forget a target."""
        row = self._row_of.pop(target, None)
        if row is not None:
            self.window.free_row(row)

    def totals(self) -> FloatArray:
        """Return cumulative counts over the window, by row."""
        return self.window.totals()

    def members(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the targets in the table and their rows."""
        targets = np.fromiter(self._row_of.keys(), dtype=np.intp, count=len(self._row_of))
        rows = np.fromiter(self._row_of.values(), dtype=np.intp, count=len(self._row_of))
        return targets, rows


class EngineTable:
    """Columns for all targets: gauges, flows over the window, buckets, ages.

    Arrays are indexed by row; a row belongs to one target from `add` to `remove`.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._clock = SlotClock(window_s)
        self._flows = WindowTable(len(FLOWS), self._clock)
        self._buckets: dict[tuple[str, tuple[float, ...]], BucketTable] = {}
        # Per row its binding and where that one's buckets go, so that a tick needn't look for it.
        self._bound: dict[int, tuple[Binding, _BoundBuckets]] = {}
        self.gauges: FloatArray = np.empty((0, len(GAUGES)))
        self.gauge_reasons: NDArray[np.uint8] = np.empty((0, len(GAUGES)), dtype=np.uint8)
        self.lacking: NDArray[np.uint8] = np.empty((0, len(RAW_SIGNALS)), dtype=np.uint8)
        self.read_s: FloatArray = np.empty(0)
        self.fault: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)  # of the last attempt

    def turn(self, now_s: float) -> None:
        """Begin a tick: let go of what has left the window."""
        expired = self._clock.turn(now_s)
        for window in self._windows():
            window.empty(expired)

    def add(self) -> int:
        """Return the row of a new target."""
        row = self._flows.take_row()
        more = row + 1 - len(self.read_s)
        if more > 0:
            self._grow(max(more, len(self.read_s) // 8))
        self._blank(row)
        return row

    def remove(self, row: int) -> None:
        """Take back the row of a target that is gone."""
        self._drop_buckets(row, keep=())
        self._flows.free_row(row)
        self._blank(row)

    def forget(self, row: int) -> None:
        """Forget what a target said: somebody else answers in its place."""
        self._drop_buckets(row, keep=())
        self._flows.clear(row)
        self._blank(row)

    def observe(
        self, row: int, memory: CounterMemory, binding: Binding, page: Exposition, *, now_s: float
    ) -> None:
        """Take in what a target says at `now_s`."""
        start = page.values[binding.process_start]
        before = self.gauges[row].copy()
        self._observe_gauges(row, binding, page)
        gained = memory.advance(
            page,
            binding.flow_series,
            now_s=now_s,
            process_start=float(start[0]) if start.size else math.nan,
            max_gap_s=self._window_s,
        )
        buckets = self._bound_buckets(row, binding)
        self.lacking[row] = binding.lacking
        self._note_broken_counters(row, binding, page)
        self.read_s[row] = now_s
        self.fault[row] = Reason.PRESENT
        if gained is None:
            return
        flows = binding.flows(gained.values)
        flows[_ELAPSED_FLOW] = gained.elapsed_s
        now = self.gauges[row]
        middle = (now + np.where(np.isnan(before), now, before))[_AREA_GAUGES] / 2.0
        flows[_AREA_FLOWS] = np.where(np.isnan(middle), 0.0, middle * gained.elapsed_s)
        inflight = now[_INFLIGHT_GAUGES].sum()
        # What was in flight in a process that is gone is lost: it comes to nothing.
        change = inflight - (0.0 if gained.restarted else before[_INFLIGHT_GAUGES].sum())
        flows[_INFLIGHT_FLOW] = 0.0 if math.isnan(change) else change
        self._flows.add(row, flows)
        for histogram, window, at in buckets:
            window.add(at, histogram.counts(gained.values))

    def flows(self) -> FloatArray:
        """Return the sums over the window, shape (rows, flows)."""
        return self._flows.totals()

    def bucket_tables(self, histogram: str) -> list[BucketTable]:
        """Return the tables of a histogram, one for each list of bounds."""
        return [table for (name, _), table in self._buckets.items() if name == histogram]

    def _observe_gauges(self, row: int, binding: Binding, page: Exposition) -> None:
        values = np.full(len(GAUGES), np.nan)
        reasons = np.full(len(GAUGES), Reason.NOT_EXPORTED, dtype=np.uint8)
        for one in binding.gauges:
            value = one.value(page.values, page.facts)
            if value is not None:
                low, high = GAUGE_BOUNDS[one.column]
                sound = low <= value <= high
                values[one.column] = value if sound else np.nan
                reasons[one.column] = Reason.PRESENT if sound else Reason.NOT_FINITE
        self.gauges[row] = values
        self.gauge_reasons[row] = reasons

    def _note_broken_counters(self, row: int, binding: Binding, page: Exposition) -> None:
        """Say which counters and histograms hold no number: nothing is gained in them."""
        broken = ~np.isfinite(page.values[binding.flow_series])
        if not broken.any():
            return
        for column in np.unique(binding.flow_column[broken]).tolist():
            signal = FLOWS[column].partition(".")[0]
            self.lacking[row, RAW_SIGNALS.index(signal)] = Reason.NOT_FINITE

    def _bound_buckets(self, row: int, binding: Binding) -> _BoundBuckets:
        """Return where the buckets of a binding go; found anew where the row has another one."""
        bound_to, places = self._bound.get(row, (None, ()))
        if bound_to is binding:
            return places
        self._drop_buckets(row, keep=binding.buckets)
        tables = [(one, self._bucket_table(one)) for one in binding.buckets]
        places = tuple((one, table.window, table.row(row)) for one, table in tables)
        self._bound[row] = (binding, places)
        return places

    def _bucket_table(self, buckets: BucketBinding) -> BucketTable:
        key = (buckets.histogram, buckets.bounds)
        if key not in self._buckets:
            self._buckets[key] = BucketTable(buckets.bounds, self._clock)
        return self._buckets[key]

    def _drop_buckets(self, row: int, *, keep: tuple[BucketBinding, ...]) -> None:
        self._bound.pop(row, None)
        kept = {(one.histogram, one.bounds) for one in keep}
        for key, table in self._buckets.items():
            if key not in kept:
                table.drop(row)

    def _windows(self) -> Iterator[WindowTable]:
        yield self._flows
        yield from (table.window for table in self._buckets.values())

    def _grow(self, more: int) -> None:
        def grown(array: NDArray) -> NDArray:  # type: ignore[type-arg]
            return np.concatenate([array, np.zeros((more, *array.shape[1:]), dtype=array.dtype)])

        self.gauges, self.gauge_reasons = grown(self.gauges), grown(self.gauge_reasons)
        self.lacking, self.read_s = grown(self.lacking), grown(self.read_s)
        self.fault = grown(self.fault)

    def _blank(self, row: int) -> None:
        self.gauges[row] = np.nan
        self.gauge_reasons[row] = Reason.NOT_READ_YET
        self.lacking[row] = Reason.NOT_EXPORTED
        self.read_s[row] = np.nan
        self.fault[row] = Reason.NOT_READ_YET
