"""Read routers' own metrics: what was offered, what was turned away, what waits, per model.

An engine sees only what the router lets through to it. Several routers of one model add up: of an
active and a standby one, only the first has counts.
"""

import asyncio
import math
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..clock import Clock
from ..config import RouterSource, Settings
from ..errors import SourceMalformedError, SourceRejectedError
from ..records import Readings, Reason
from .exposition import Exposition, ExpositionReader
from .faults import FaultBook
from .fetch import METRICS_ACCEPT, Failure, Fetcher
from .increments import CounterMemory
from .router_page import (
    ELAPSED,
    FLOWS,
    OFFERED,
    QUEUE_CHANGE,
    TURNED_AWAY,
    RouterBinding,
    bind_router,
)
from .router_table import ModelNames, RouterTable, namespace_of
from .scrape import read_page
from .tokens import bearer_headers
from .window import SlotClock, WindowTable

__all__ = ["RouterScraper"]

FloatArray = NDArray[np.float64]

_MAX_BYTES = 16 * 1024 * 1024


class _Router:
    """One router's address, and what it has said."""

    def __init__(self, endpoint: str, *, models: int, window_s: float) -> None:
        bare = not urlsplit(endpoint).path.strip("/")
        self.endpoint = endpoint
        self.url = endpoint.rstrip("/") + "/metrics" if bare else endpoint
        self.fault = Reason.NOT_READ_YET
        self.read_s = math.nan
        self.binding: RouterBinding | None = None
        self.queue: FloatArray = np.zeros(models)
        self.pool_model: dict[str, int] = {}
        self.memory = CounterMemory()
        self._clock = SlotClock(window_s)
        self._window = WindowTable(models * FLOWS, self._clock)
        self._row = self._window.take_row()
        self._window_s = window_s

    def turn(self, now_s: float) -> None:
        self._window.empty(self._clock.turn(now_s))

    def observe(self, page: Exposition, binding: RouterBinding, *, now_s: float) -> None:
        queue = binding.queue(page.values)
        gained = self.memory.advance(
            page,
            binding.series,
            now_s=now_s,
            process_start=math.nan,
            max_gap_s=self._window_s,
        )
        if gained is not None:
            flows = binding.flows(gained.values)
            flows[:, QUEUE_CHANGE] = queue - (0.0 if gained.restarted else self.queue)
            flows[:, ELAPSED] = gained.elapsed_s
            self._window.add(self._row, flows.ravel())
        self.queue, self.binding = queue, binding
        self.read_s, self.fault = now_s, Reason.PRESENT

    def rates(self, binding: RouterBinding) -> tuple[FloatArray, bool]:
        """Return flows per second, shape (models, FLOWS), and whether there are any yet."""
        totals = self._window.totals()[self._row].reshape(-1, FLOWS).copy()
        elapsed_s = float(totals[0, ELAPSED]) if len(totals) else 0.0
        if elapsed_s <= 0:
            return np.zeros_like(totals), False
        if binding.balanced:
            totals[:, OFFERED] += totals[:, QUEUE_CHANGE]
        return totals / elapsed_s, True


