"""Answers of queries as a table of targets, in the form that scraped pages fill too. Pure.

Rates become flows over one window, so that everything behind (means, moments, percentiles, what
is missing and why) is the same code for both sources. A row is a replica.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..records import Reason
from .dialect_table import Dialect, Histogram, Term
from .fetch import Failure
from .gauges import BoundFact
from .grammar import Labels, Series
from .prometheus_api import Row, Rows
from .signals import (
    AREA_OF,
    BUCKETED,
    COUNTERS,
    ELAPSED,
    FLOWS,
    GAUGE_BOUNDS,
    GAUGES,
    HISTOGRAMS,
    INFLIGHT,
    INFLIGHT_CHANGE,
    OVER,
    RAW_SIGNALS,
    count_flow,
    flow,
    gauge,
    sum_flow,
)

__all__ = ["Answers", "FactAnswer", "QueriedBuckets", "QueriedTable"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

Answers = Mapping[str, Rows | Failure]


class FactAnswer(NamedTuple):
    """The series of a term whose value stands in labels; a row's value is how many say so."""

    signal: str
    dialect: str
    term: Term
    answer: Rows | Failure


class QueriedBuckets:
    """The buckets of the replicas that share a list of bounds."""

    def __init__(self, bounds: tuple[float, ...], rows: IntArray, counts: FloatArray) -> None:
        self.bounds: FloatArray = np.array(bounds)
        self._rows, self._counts = rows, counts

    def members(self) -> tuple[IntArray, IntArray]:
        """Return rows of the target table, and rows of `totals` that belong to them."""
        return self._rows, np.arange(len(self._rows))

    def totals(self) -> FloatArray:
        """Return cumulative counts over the window."""
        return self._counts


