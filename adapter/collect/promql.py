"""The dialects' signals as PromQL. Pure: tables in, query texts out.

One query reads a signal of all engines: alternatives are joined by `or`, which takes each label
set from the first that has it, so that a server that exports a signal under two names counts once.
Only names that exist are asked for. Rates are taken before sums, since a sum over pods that come
and go is no counter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .dialect_table import Dialect, Histogram, Term
from .selectors import Matcher, Selector, canonical

__all__ = ["QueryBuilder", "either", "names_query"]

_OVER = {"sum": "sum", "max": "max", "min": "min", "mean": "avg"}


def names_query(names: Iterable[str], matchers: Sequence[Matcher]) -> str:
    """Return the query that tells which of some metric names there are."""
    either = "|".join(sorted(names))
    return (
        f"count by (__name__) ({{{_conditions((Matcher('__name__', '=~', either), *matchers))}}})"
    )


@dataclass(frozen=True, slots=True)
class QueryBuilder:
    """Writes queries for the names that exist.

    Parameters
    ----------
    existing : mapping of str to sequence of str
        Canonical name to the spellings of it that the server has.
    by : tuple of str
        Labels that results keep.
    matchers : tuple of Matcher
        Conditions on every series.
    window_s : float
        Range of rates and means. [s]
    """

    existing: Mapping[str, Sequence[str]]
    by: tuple[str, ...]
    matchers: tuple[Matcher, ...]
    window_s: float

    def signal(self, ways: Iterable[Term], function: str = "") -> str:
        """Return the query of a gauge, or with a function over the window, of its change or mean.

        Empty where nothing that the ways read exists.
        """
        return either(self._term(way, function) for way in ways if not way.label_values)

    def counter(self, ways: Iterable[Term]) -> str:
        """Return the query of a counter's rate. [1/s]"""
        return either(self._counter(way) for way in ways)

    def histogram(self, ways: Iterable[Histogram], part: str) -> str:
        """Return the query of the rate of a histogram's `sum` or `count`."""
        texts = []
        for way in ways:
            # Both parts come from the same way, or a mean would be of two things.
            if self._spellings(way.sum) and self._spellings(way.count):
                selector, scale = (way.sum, way.scale) if part == "sum" else (way.count, 1.0)
                texts.append(_scaled(self._grouped(selector, "rate", "sum", way.one_per), scale))
        return either(texts)

    def buckets(self, ways: Iterable[Histogram]) -> str:
        """Return the query of the increase of a histogram's buckets, which keeps `le`."""
        texts = []
        for way in ways:
            if way.buckets is not None and way.scale == 1.0 and self._spellings(way.buckets):
                one_per = None if way.one_per is None else (*way.one_per, "le")
                texts.append(self._grouped(way.buckets, "increase", "sum", one_per, keep=("le",)))
        return either(texts)

    def facts(self, term: Term) -> str:
        """Return the query that counts the series of each combination of a term's labels."""
        keep = (*self.by, *term.label_values, *(m.label for m in term.series.matchers))
        texts = [f"count by ({_list(keep)}) ({s})" for s in self._spellings(term.series)]
        return either(texts)

    def ages(self, dialect: Dialect) -> str:
        """Return the query of how old the series are that tell a dialect. [s]"""
        texts = [
            f"max by ({_list(self.by)}) (time() - timestamp({text}))"
            for selector in dialect.detect
            for text in self._spellings(selector)
        ]
        return either(texts)

    def sum_of(self, selector: Selector, function: str = "") -> str:
        """Return the query of one selector's sum; empty if it doesn't exist."""
        return self._grouped(selector, function, "sum", None)

    def _counter(self, way: Term) -> str:
        rates = [self._grouped(s, "rate", "sum", way.one_per) for s in (way.series, *way.plus)]
        return _scaled(_plus(rates[0], rates[1:]), way.scale) if rates[0] else ""

    def _term(self, way: Term, function: str) -> str:
        main = self._grouped(way.series, function, _OVER[way.over], way.one_per)
        minus = [self._grouped(s, function, "sum", None) for s in way.minus]
        times = self._needed(way.times)
        divide_by = self._needed(way.divide_by)
        if not main or not all(minus) or times == "" or divide_by == "":
            return ""
        text = _plus(main, [self._grouped(s, function, "sum", way.one_per) for s in way.plus])
        for other in minus:
            text = f"({text} - ({other}))"
        text = text if times is None else f"({text} * ({times}))"
        text = text if divide_by is None else f"({text} / (({divide_by}) > 0))"
        return _scaled(text, way.scale)

    def _needed(self, selector: Selector | None) -> str | None:
        return None if selector is None else self._grouped(selector, "", "max", None)

    def _grouped(
        self,
        selector: Selector,
        function: str,
        over: str,
        one_per: tuple[str, ...] | None,
        *,
        keep: tuple[str, ...] = (),
    ) -> str:
        """Return one selector's series as a function of them, grouped; "" if there are none."""
        by = _list((*self.by, *keep))
        texts = []
        for text in self._spellings(selector):
            value = f"{function}({text}[{self.window_s:.0f}s])" if function else text
            if one_per is not None:
                value = f"max by ({_list((*self.by, *keep, *one_per))}) ({value})"
            texts.append(f"{over} by ({by}) ({value})")
        return either(texts)

    def _spellings(self, selector: Selector) -> list[str]:
        names = self.existing.get(canonical(selector.name), ())
        return [str(selector.named(name, *self.matchers)) for name in names]


def either(texts: Iterable[str]) -> str:
    """Return a query for whatever any of the texts answers, the first that does; "" of none."""
    different = list(dict.fromkeys(text for text in texts if text))
    return different[0] if len(different) == 1 else " or ".join(f"({t})" for t in different)


def _plus(main: str, others: Iterable[str]) -> str:
    """Add what may be absent: where it is, it is nothing."""
    text = f"({main})"
    for other in others:
        if other:
            text = f"({text} + (({other}) or ({main}) * 0))"
    return text


def _scaled(text: str, scale: float) -> str:
    return text if scale == 1.0 or not text else f"({text} * {scale!r})"


def _list(labels: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _conditions(matchers: Iterable[Matcher]) -> str:
    return ",".join(str(matcher) for matcher in matchers)
