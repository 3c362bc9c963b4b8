"""The queries that read all engines, one per signal. Pure: dialects and existing names in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .dialect_table import Dialect, Term
from .promql import QueryBuilder, either
from .selectors import Matcher
from .signals import AREA_OF, BUCKETED, COUNTERS, GAUGES, HISTOGRAMS, INFLIGHT

__all__ = ["EngineQueries", "FactQuery"]


class FactQuery(NamedTuple):
    """The query of a term whose value stands in labels."""

    signal: str
    dialect: str
    term: Term
    text: str


@dataclass(frozen=True, slots=True)
class EngineQueries:
    """Texts by what they answer; only of what exists."""

    signals: Mapping[str, str]
    ages: Mapping[str, str]  # by dialect
    facts: tuple[FactQuery, ...]

    @classmethod
    def of(
        cls,
        dialects: Iterable[Dialect],
        *,
        existing: Mapping[str, Sequence[str]],
        labels: tuple[str, ...],
        matchers: tuple[Matcher, ...],
        window_s: float,
    ) -> "EngineQueries":
        """Return the queries; results keep `labels` and each dialect's model label."""
        builders = []
        for dialect in dialects:
            by = tuple(dict.fromkeys((*labels, *filter(None, (dialect.model_label,)))))
            builder = QueryBuilder(existing=existing, by=by, matchers=matchers, window_s=window_s)
            builders.append((dialect, builder))
        return cls(
            signals={key: text for key, text in _signals(builders) if text},
            ages={d.name: text for d, b in builders if (text := b.ages(d))},
            facts=tuple(_facts(builders)),
        )


_Builders = Sequence[tuple[Dialect, QueryBuilder]]


def _signals(builders: _Builders) -> Iterable[tuple[str, str]]:
    def signal(name: str, function: str = "") -> str:
        return either(b.signal(d.terms.get(name, ()), function) for d, b in builders)

    def part(name: str, which: str) -> str:
        ways = ((b, d.histograms.get(name, ())) for d, b in builders)
        return either(b.histogram(one, which) for b, one in ways)

    for name in GAUGES:
        yield f"gauge:{name}", signal(name)
    for name in AREA_OF:
        yield f"mean:{name}", signal(name, "avg_over_time")
    for name in INFLIGHT:
        yield f"delta:{name}", signal(name, "delta")
    for name in COUNTERS:
        if name == "answered":
            continue  # other servers' series have the same name, and no model tells them apart
        yield f"rate:{name}", either(b.counter(d.terms.get(name, ())) for d, b in builders)
    for name in HISTOGRAMS:
        yield f"sum:{name}", part(name, "sum")
        yield f"count:{name}", part(name, "count")
    for name in BUCKETED:
        ways = ((b, d.histograms.get(name, ())) for d, b in builders)
        yield f"bucket:{name}", either(b.buckets(one) for b, one in ways)


def _facts(builders: _Builders) -> Iterable[FactQuery]:
    for dialect, builder in builders:
        for name, terms in dialect.terms.items():
            for term in terms:
                text = builder.facts(term) if term.label_values else ""
                if text:
                    yield FactQuery(name, dialect.name, term, text)
