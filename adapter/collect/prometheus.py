"""Read engines through Prometheus: one query per signal for all variants.

The queries that tell how old series are also tell which replicas there are and which dialect they
speak. A query that fails leaves its own signal out, with the reason; if the ages can't be had,
everything stands as it was and grows old.
"""

import asyncio
import math
from collections.abc import Mapping

import numpy as np

from ..config import PrometheusSource, Settings
from ..records import Reason
from .dialect_table import Dialect
from .dialects import wanted_names
from .engine_queries import EngineQueries
from .faults import FaultBook
from .fetch import Failure
from .fleet import Sighting
from .prometheus_api import SOURCE, PrometheusClient, Rows
from .promql import QueryBuilder, names_query
from .queried import FactAnswer, QueriedTable
from .queried_fleet import QueriedFleet
from .readings import replica_readings, variant_readings
from .selectors import Matcher, Selector, canonical
from .series_map import SeriesMap
from .targets import Targets
from .view import EngineView

__all__ = ["PrometheusEngines", "ask_all", "existing_names", "note_answers"]

_NAMES_AGE_S = 30.0
_GPU_POWER = "DCGM_FI_DEV_POWER_USAGE"  # watts, by dcgm-exporter
_GPU_LABELS = ("namespace", "pod", "exported_namespace", "exported_pod")


async def ask_all(client: PrometheusClient, texts: Mapping[str, str]) -> dict[str, Rows | Failure]:
    """Return the answers to all queries, under the same keys."""
    async with asyncio.TaskGroup() as tasks:
        asked = {key: tasks.create_task(client.query(text)) for key, text in texts.items()}
    return {key: task.result() for key, task in asked.items()}


def note_answers(
    answers: Mapping[str, Rows | Failure], faults: FaultBook, source: str, *, now_s: float
) -> bool:
    """Note what failed or was warned of; return whether all answers are whole."""
    failed = {key: one for key, one in answers.items() if isinstance(one, Failure)}
    warned = [text for one in answers.values() if isinstance(one, Rows) for text in one.warnings]
    if failed:
        key, first = next(iter(failed.items()))
        detail = f"{len(failed)} of {len(answers)} queries failed; {key}: {first.error.detail}"
        faults.failed(source, first.reason, detail, now_s=now_s)
    elif warned:
        detail = f"a part of the data may be missing: {warned[0]}"
        faults.failed(source, Reason.MALFORMED, detail, now_s=now_s)
    else:
        faults.answered(source)
    return not failed and not warned


def existing_names(answer: Rows) -> dict[str, list[str]]:
    """Return the spellings of each canonical name in the answer to `names_query`."""
    existing: dict[str, list[str]] = {}
    for row in answer.rows:
        name = row.labels.get("__name__", "")
        existing.setdefault(canonical(name), []).append(name)
    return existing


