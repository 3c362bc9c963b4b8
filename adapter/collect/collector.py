"""The collector: one Snapshot a tick, from whatever sources the settings name.

What a source does to us stays with that source: it is noted with its reason and since when, and
its readings are missing or old. A Snapshot always comes out.
"""

import asyncio

import numpy as np

from ..clock import Clock
from ..config import ScrapeSource, Settings
from ..records import ModelKey, Readings, Reason, Snapshot, VariantKey
from .dialects import load_dialects
from .faults import FaultBook
from .fetch import Fetcher
from .fleet import Sighting
from .model_demand import combined_demand
from .router import RouterScraper
from .router_table import load_router_table
from .sides import ScrapedSide, Side

__all__ = ["Collector"]

_MIN_KEEP_ALIVE_S = 15.0


class Collector:
    """Reads engines and routers when asked to; remembers what they said over the window.

    Parameters
    ----------
    settings : Settings
        What to read, and how.
    clock : Clock
        For ages and windows.

    Raises
    ------
    ConfigError
        If a dialect or a certificate in the settings can't be used.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._faults, self._router_faults = FaultBook(), FaultBook()
        self._fetcher = Fetcher(keep_alive_s=max(_MIN_KEEP_ALIVE_S, 3.0 * settings.interval_s))
        self._router_table = load_router_table()
        self._settings = settings
        self._sighting: Sighting | None = None
        self._side = self._new_side(settings, self._faults)
        self._routers = self._new_routers(settings)

    async def start(self) -> None:
        """Open what collecting needs."""
        await self._fetcher.open()
        await self._side.open()

    async def stop(self) -> None:
        """Close it."""
        await self._side.close()
        await self._fetcher.close()

    async def reconfigure(self, settings: Settings) -> None:
        """Go on with other settings; what unchanged targets have said is kept.

        Raises
        ------
        ConfigError
            If a dialect or a certificate can't be used; then nothing has changed.
        """
        scraping, dialects = settings.sources.scraping, load_dialects(settings.dialects)
        if scraping is not None and isinstance(self._side, ScrapedSide):
            self._side.reconfigure(settings, scraping, dialects)
        elif settings != self._settings:
            faults = FaultBook()
            side, old = self._new_side(settings, faults), self._side
            await side.open()
            if self._sighting is not None:
                side.see(self._sighting)
            self._side, self._faults = side, faults
            await old.close()
        router = settings.sources.router
        if router is not None and self._routers is not None:
            self._routers.reconfigure(settings, router, window_s=_window_s(settings))
        else:
            self._routers = self._new_routers(settings)
        self._router_faults.keep_only(self._routers.sources() if self._routers else set())
        self._settings = settings

    def see(self, sighting: Sighting) -> None:
        """Take what the cluster shows of replicas from now on."""
        self._sighting = sighting
        self._side.see(sighting)

    @property
    def reads_routers(self) -> bool:
        """Return whether there is a router whose queues can be read between two ticks."""
        return self._routers is not None

    async def read_queues(self) -> tuple[tuple[ModelKey, ...], Readings]:
        """Read the routers alone; return the models and how many requests wait for each."""
        models = tuple(
            dict.fromkeys(ModelKey(v.namespace, v.model) for v in self._settings.variants)
        )
        if self._routers is None:
            return models, Readings.missing(len(models), Reason.NOT_EXPORTED)
        now_s = self._clock.monotonic_s()
        await self._routers.scrape(self._fetcher, now_s=now_s)
        readings = self._routers.readings(
            now_s=self._clock.monotonic_s(), max_age_s=self._settings.max_decision_age_s
        )
        return models, readings["router_queue_requests"]

    async def collect(self) -> Snapshot:
        """Read everything once and return what is known now."""
        now_s = self._clock.monotonic_s()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._side.read(now_s=now_s))
            if self._routers is not None:
                tasks.create_task(self._routers.scrape(self._fetcher, now_s=now_s))
        taken_s = self._clock.monotonic_s()
        view = self._side.view(now_s=taken_s)
        variants = self._settings.variants
        model_of = [ModelKey(variant.namespace, variant.model) for variant in variants]
        models = tuple(dict.fromkeys(model_of))
        row = {key: at for at, key in enumerate(models)}
        return Snapshot(
            taken_s=taken_s,
            taken_unix_s=self._clock.unix_s(),
            variants=tuple(VariantKey(v.namespace, v.name) for v in variants),
            models=models,
            variant_model=np.array([row[key] for key in model_of], dtype=np.int64),
            replica_id=view.replica_id,
            replica_variant=view.replica_variant,
            replica_state=view.replica_state,
            replica_age_s=view.replica_age_s,
            replica=view.replica,
            variant=view.variant,
            model=self._demand(taken_s),
            current_replicas=view.current_replicas,
            ready_replicas=view.ready_replicas,
            dialect=view.dialect,
            replica_missed=view.replica_missed,
            faults=(*self._faults.faults(), *self._router_faults.faults()),
        )

    def _demand(self, now_s: float) -> dict[str, Readings]:
        """Return what is known of models' demand before it reaches an engine."""
        known = self._side.demand()
        if self._routers is None:
            return known
        max_age_s = self._settings.max_decision_age_s
        return combined_demand(known, self._routers.readings(now_s=now_s, max_age_s=max_age_s))

    def _new_side(self, settings: Settings, faults: FaultBook) -> Side:
        dialects = load_dialects(settings.dialects)
        if settings.sources.prometheus is not None:
            # Its client takes 10 MB, which who scrapes doesn't need.
            from .prometheus_side import PrometheusSide

            return PrometheusSide(
                settings,
                settings.sources.prometheus,
                dialects,
                table=self._router_table,
                faults=faults,
            )
        return ScrapedSide(
            settings,
            settings.sources.scraping or ScrapeSource(),
            dialects,
            fetcher=self._fetcher,
            faults=faults,
            clock=self._clock,
        )

    def _new_routers(self, settings: Settings) -> RouterScraper | None:
        if settings.sources.router is None:
            return None
        return RouterScraper(
            settings,
            settings.sources.router,
            table=self._router_table,
            window_s=_window_s(settings),
            faults=self._router_faults,
            clock=self._clock,
        )


def _window_s(settings: Settings) -> float:
    source = settings.sources.prometheus or settings.sources.scraping or ScrapeSource()
    return source.window_s