class QueriedTable:
    """What the answers say of `dialects[row]`'s replicas; `row_of` finds a row by its labels."""

    def __init__(
        self,
        answers: Answers,
        *,
        facts: Sequence[FactAnswer],
        dialects: Sequence[Dialect | None],
        row_of: Callable[[Mapping[str, str]], int | None],
        read_s: FloatArray,
        window_s: float,
        measured: Mapping[str, Mapping[int, float]] | None = None,
    ) -> None:
        size = len(dialects)
        self._answers, self._facts = answers, facts
        self._dialects, self._row_of = dialects, row_of
        self._window_s = window_s
        self._measured = measured or {}  # gauges that others than engines export, by row
        self._flows: FloatArray = np.zeros((size, len(FLOWS)))
        self._buckets: dict[str, list[QueriedBuckets]] = {}
        self.read_s = read_s
        self.gauges: FloatArray = np.full((size, len(GAUGES)), np.nan)
        self.gauge_reasons = np.full((size, len(GAUGES)), Reason.NOT_EXPORTED, dtype=np.uint8)
        self.lacking = np.full((size, len(RAW_SIGNALS)), Reason.NOT_EXPORTED, dtype=np.uint8)
        self._fill()

    def flows(self) -> FloatArray:
        """Return the flows over the window."""
        return self._flows

    def bucket_tables(self, histogram: str) -> list[QueriedBuckets]:
        """Return the tables of a histogram, one for each list of bounds."""
        return self._buckets.get(histogram, [])

    def _fill(self) -> None:
        for name in GAUGES:
            self._fill_gauge(name)
        self._flows[:, flow(ELAPSED)] = self._window_s
        for name in COUNTERS:
            self._fill_flow(name, f"rate:{name}", flow(name), self._terms(name))
        for name in HISTOGRAMS:
            ways = [d.histograms.get(name, ()) if d is not None else () for d in self._dialects]
            self._fill_flow(name, f"sum:{name}", sum_flow(name), ways)
            self._fill_flow(name, f"count:{name}", count_flow(name), ways)
        for name in AREA_OF:
            values, _ = self._column(f"mean:{name}", OVER[name])
            self._flows[:, flow(f"{name}.area")] = values * self._window_s
        grown = [self._column(f"delta:{n}", "sum")[0] for n in INFLIGHT]
        self._flows[:, flow(INFLIGHT_CHANGE)] = np.sum(grown, axis=0)
        for name in BUCKETED:
            self._buckets[name] = self._read_buckets(name)

    def _fill_gauge(self, name: str) -> None:
        column = gauge(name)
        values, reasons = self._column(f"gauge:{name}", OVER[name])
        reasons[reasons == Reason.ONE_SCRAPE] = Reason.NOT_EXPORTED  # a gauge needs but one
        found = {**self._facts_of(name), **self._measured.get(name, {})}
        for row, value in found.items():
            values[row], reasons[row] = value, Reason.PRESENT
        low, high = GAUGE_BOUNDS[column]
        with np.errstate(invalid="ignore"):
            unsound = (reasons == Reason.PRESENT) & ~((values >= low) & (values <= high))
        reasons[unsound] = Reason.NOT_FINITE
        self.gauges[:, column] = np.where(reasons == Reason.PRESENT, values, np.nan)
        self.gauge_reasons[:, column] = reasons

    def _fill_flow(
        self, signal: str, query: str, column: int, ways: Sequence[Sequence[Term | Histogram]]
    ) -> None:
        """Fill a rate; what an engine exports from the first event on is nothing before it."""
        values, reasons = self._column(query, "sum")
        known = np.array([bool(one) for one in ways], dtype=np.bool_)
        later = np.array([any(w.from_first_event for w in one) for one in ways], dtype=np.bool_)
        absent = np.isin(reasons, (Reason.NOT_EXPORTED, Reason.ONE_SCRAPE))
        reasons = np.where(absent & ~known, Reason.NOT_EXPORTED, reasons)
        reasons = np.where(absent & later, Reason.PRESENT, reasons)
        self._flows[:, column] = np.nan_to_num(values, posinf=0.0, neginf=0.0) * self._window_s
        at = RAW_SIGNALS.index(signal)
        second = query.startswith("count:")  # its sum has left a reason here already
        self.lacking[:, at] = np.maximum(reasons, self.lacking[:, at]) if second else reasons

    def _terms(self, name: str) -> list[Sequence[Term]]:
        return [d.terms.get(name, ()) if d is not None else () for d in self._dialects]

    def _column(self, query: str, over: str) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Return one answer by row: values, and why there is none."""
        size = len(self._dialects)
        answer = self._answers.get(query)
        if answer is None:
            return np.full(size, np.nan), np.full(size, Reason.NOT_EXPORTED, dtype=np.uint8)
        if isinstance(answer, Failure):
            return np.full(size, np.nan), np.full(size, answer.reason, dtype=np.uint8)
        rows, numbers = self._placed(answer.rows)
        values = _combined(over, rows, numbers, size)
        heard = np.bincount(rows, minlength=size) > 0
        # A rate of a series that has just been born has no answer; of one that isn't, neither.
        silent = Reason.ONE_SCRAPE if len(rows) else Reason.NOT_EXPORTED
        finite = np.where(np.isfinite(values), Reason.PRESENT, Reason.NOT_FINITE)
        return values, np.where(heard, finite, silent).astype(np.uint8)

    def _placed(self, rows: Sequence[Row]) -> tuple[IntArray, FloatArray]:
        found = [(at, row.value) for row in rows if (at := self._row_of(row.labels)) is not None]
        places = np.array([at for at, _ in found], dtype=np.intp)
        return places, np.array([value for _, value in found], dtype=np.float64)

    def _facts_of(self, name: str) -> dict[int, float]:
        """Return the values that stand in labels, by row; the first way that has one counts."""
        values: dict[int, float] = {}
        for fact in self._facts:
            if fact.signal != name or isinstance(fact.answer, Failure):
                continue
            series: dict[int, list[Series]] = {}
            for row in fact.answer.rows:
                at = self._row_of(row.labels)
                dialect = self._dialects[at] if at is not None else None
                if at is not None and dialect is not None and dialect.name == fact.dialect:
                    same = Series(fact.term.series.name, Labels.of(row.labels))
                    series.setdefault(at, []).extend([same] * max(1, round(row.value)))
            for at, found in series.items():
                value = BoundFact(fact.term).value(np.empty(0), found)
                if value is not None:
                    values.setdefault(at, value)
        return values

    def _read_buckets(self, name: str) -> list[QueriedBuckets]:
        answer = self._answers.get(f"bucket:{name}")
        if answer is None or isinstance(answer, Failure):
            return []
        counts: dict[int, dict[float, float]] = {}
        for row in answer.rows:
            at = self._row_of(row.labels)
            bound = _bound(row.labels.get("le", ""))
            if at is not None and not math.isnan(bound) and math.isfinite(row.value):
                own = counts.setdefault(at, {})
                own[bound] = own.get(bound, 0.0) + row.value
        by_bounds: dict[tuple[float, ...], list[int]] = {}
        for at, own in counts.items():
            bounds = tuple(sorted(own))
            if math.isinf(bounds[-1]):
                by_bounds.setdefault(bounds, []).append(at)
        return [
            QueriedBuckets(
                bounds,
                np.array(rows, dtype=np.intp),
                np.array([[counts[at][bound] for bound in bounds] for at in rows]),
            )
            for bounds, rows in by_bounds.items()
        ]


def _combined(over: str, rows: IntArray, numbers: FloatArray, size: int) -> FloatArray:
    """Combine the numbers of each row; NaN where there are none."""
    if over in {"max", "min"}:
        values = np.full(size, np.nan)
        with np.errstate(invalid="ignore"):
            (np.fmax if over == "max" else np.fmin).at(values, rows, numbers)
        return values
    count = np.bincount(rows, minlength=size)
    total = np.bincount(rows, weights=numbers, minlength=size)
    divisor = np.maximum(count, 1) if over == "mean" else 1
    return np.where(count > 0, total / divisor, np.nan)


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
