"""A dialect as a table: the records it is read into, and the reading of it. Pure.

Tables are checked whole when they are loaded, so that a misspelt signal is an error with its
place and not a reading that never comes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from .selectors import Selector, parse_selector
from .signals import COUNTERS, GAUGES, HISTOGRAMS, OVER

__all__ = [
    "HISTOGRAM_KEYS",
    "TABLE_KEYS",
    "TERM_KEYS",
    "Dialect",
    "DialectTable",
    "Histogram",
    "Term",
]

_OVER = frozenset({"sum", "max", "min", "mean"})
_DEFAULT_PATHS = ("/metrics",)
TABLE_KEYS = "detect extends from_first_event model_label paths process_start signals"
TERM_KEYS = "divide_by from_first_event label_values minus one_per over plus scale series times"
HISTOGRAM_KEYS = "buckets count from_first_event histogram one_per scale sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One way to get a gauge or a counter: (series + plus - minus) x times / divide_by x scale.

    `one_per` keeps one series for each value of these labels before they are combined by `over`;
    `label_values` takes the product of these labels for the value.
    """

    series: Selector
    over: str = "sum"
    one_per: tuple[str, ...] | None = None
    scale: float = 1.0
    label_values: tuple[str, ...] = ()
    plus: tuple[Selector, ...] = ()
    minus: tuple[Selector, ...] = ()
    times: Selector | None = None
    divide_by: Selector | None = None
    from_first_event: bool = False

    def selectors(self) -> Iterator[Selector]:
        """Yield every selector of the term."""
        yield self.series
        yield from self.plus
        yield from self.minus
        yield from (other for other in (self.times, self.divide_by) if other is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """One way to get a distribution: its sum and count, and its buckets where there are any."""

    sum: Selector
    count: Selector
    buckets: Selector | None = None
    scale: float = 1.0
    one_per: tuple[str, ...] | None = None
    from_first_event: bool = False

    def selectors(self) -> Iterator[Selector]:
        """Yield every selector of the histogram."""
        yield self.sum
        yield self.count
        if self.buckets is not None:
            yield self.buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine's way to say things; alternatives stand in order of preference."""

    name: str
    detect: tuple[Selector, ...]
    model_label: str = ""
    paths: tuple[str, ...] = _DEFAULT_PATHS
    process_start: tuple[Selector, ...] = ()
    terms: Mapping[str, tuple[Term, ...]]
    histograms: Mapping[str, tuple[Histogram, ...]]

    def selectors(self) -> Iterator[Selector]:
        """Yield every selector of the dialect, facts' apart."""
        yield from self.process_start
        yield from (s for s in self.detect if s.name not in self.fact_labels())
        for term in (term for terms in self.terms.values() for term in terms):
            if not term.label_values:
                yield from term.selectors()
        for histogram in (h for ways in self.histograms.values() for h in ways):
            yield from histogram.selectors()

    def fact_labels(self) -> dict[str, set[str]]:
        """Return the labels to keep of each series whose labels hold values."""
        labels: dict[str, set[str]] = {}
        for term in (term for terms in self.terms.values() for term in terms):
            if term.label_values:
                conditions = {matcher.label for matcher in term.series.matchers}
                keep = labels.setdefault(term.series.name, set())
                keep.update(term.label_values, conditions, term.one_per or ())
                keep.update({self.model_label} - {""})
        return labels


class DialectTable:
    """Reads one table, naming the place of whatever is wrong in it."""

    def __init__(self, name: str, *, first_event: bool) -> None:
        self._place = f"dialects.{name}"
        self._name = name
        self.first_event = first_event

    def read(self, table: Mapping[str, Any]) -> Dialect:
        self._known(table, TABLE_KEYS, self._place)
        terms: dict[str, tuple[Term, ...]] = {}
        histograms: dict[str, tuple[Histogram, ...]] = {}
        for signal, ways in table.get("signals", {}).items():
            place = f"{self._place}.signals.{signal}"
            alternatives = (
                ways if isinstance(ways, Sequence) and not isinstance(ways, str) else [ways]
            )
            if signal in HISTOGRAMS:
                histograms[signal] = tuple(self._histogram(way, place) for way in alternatives)
            elif signal in GAUGES or signal in COUNTERS:
                terms[signal] = tuple(self._term(way, signal, place) for way in alternatives)
            else:
                known = ", ".join((*GAUGES, *COUNTERS, *HISTOGRAMS))
                raise ConfigError(f"{place}: no such signal (known: {known})")
        detect = tuple(self._selector(text, f"{self._place}.detect") for text in table["detect"])
        if not detect:
            raise ConfigError(f"{self._place}.detect: name at least one series that tells it")
        start = f"{self._place}.process_start"
        return Dialect(
            name=self._name,
            detect=detect,
            model_label=str(table.get("model_label", "")),
            paths=tuple(table.get("paths", _DEFAULT_PATHS)),
            process_start=tuple(self._selector(s, start) for s in table.get("process_start", ())),
            terms=terms,
            histograms=histograms,
        )

    def _term(self, way: Any, signal: str, place: str) -> Term:
        given = {"series": way} if isinstance(way, str) else way
        self._known(given, TERM_KEYS, place)
        if "series" not in given:
            raise ConfigError(f"{place}: `series` is missing")
        over = given.get("over", OVER.get(signal, "sum"))
        if over not in _OVER or (signal in COUNTERS and over != "sum"):
            allowed = "sum" if signal in COUNTERS else ", ".join(sorted(_OVER))
            raise ConfigError(f"{place}: over: {over!r} is not possible here (possible: {allowed})")
        if signal in COUNTERS and given.keys() & {"minus", "times", "divide_by", "label_values"}:
            raise ConfigError(f"{place}: a counter is a sum of series; it has only plus and scale")
        return Term(
            series=self._selector(given["series"], place),
            over=over,
            one_per=self._names(given, "one_per", place),
            scale=self._scale(given, place),
            label_values=self._names(given, "label_values", place) or (),
            plus=tuple(self._selector(text, place) for text in given.get("plus", ())),
            minus=tuple(self._selector(text, place) for text in given.get("minus", ())),
            times=self._optional(given, "times", place),
            divide_by=self._optional(given, "divide_by", place),
            from_first_event=bool(given.get("from_first_event", self.first_event)),
        )

    def _histogram(self, way: Any, place: str) -> Histogram:
        given = {"histogram": way} if isinstance(way, str) else way
        self._known(given, HISTOGRAM_KEYS, place)
        one_per, scale = self._names(given, "one_per", place), self._scale(given, place)
        first_event = bool(given.get("from_first_event", self.first_event))
        if "histogram" in given:
            base = self._selector(given["histogram"], place)
            return Histogram(
                sum=base.named(f"{base.name}_sum"),
                count=base.named(f"{base.name}_count"),
                buckets=base.named(f"{base.name}_bucket"),
                scale=scale,
                one_per=one_per,
                from_first_event=first_event,
            )
        if not {"sum", "count"} <= given.keys():
            raise ConfigError(f"{place}: give `histogram`, or `sum` and `count`")
        return Histogram(
            sum=self._selector(given["sum"], place),
            count=self._selector(given["count"], place),
            buckets=self._optional(given, "buckets", place),
            scale=scale,
            one_per=one_per,
            from_first_event=first_event,
        )

    def _known(self, given: Any, keys: str, place: str) -> None:
        if not isinstance(given, Mapping):
            raise ConfigError(f"{place}: expected a selector or a mapping, got {given!r}")
        unknown = sorted(set(given) - set(keys.split()))
        if unknown:
            raise ConfigError(f"{place}: unknown key {unknown[0]!r} (known: {keys})")

    def _selector(self, text: Any, place: str) -> Selector:
        if not isinstance(text, str):
            raise ConfigError(f"{place}: expected a selector, got {text!r}")
        try:
            return parse_selector(text)
        except ValueError as exc:
            raise ConfigError(f"{place}: {exc}") from exc

    def _optional(self, given: Mapping[str, Any], key: str, place: str) -> Selector | None:
        return self._selector(given[key], f"{place}.{key}") if key in given else None

    def _names(self, given: Mapping[str, Any], key: str, place: str) -> tuple[str, ...] | None:
        if key not in given:
            return None
        names = given[key]
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{place}.{key}: expected a list of label names, got {names!r}")
        return tuple(names)

    def _scale(self, given: Mapping[str, Any], place: str) -> float:
        scale = given.get("scale", 1.0)
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e15:
            raise ConfigError(f"{place}.scale: expected a number above 0, got {scale!r}")
        return float(scale)