class RouterScraper:
    """The routers of the settings, read once a tick."""

    def __init__(
        self,
        settings: Settings,
        source: RouterSource,
        *,
        table: RouterTable,
        window_s: float,
        faults: FaultBook,
        clock: Clock,
    ) -> None:
        self._source, self._table = source, table
        self._faults, self._clock, self._window_s = faults, clock, window_s
        self._names = ModelNames.of(settings)
        self._generation = 0  # of names: what layouts were bound with
        self._reader = ExpositionReader(table.wanted())
        self._routers = {url: self._router(url) for url in source.endpoints}

    def reconfigure(self, settings: Settings, source: RouterSource, *, window_s: float) -> None:
        """Go on with other settings; routers of the same models keep their windows."""
        names = ModelNames.of(settings)
        same = names == self._names and window_s == self._window_s
        kept = self._routers if same else {}
        self._source, self._names, self._window_s = source, names, window_s
        self._generation += 1
        self._routers = {url: kept.get(url) or self._router(url) for url in source.endpoints}

    def sources(self) -> set[str]:
        """Return the addresses that are asked."""
        return set(self._routers)

    async def scrape(self, fetcher: Fetcher, *, now_s: float) -> None:
        """Read every router once."""
        async with asyncio.TaskGroup() as tasks:
            for router in self._routers.values():
                router.turn(now_s)
                tasks.create_task(self._read(fetcher, router))

    def readings(self, *, now_s: float, max_age_s: float) -> dict[str, Readings]:
        """Return MODEL_SIGNALS as the routers count them."""
        models = len(self._names.models)
        rates, queue = np.zeros((models, FLOWS)), np.zeros(models)
        known, queued, once = np.zeros((3, models), dtype=np.bool_)
        lost = np.full(models, Reason.PRESENT, dtype=np.uint8)
        for router in self._routers.values():
            binding = router.binding
            if binding is None:
                continue
            if not now_s - router.read_s <= max_age_s:
                # A sum without one of its parts isn't less: it isn't known.
                stale = router.fault if router.fault != Reason.PRESENT else Reason.STALE
                lost[binding.known | binding.queued] = stale
                continue
            own, twice = router.rates(binding)
            rates[binding.known] += own[binding.known]
            queue[binding.queued] += router.queue[binding.queued]
            known |= binding.known
            queued |= binding.queued
            once |= binding.known & (not twice)
        why = np.where(once, Reason.ONE_SCRAPE, Reason.PRESENT)
        counted = _reasons(known, why, lost, self._why_silent())
        waiting = _reasons(queued, np.zeros(models), lost, self._why_silent())
        return {
            "offered_rate_rps": _readings(np.maximum(rates[:, OFFERED], 0.0), counted),
            "router_rejection_rate_rps": _readings(rates[:, TURNED_AWAY], counted),
            "router_queue_requests": _readings(queue, waiting),
        }

    def _router(self, url: str) -> _Router:
        return _Router(url, models=len(self._names.models), window_s=self._window_s)

    def _why_silent(self) -> Reason:
        """Return why a model isn't in any page: none was read, or none counts it."""
        faults = [router.fault for router in self._routers.values()]
        return Reason.NOT_EXPORTED if Reason.PRESENT in faults else faults[0]

    async def _read(self, fetcher: Fetcher, router: _Router) -> None:
        source, url = self._source, router.url
        try:
            headers = {"Accept": METRICS_ACCEPT, **bearer_headers(source.bearer_token_file, url)}
        except SourceRejectedError as exc:
            self._fail(router, Reason.HTTP_STATUS, exc.detail)
            return
        answer = await fetcher.get(
            url, timeout_s=source.timeout_s, max_bytes=_MAX_BYTES, headers=headers
        )
        if isinstance(answer, Failure):
            self._fail(router, answer.reason, answer.error.detail)
            return
        try:
            page = read_page(self._reader, answer.body, answer.content_type, router.memory, url)
        except SourceMalformedError as exc:
            self._fail(router, Reason.MALFORMED, exc.detail)
            return
        if not page.series and page.bad_lines:
            self._fail(router, Reason.MALFORMED, "the body is no exposition of metrics")
            return
        kept = page.layout.bindings
        key = (router.endpoint, self._generation, len(router.pool_model))
        if key not in kept:
            kept[key] = bind_router(
                page,
                self._table,
                self._names,
                namespace=namespace_of(router.endpoint),
                pool_model=router.pool_model,
            )
        router.observe(page, kept[key], now_s=self._clock.monotonic_s())
        self._faults.answered(router.endpoint)

    def _fail(self, router: _Router, reason: Reason, detail: str) -> None:
        router.fault = reason
        self._faults.failed(router.endpoint, reason, detail, now_s=self._clock.monotonic_s())


def _reasons(
    here: NDArray[np.bool_], why: NDArray[np.generic], lost: NDArray[np.uint8], silent: Reason
) -> NDArray[np.uint8]:
    found = np.where(here, why, silent)
    return np.where(lost != Reason.PRESENT, lost, found).astype(np.uint8)


def _readings(values: FloatArray, reasons: NDArray[np.uint8]) -> Readings:
    return Readings(np.where(reasons == Reason.PRESENT, values, np.nan), reasons)
