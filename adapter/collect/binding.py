"""Which series of a page are which signals: a dialect applied to a layout, once. Pure.

A binding is a handful of index arrays, so that reading a page is a few array operations whatever
its engine. It is kept with the layout, which all pods of a variant share.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..records import Reason
from .dialect_table import Dialect, Histogram
from .exposition import Exposition
from .gauges import BoundFact, BoundGauge, BoundSeries, BoundTerm
from .grammar import Series
from .selectors import Selector, canonical
from .signals import (
    BUCKETED,
    COUNTERS,
    FLOWS,
    GAUGES,
    HISTOGRAMS,
    RAW_SIGNALS,
    count_flow,
    flow,
    sum_flow,
)

__all__ = ["Binding", "BucketBinding", "Misfit", "SeriesIndex", "bind"]

IntArray = NDArray[np.intp]
_REQUESTS = (flow("arrivals"), flow("completions"))
_UNKNOWN_MODEL = frozenset({"", "undefined"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why no dialect can read a page as this model's."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class BucketBinding:
    """The buckets of one histogram: series `series` add to bucket `bucket`."""

    histogram: str
    bounds: tuple[float, ...]
    series: IntArray
    bucket: IntArray
    one_each: bool  # every bucket has one series, in order

    def counts(self, increments: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what increments of series add to each bucket."""
        gained = increments.take(self.series)
        if self.one_each:
            return gained
        counts: NDArray[np.float64] = np.zeros(len(self.bounds))
        np.add.at(counts, self.bucket, gained)
        return counts


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """Where a layout's series go."""

    dialect: str
    gauges: tuple[BoundGauge, ...]
    process_start: IntArray
    flow_series: IntArray
    flow_column: IntArray
    flow_scale: NDArray[np.float64]
    requests: IntArray  # the series among them that count requests: without them no page is read
    buckets: tuple[BucketBinding, ...]
    lacking: NDArray[np.uint8]  # per raw signal: PRESENT, or NOT_EXPORTED

    def flows(self, increments: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what increments of series add to each flow."""
        gained = increments[self.flow_series] * self.flow_scale
        flows: NDArray[np.float64] = np.zeros(len(FLOWS))
        np.add.at(flows, self.flow_column, gained)
        return flows


class SeriesIndex:
    """The series of a page by name, restricted to one model's."""

    def __init__(self, series: Sequence[Series], *, only: Sequence[bool] | None = None) -> None:
        self.series = series
        self._by_name: dict[str, list[int]] = {}
        for i, one in enumerate(series):
            if only is None or only[i]:
                self._by_name.setdefault(canonical(one.name), []).append(i)

    def select(self, selector: Selector, one_per: tuple[str, ...] | None = None) -> list[int]:
        """Return the places of the selected series, each series once."""
        candidates = self._by_name.get(canonical(selector.name), ())
        found = {self.series[i]: i for i in candidates if selector.matches(self.series[i])}
        if one_per is None:
            return list(found.values())
        groups: dict[tuple[str, ...], int] = {}
        for series in sorted(found, key=lambda one: one.labels.values):
            groups.setdefault(tuple(series.label(name) for name in one_per), found[series])
        return list(groups.values())


def bind(page: Exposition, dialects: Iterable[Dialect], names: frozenset[str]) -> Binding | Misfit:
    """Return where the page's series go, if they are of the model that `names` (lower case) call.

    The first dialect of which the page has a telling series is the page's. A layout decides all
    of it: the names of facts are part of it too.
    """
    bindings = page.layout.bindings
    if names not in bindings:
        bindings[names] = _bind(page, dialects, names)
    found: Binding | Misfit = bindings[names]
    return found


def _bind(page: Exposition, dialects: Iterable[Dialect], names: frozenset[str]) -> Binding | Misfit:
    index, facts = SeriesIndex(page.series), SeriesIndex(page.facts)
    dialect = next((d for d in dialects if _detected(d, index, facts)), None)
    if dialect is None:
        if page.bad_lines and not page.series:
            return Misfit(Reason.MALFORMED, "the body is no exposition of metrics")
        return Misfit(Reason.UNKNOWN, "no dialect knows these metrics; see docs/dialects.md")
    served = [_model_of(series, dialect.model_label) for series in page.series]
    ours = [model in _UNKNOWN_MODEL or model.lower() in names for model in served]
    others = sorted({m for own, m in zip(ours, served, strict=True) if not own})
    named = any(own and m not in _UNKNOWN_MODEL for own, m in zip(ours, served, strict=True))
    if others and not named:
        return Misfit(
            Reason.WRONG_MODEL,
            f"it serves {', '.join(others[:3])!r}, not {min(names)!r}; "
            "if that is the same model, add the name to its served_names",
        )
    return _Binder(SeriesIndex(page.series, only=ours), dialect, alone=not others).binding()


def _detected(dialect: Dialect, index: SeriesIndex, facts: SeriesIndex) -> bool:
    return any(index.select(selector) or facts.select(selector) for selector in dialect.detect)


def _model_of(series: Series, label: str) -> str:
    return series.label(label) if label else ""


class _Binder:
    """Collects the index arrays of one binding."""

    def __init__(self, index: SeriesIndex, dialect: Dialect, *, alone: bool) -> None:
        self._index = index
        self._alone = alone  # no other model is behind this server
        self._dialect = dialect
        self._flows: list[tuple[int, int, float]] = []
        self._lacking = np.full(len(RAW_SIGNALS), Reason.NOT_EXPORTED, dtype=np.uint8)

    def binding(self) -> Binding:
        gauges = tuple(
            BoundGauge(column, tuple(self._gauge_ways(name))) for column, name in enumerate(GAUGES)
        )
        for name in COUNTERS:
            # A server's own count is of all its models: it says nothing of one among several.
            if name != "answered" or self._alone:
                self._counter(name)
        used = {name: self._histogram(name) for name in HISTOGRAMS}
        start = [i for s in self._dialect.process_start for i in self._index.select(s)][:1]
        series, columns, scales = zip(*self._flows, strict=True) if self._flows else ((), (), ())
        return Binding(
            dialect=self._dialect.name,
            gauges=tuple(one for one in gauges if one.ways),
            process_start=_ints(start),
            flow_series=_ints(series),
            flow_column=_ints(columns),
            requests=_ints([i for i, column, _ in self._flows if column in _REQUESTS]),
            flow_scale=np.array(scales, dtype=np.float64),
            buckets=tuple(self._buckets(used)),
            lacking=self._lacking,
        )

    def _gauge_ways(self, name: str) -> Iterator[BoundSeries | BoundTerm | BoundFact]:
        select = self._index.select
        for term in self._dialect.terms.get(name, ()):
            if term.label_values:
                yield BoundFact(term)
                continue
            main = select(term.series, term.one_per)
            parts = [select(other) for other in (term.times, term.divide_by) if other is not None]
            minus = [select(other) for other in term.minus]
            plus = [i for other in term.plus for i in select(other, term.one_per)]
            if len(main) == 1 and not (parts or minus or plus):
                yield BoundSeries(main[0], term.scale)
            elif main and all(parts) and all(minus):
                yield BoundTerm(
                    term=term,
                    main=_ints(main),
                    plus=_ints(plus),
                    minus=_ints([i for places in minus for i in places]),
                    times=_ints(select(term.times) if term.times is not None else ()),
                    divide_by=_ints(select(term.divide_by) if term.divide_by is not None else ()),
                )

    def _counter(self, name: str) -> None:
        ways = self._dialect.terms.get(name, ())
        column = flow(name)
        for term in ways:
            selectors = (term.series, *term.plus)
            places = [i for s in selectors for i in self._index.select(s, term.one_per)]
            if places:
                self._flows += [(i, column, term.scale) for i in places]
                self._exports(name)
                return
        if any(term.from_first_event for term in ways):
            self._exports(name)

    def _histogram(self, name: str) -> Histogram | None:
        """Bind sum and count; return the alternative that the page holds."""
        ways = self._dialect.histograms.get(name, ())
        for way in ways:
            counts = self._index.select(way.count, way.one_per)
            sums = self._index.select(way.sum, way.one_per)
            if counts and sums:
                self._flows += [(i, count_flow(name), 1.0) for i in counts]
                self._flows += [(i, sum_flow(name), way.scale) for i in sums]
                self._exports(name)
                return way
        if any(way.from_first_event for way in ways):
            self._exports(name)
        return None

    def _buckets(self, used: Mapping[str, Histogram | None]) -> Iterator[BucketBinding]:
        for name in BUCKETED:
            way = used[name]
            # The gaps between tokens stand in only where requests' own averages aren't exported.
            if way is None or way.buckets is None or (name == "itl_s" and used["tpot_s"]):
                continue
            one_per = None if way.one_per is None else (*way.one_per, "le")
            bound_of = {
                i: bound
                for i in self._index.select(way.buckets, one_per)
                for bound in [_bound(self._index.series[i])]
                if not math.isnan(bound)
            }
            bounds = sorted(set(bound_of.values()))
            if bounds and math.isinf(bounds[-1]):
                place = {bound: at for at, bound in enumerate(bounds)}
                yield BucketBinding(
                    histogram=name,
                    bounds=tuple(bound * way.scale for bound in bounds),
                    series=_ints(list(bound_of)),
                    bucket=_ints([place[bound] for bound in bound_of.values()]),
                    one_each=list(bound_of.values()) == bounds,
                )

    def _exports(self, name: str) -> None:
        self._lacking[RAW_SIGNALS.index(name)] = Reason.PRESENT


def _bound(series: Series) -> float:
    try:
        return float(series.label("le"))
    except ValueError:
        return math.nan


def _ints(places: Iterable[int]) -> IntArray:
    return np.array(list(places), dtype=np.intp)
