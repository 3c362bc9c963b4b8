"""Reads the history: one range query per signal and day, by the tables that `wva serve` has."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from adapter.collect.dialect_table import Dialect
from adapter.collect.dialects import wanted_names
from adapter.collect.engine_queries import EngineQueries, FactQuery
from adapter.collect.fetch import Failure
from adapter.collect.prometheus_api import PrometheusClient, Track, Tracks
from adapter.collect.promql import names_query
from adapter.collect.selectors import Matcher, canonical
from adapter.errors import AdapterError, ConfigError

from .columns import bucketed, filled, kv_capacities
from .history import History, Span
from .names import LABELS, ReplicaName, replica_name

__all__ = ["HistoryError", "Question", "read_history"]

# A day of one-minute steps per query: far below the 11,000 points that Prometheus allows.
POINTS_PER_QUERY = 1440
MOST_STEPS = 10_080
# Between two looks at which series there were; Prometheus shows a series for five minutes.
LOOK_S = 300.0
SCRAPES_PER_STEP = 4
# Other people's dashboards ask the same server.
AT_ONCE = 2
PER_REPLICA = ("mean:", "delta:", "rate:", "sum:", "count:")
NEEDED = ("mean:running_requests", "rate:completions", "sum:ttft_s", "sum:itl_s")
NICE_STEPS_S = (1, 2, 4, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)


class HistoryError(AdapterError):
    """Prometheus can't be asked, or has nothing that an audit could start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask: until when, how far back, and about which series."""

    until_unix_s: float
    last_s: float
    step_s: float | None = None
    variant_label: str | None = None
    matchers: tuple[Matcher, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that results keep."""
        return LABELS if self.variant_label is None else (*LABELS, self.variant_label)


@dataclass(slots=True)
class _Reader:
    client: PrometheusClient
    question: Question
    dialects: tuple[Dialect, ...]
    asked: Callable[[int, int], None]
    faults: dict[str, str] = field(default_factory=dict)

    async def existing(self) -> dict[str, list[str]]:
        """Return the spellings of the dialects' names that there were, by canonical name."""
        names, facts = wanted_names(self.dialects)
        text = names_query({*names, *facts}, self.question.matchers)
        answer = await self._look(text)
        if isinstance(answer, Failure):
            raise HistoryError(f"{answer.error}: can't read the history")
        found: dict[str, list[str]] = {}
        for track in answer.tracks:
            name = track.labels.get("__name__", "")
            found.setdefault(canonical(name), []).append(name)
        if not found:
            raise HistoryError(
                "no metric of a known engine in this time: check --last and --until, the labels "
                "of --match, and docs/dialects.md for engines with names of their own"
            )
        return found

    async def scrape_s(self, existing: Mapping[str, list[str]]) -> float:
        """Return the scrape interval, by how many samples a series had at most."""
        name = next(s for s in self._detecting() if s in existing)
        window_s = int(min(600.0, self.question.last_s))
        conditions = ",".join(str(m) for m in self.question.matchers)
        series = existing[name][0] + (f"{{{conditions}}}" if conditions else "")
        answer = await self._look(f"max(count_over_time({series}[{window_s}s]))")
        most = [t.values.max() for t in answer.tracks] if isinstance(answer, Tracks) else []
        if not most or max(most) < 2:
            raise HistoryError(f"{name} has fewer than two samples in {window_s} s: too few")
        return float(window_s / max(most))

    async def columns(
        self, texts: Mapping[str, str], span: Span, facts: tuple[FactQuery, ...]
    ) -> tuple[dict[str, list[Track]], dict[int, list[Track]]]:
        """Return the tracks of every query over the span, and those of facts."""
        parts = [
            (key, text, first, min(first + POINTS_PER_QUERY, span.count))
            for key, text in texts.items()
            for first in range(0, span.count, POINTS_PER_QUERY)
        ]
        found: dict[str, list[Track]] = {key: [] for key in texts}
        done, turns = 0, asyncio.Semaphore(AT_ONCE)

        async def one(key: str, text: str, first: int, last: int) -> None:
            nonlocal done
            async with turns:
                answer = await self.client.query_range(
                    text,
                    start_unix_s=span.start_unix_s + (first + 1) * span.step_s,
                    end_unix_s=span.start_unix_s + last * span.step_s,
                    step_s=span.step_s,
                )
            done += 1
            self.asked(done, len(parts))
            if isinstance(answer, Failure):
                self.faults[key] = answer.error.detail
                return
            self.faults |= {f"{key}: warning": text for text in answer.warnings[:1]}
            found[key] += answer.tracks

        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(one(*part))
        answers = [await self._look(fact.text) for fact in facts]
        told = {
            at: list(answer.tracks)
            for at, answer in enumerate(answers)
            if isinstance(answer, Tracks)
        }
        return found, told

    async def _look(self, text: str) -> Tracks | Failure:
        """Ask at every few minutes of the span."""
        question = self.question
        step_s = min(LOOK_S, max(question.last_s / 20.0, 1.0))
        return await self.client.query_range(
            text,
            start_unix_s=question.until_unix_s - question.last_s,
            end_unix_s=question.until_unix_s,
            step_s=step_s,
        )

    def _detecting(self) -> list[str]:
        names = [canonical(s.name) for d in self.dialects for s in d.detect]
        running = [
            canonical(term.series.name)
            for dialect in self.dialects
            for term in dialect.terms.get("running_requests", ())
        ]
        return [*running, *names]


async def read_history(
    client: PrometheusClient,
    question: Question,
    dialects: tuple[Dialect, ...],
    *,
    asked: Callable[[int, int], None] = lambda _done, _all: None,
) -> History:
    """Return what Prometheus recorded; `asked` hears of each query that was answered.

    Raises
    ------
    HistoryError
        If it can't be asked, or has none of the signals that an audit needs.
    ConfigError
        If the step is too short for the scrapes or too fine for the span.
    """
    reader = _Reader(client, question, dialects, asked)
    existing = await reader.existing()
    scrape_s = await reader.scrape_s(existing)
    span = _span(question, scrape_s)
    model_labels = tuple(dict.fromkeys(d.model_label for d in dialects if d.model_label))
    each, models = (
        EngineQueries.of(
            dialects,
            existing=existing,
            labels=labels,
            matchers=question.matchers,
            window_s=span.step_s,
        )
        for labels in (question.labels, ("namespace",))
    )
    texts = {k: t for k, t in each.signals.items() if k.startswith(PER_REPLICA)}
    texts |= {k: t for k, t in models.signals.items() if k.startswith("bucket:")}
    # How often a replica was seen in a step tells when it came and went, to a scrape.
    there = texts["mean:running_requests"]
    texts["samples"] = there.replace("avg_over_time(", "count_over_time(")
    tracks, facts = await reader.columns(texts, span, each.facts)
    _check(texts, tracks, reader.faults)

    def name_of(labels: Mapping[str, str]) -> ReplicaName:
        return replica_name(labels, model_labels=model_labels, variant_label=question.variant_label)

    rows = {name_of(track.labels): 0 for track in tracks["mean:running_requests"]}
    replicas = tuple(sorted(rows))
    row_of = {replica: row for row, replica in enumerate(replicas)}
    history = History(
        span=span,
        scrape_s=scrape_s,
        replicas=replicas,
        signals={
            key: filled(found, len(replicas), span, lambda t: row_of.get(name_of(t.labels)))
            for key, found in tracks.items()
            if not key.startswith("bucket:")
        },
        buckets={},
        kv_capacity_tokens=kv_capacities(each.facts, facts, name_of),
        faults=tuple(f"{key}: {why}" for key, why in sorted(reader.faults.items())),
    )
    buckets = {
        key.removeprefix("bucket:"): bucketed(found, history, model_labels)
        for key, found in tracks.items()
        if key.startswith("bucket:") and found
    }
    return replace(history, buckets=buckets)


def _check(
    texts: Mapping[str, str], tracks: Mapping[str, list[Track]], faults: Mapping[str, str]
) -> None:
    for key in NEEDED:
        if tracks.get(key):
            continue
        why = faults.get(key, "no engine exports it" if key not in texts else "no samples")
        raise HistoryError(f"the history has no {key.partition(':')[2]} ({why}): no audit without")


def _span(question: Question, scrape_s: float) -> Span:
    """Return whole steps that hold a few scrapes each, the last ending at `until`."""
    least_s = SCRAPES_PER_STEP * scrape_s
    if question.step_s is not None:
        step_s = question.step_s
        if step_s < 2.0 * scrape_s:
            raise ConfigError(
                f"--step {step_s:g}: scraped every {scrape_s:g} s; at least twice that"
            )
    else:
        wanted_s = max(least_s * 0.99, question.last_s / MOST_STEPS)
        step_s = next((float(s) for s in NICE_STEPS_S if s >= wanted_s), math.ceil(wanted_s))
    count = int(question.last_s / step_s)
    if not 1 <= count <= MOST_STEPS:
        raise ConfigError(
            f"{count} steps of {step_s:g} s in --last; must be 1 to {MOST_STEPS}: change --step"
        )
    end_s = math.floor(question.until_unix_s / step_s) * step_s
    return Span(end_s - count * step_s, step_s, count)