class PrometheusEngines:
    """The engines that a Prometheus server scrapes, as the settings' variants."""

    def __init__(
        self,
        settings: Settings,
        source: PrometheusSource,
        dialects: tuple[Dialect, ...],
        *,
        client: PrometheusClient,
        faults: FaultBook,
    ) -> None:
        self._settings, self._source, self._dialects = settings, source, dialects
        self._client, self._faults = client, faults
        self._map = SeriesMap(settings)
        own = tuple(Matcher(name, "=", value) for name, value in source.labels.items())
        self._matchers = (*own, *self._map.matchers())
        self._existing: dict[str, list[str]] = {}
        self._names_s = -math.inf
        self._fleet = QueriedFleet(settings, self._map)
        self._reason = Reason.NOT_READ_YET  # why the last answer couldn't be had
        self._told: set[str] = set()  # replicas whose other model was noted
        self._table = self._filled({}, [])

    def see(self, sighting: Sighting) -> None:
        """Take what the cluster shows of replicas from now on."""
        self._map.see(sighting)
        self._fleet.see(sighting)

    async def read(self, *, now_s: float) -> None:
        """Ask for everything once."""
        if not await self._learn_names(now_s):
            return
        queries = EngineQueries.of(
            self._dialects,
            existing=self._existing,
            labels=self._map.labels,
            matchers=self._matchers,
            window_s=self._source.window_s,
        )
        texts = {f"age:{name}": text for name, text in queries.ages.items()}
        texts |= {f"fact:{i}": fact.text for i, fact in enumerate(queries.facts)}
        texts |= queries.signals
        if _GPU_POWER in self._existing:
            texts["power"] = QueryBuilder(
                existing=self._existing, by=_GPU_LABELS, matchers=(), window_s=1.0
            ).sum_of(Selector(_GPU_POWER))
        answers = await ask_all(self._client, texts)
        whole = note_answers(answers, self._faults, SOURCE, now_s=now_s)
        ages = []
        for dialect in self._dialects:
            answer = answers.get(f"age:{dialect.name}")
            if isinstance(answer, Failure):
                self._reason = answer.reason
                return
            if answer is not None:
                ages.append((dialect, answer))
        self._reason = Reason.PRESENT
        max_age_s = self._settings.max_decision_age_s
        self._fleet.meet(ages, now_s=now_s, max_age_s=max_age_s, whole=whole)
        self._note_other_models(now_s)
        facts = [
            FactAnswer(fact.signal, fact.dialect, fact.term, answers[f"fact:{i}"])
            for i, fact in enumerate(queries.facts)
        ]
        self._table = self._filled(answers, facts)

    def view(self, *, now_s: float) -> EngineView:
        """Return what the last answers say of the replicas at `now_s`."""
        fleet, table = self._fleet, self._table
        variants, variant = len(self._settings.variants), fleet.variants()
        age_s = now_s - fleet.read_s()
        fresh = age_s <= self._settings.max_decision_age_s
        unread = fleet.unread(fresh, self._reason)
        rows = np.arange(len(variant))
        state = fleet.states(fresh)
        current, ready = fleet.counts(state)
        return EngineView(
            replica_id=fleet.names,
            replica_variant=variant,
            replica_state=state,
            replica_age_s=age_s,
            replica=replica_readings(table, Targets(rows, rows, len(rows), unread)),
            variant=variant_readings(table, Targets(rows, variant, variants, unread)),
            current_replicas=current,
            ready_replicas=ready,
            dialect=fleet.variant_dialects(),
        )

    async def _learn_names(self, now_s: float) -> bool:
        """Learn which of the dialects' names the server has; False: it can't be asked."""
        if now_s - self._names_s < _NAMES_AGE_S and self._existing:
            return True
        names, facts = wanted_names(self._dialects)
        wanted = {*names, *facts}
        # GPUs' exporter has labels of its own; the settings' conditions are on engines' series.
        text = f"{names_query(wanted, self._matchers)} or {names_query({_GPU_POWER}, ())}"
        answer = await self._client.query(text)
        if isinstance(answer, Failure):
            self._reason = answer.reason
            self._faults.failed(SOURCE, answer.reason, answer.error.detail, now_s=now_s)
            return False
        self._existing, self._names_s = existing_names(answer), now_s
        return True

    def _note_other_models(self, now_s: float) -> None:
        others = self._fleet.other_models()
        for name in self._told - others.keys():
            self._faults.answered(name)
        for name, model in others.items():
            detail = f"it serves {model!r}; if that is the variant's model, add the name to its "
            self._faults.failed(name, Reason.WRONG_MODEL, f"{detail}served_names", now_s=now_s)
        self._told = set(others)

    def _filled(
        self, answers: Mapping[str, Rows | Failure], facts: list[FactAnswer]
    ) -> QueriedTable:
        return QueriedTable(
            answers,
            facts=facts,
            dialects=self._fleet.dialects(),
            row_of=self._fleet.row_of,
            read_s=self._fleet.read_s(),
            window_s=self._source.window_s,
            measured={"power_w": self._power(answers.get("power"))},
        )

    def _power(self, answer: Rows | Failure | None) -> dict[int, float]:
        """Return the power that GPUs' exporter measured, by the row of the replica they work for.

        Where Prometheus keeps its own labels (honorLabels off), the workload's are `exported_*`.
        """
        rows = {name: row for row, name in enumerate(self._fleet.names)}
        found: dict[int, float] = {}
        for one in answer.rows if isinstance(answer, Rows) else ():
            labels = one.labels
            pod = labels.get("exported_pod") or labels.get("pod", "")
            namespace = labels.get("exported_namespace") or labels.get("namespace", "")
            row = rows.get(f"{namespace}/{pod}")
            if row is not None:
                found[row] = found.get(row, 0.0) + one.value
        return found
