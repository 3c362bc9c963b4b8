"""Demand through Prometheus: queries that the settings give, or a router's metrics. Per model.

A gateway's own arithmetic (`demand: {arrivals_query, rejections_query}`) goes before the router's
metrics that Prometheus has.
"""

import asyncio
import math

import numpy as np
from numpy.typing import NDArray

from ..config import PrometheusSource, Settings
from ..records import Readings, Reason
from .faults import FaultBook
from .fetch import Failure
from .model_demand import combined_demand, no_demand
from .prometheus import ask_all, existing_names, note_answers
from .prometheus_api import PrometheusClient, Row, Rows
from .promql import QueryBuilder, names_query
from .router_table import MODEL_LABELS, ModelNames, RouterTable
from .selectors import Matcher, Selector

__all__ = ["PrometheusDemand"]

FloatArray = NDArray[np.float64]

_LABELS = ("namespace", "inference_pool", *MODEL_LABELS)
_QUERIES = {"offered_rate_rps": "arrivals_query", "router_rejection_rate_rps": "rejections_query"}
_ROUTER = "prometheus: router metrics"
_DEMAND = "prometheus: demand queries"
_NAMES_AGE_S = 30.0


class PrometheusDemand:
    """What a Prometheus server knows of models' demand."""

    def __init__(
        self,
        settings: Settings,
        source: PrometheusSource,
        table: RouterTable,
        *,
        client: PrometheusClient,
        faults: FaultBook,
    ) -> None:
        self._settings, self._source, self._table = settings, source, table
        self._client, self._faults = client, faults
        self._names = ModelNames.of(settings)
        self._matchers = tuple(Matcher(n, "=", value) for n, value in source.labels.items())
        self._existing: dict[str, list[str]] = {}
        self._names_s = -math.inf

    async def read(self, *, now_s: float) -> dict[str, Readings]:
        """Ask for everything once; the settings' own queries go first."""
        async with asyncio.TaskGroup() as tasks:
            queried = tasks.create_task(self._queried(now_s))
            routed = tasks.create_task(self._routed(now_s))
        return combined_demand(queried.result(), routed.result())

    async def _queried(self, now_s: float) -> dict[str, Readings]:
        """Return what the settings' own queries answer."""
        texts = {}
        for row, one in enumerate(self._names.models):
            model = self._settings.models.get(one.model)
            for signal, attribute in _QUERIES.items():
                text = getattr(model.demand, attribute) if model is not None else None
                if text:
                    texts[f"{signal}:{row}"] = text
        answers = await ask_all(self._client, texts)
        note_answers(answers, self._faults, _DEMAND, now_s=now_s)
        found = no_demand(self._settings)
        for key, answer in answers.items():
            signal, _, place = key.partition(":")
            value, reason = _total(answer)
            found[signal].values[int(place)] = value
            found[signal].reasons[int(place)] = reason
        return found

    async def _routed(self, now_s: float) -> dict[str, Readings]:
        """Return what routers' metrics in Prometheus say."""
        if not await self._learn_names(now_s):
            return no_demand(self._settings)
        builder = QueryBuilder(
            existing=self._existing,
            by=_LABELS,
            matchers=self._matchers,
            window_s=self._source.window_s,
        )
        texts = {n: builder.sum_of(s, "rate") for n, s in self._first_existing().items()}
        queue = self._first_existing().get("queue_requests")
        if queue is not None:
            texts |= {
                "queue_requests": builder.sum_of(queue),
                "growth": builder.sum_of(queue, "delta"),
            }
        answers = await ask_all(self._client, texts)
        note_answers(answers, self._faults, _ROUTER, now_s=now_s)
        return self._readings(answers)

    def _first_existing(self) -> dict[str, Selector]:
        """Return for each signal the first of its names that exists: several say the same."""
        found = {}
        for signal, ways in self._table.signals.items():
            existing = [way for way in ways if way.name in self._existing]
            if existing:
                found[signal] = existing[0]
        return found

    def _readings(self, answers: dict[str, Rows | Failure]) -> dict[str, Readings]:
        pools = self._pools(answers.get("queue_requests"))
        column = {name: self._column(answer, pools) for name, answer in answers.items()}
        nothing = np.full(len(self._names.models), np.nan)
        growth = np.nan_to_num(column.get("growth", nothing)) / self._source.window_s
        queue = column.get("queue_requests", nothing)

        def of(name: str) -> FloatArray:
            return column.get(name, nothing)

        refused = np.nan_to_num(of("refused"))
        ways = (
            (of("arrivals"), of("turned_away")),
            (of("finished") + growth, of("turned_away")),
            (of("finished_by_pool") + growth, of("turned_away_by_pool")),
            (of("dispatched") + refused + growth, refused),
        )
        offered, away = nothing, nothing
        for counted, turned_away in reversed(ways):
            known = np.isfinite(counted)
            offered = np.where(known, np.maximum(counted, 0.0), offered)
            away = np.where(known, np.nan_to_num(turned_away), away)
        # A flow's series goes when nothing waits in it any more.
        held = np.isfinite(offered) & ("queue_requests" in answers)
        queue = np.where(held, np.nan_to_num(queue), queue)
        failed = [one.reason for one in answers.values() if isinstance(one, Failure)]
        why = failed[0] if failed else Reason.NOT_EXPORTED
        return {
            # A sum of parts of which one couldn't be read isn't less: it isn't known.
            "offered_rate_rps": Readings.of(nothing if failed else offered, why),
            "router_rejection_rate_rps": Readings.of(nothing if failed else away, why),
            "router_queue_requests": Readings.of(queue, why),
        }

    def _pools(self, answer: Rows | Failure | None) -> dict[tuple[str, str], int]:
        """Return which pool serves which model, as the queue's series tell."""
        rows = answer.rows if isinstance(answer, Rows) else ()
        found = ((_pool(row), self._model_of(row)) for row in rows)
        return {pool: model for pool, model in found if model is not None and pool[1]}

    def _model_of(self, row: Row) -> int | None:
        labels = {name: row.labels.get(name, "") for name in MODEL_LABELS}
        return self._names.row(labels, row.labels.get("namespace", ""))

    def _column(self, answer: Rows | Failure, pools: dict[tuple[str, str], int]) -> FloatArray:
        """Return an answer by model, summed; NaN where it has no row of it."""
        values = np.full(len(self._names.models), np.nan)
        for row in answer.rows if isinstance(answer, Rows) else ():
            model = self._model_of(row)
            model = model if model is not None else pools.get(_pool(row))
            if model is not None and math.isfinite(row.value):
                values[model] = np.nan_to_num(values[model]) + row.value
        return values

    async def _learn_names(self, now_s: float) -> bool:
        if now_s - self._names_s < _NAMES_AGE_S and self._existing:
            return True
        answer = await self._client.query(names_query(self._table.wanted(), self._matchers))
        if isinstance(answer, Failure):
            self._faults.failed(_ROUTER, answer.reason, answer.error.detail, now_s=now_s)
            return bool(self._existing)
        self._existing, self._names_s = existing_names(answer), now_s
        return True


def _pool(row: Row) -> tuple[str, str]:
    return row.labels.get("namespace", ""), row.labels.get("inference_pool", "")


def _total(answer: Rows | Failure) -> tuple[float, Reason]:
    """Return the sum of a person's query: they may have grouped it as they like."""
    if isinstance(answer, Failure):
        return math.nan, answer.reason
    if not answer.rows:
        return math.nan, Reason.NO_EVENTS
    total = sum(row.value for row in answer.rows)
    if not math.isfinite(total) or total < 0:
        return math.nan, Reason.NOT_FINITE
    return total, Reason.PRESENT
