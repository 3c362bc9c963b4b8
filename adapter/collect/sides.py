"""The face of a way to read engines, and the direct way (the other: prometheus_side.py)."""

from typing import Protocol

from ..clock import Clock
from ..config import ScrapeSource, Settings
from ..records import Readings, Reason
from .dialect_table import Dialect
from .discovery import Discovery
from .faults import FaultBook
from .fetch import Fetcher
from .fleet import Fleet, Sighting
from .model_demand import no_demand
from .scrape import Scraper
from .view import EngineView, scraped_view

__all__ = ["ScrapedSide", "Side"]


class Side(Protocol):
    """A way to read engines, and demand where it knows any."""

    async def open(self) -> None:
        """Open connections."""
        ...

    async def close(self) -> None:
        """Close them."""
        ...

    def see(self, sighting: Sighting) -> None:
        """Take what the cluster shows of replicas from now on."""
        ...

    async def read(self, *, now_s: float) -> None:
        """Read everything once."""
        ...

    def view(self, *, now_s: float) -> EngineView:
        """Return the engines as they were last read."""
        ...

    def demand(self) -> dict[str, Readings]:
        """Return MODEL_SIGNALS as far as this way knows them."""
        ...


class ScrapedSide:
    """Engines read directly, where the settings or a discovery say that they are."""

    def __init__(
        self,
        settings: Settings,
        source: ScrapeSource,
        dialects: tuple[Dialect, ...],
        *,
        fetcher: Fetcher,
        faults: FaultBook,
        clock: Clock,
    ) -> None:
        self._settings, self._fetcher, self._faults = settings, fetcher, faults
        self._discovery = Discovery(settings, faults)
        self._scraper = Scraper(settings, source, dialects, faults, clock)
        self._fleet: Fleet | None = None

    def reconfigure(
        self, settings: Settings, source: ScrapeSource, dialects: tuple[Dialect, ...]
    ) -> None:
        """Go on with other settings; what unchanged targets have said is kept."""
        self._settings, self._fleet = settings, None
        self._discovery.reconfigure(settings)
        self._scraper.reconfigure(settings, source, dialects)
        self._faults.keep_only(self._discovery.sources() | self._scraper.sources())

    async def open(self) -> None:
        """Do nothing: the fetcher is opened by whoever lent it."""

    async def close(self) -> None:
        """Do nothing: the fetcher is closed by whoever lent it."""

    def see(self, sighting: Sighting) -> None:
        self._discovery.see(sighting)

    async def read(self, *, now_s: float) -> None:
        before = self._fleet
        self._fleet = await self._discovery.refresh(self._fetcher, now_s=now_s)
        await self._scraper.scrape(self._fetcher, self._fleet, now_s=now_s)
        if before is not self._fleet:
            self._faults.keep_only(self._discovery.sources() | self._scraper.sources())
        for name, model in self._settings.models.items():
            if model.demand.arrivals_query or model.demand.rejections_query:
                detail = "demand queries need sources.prometheus: there is no server to ask"
                source = f"models.{name}.demand"
                self._faults.failed(source, Reason.NOT_EXPORTED, detail, now_s=now_s)

    def view(self, *, now_s: float) -> EngineView:
        if self._fleet is None:
            raise RuntimeError("nothing was read yet")
        return scraped_view(
            self._scraper,
            self._fleet,
            variants=len(self._settings.variants),
            now_s=now_s,
            max_age_s=self._settings.max_decision_age_s,
        )

    def demand(self) -> dict[str, Readings]:
        return no_demand(self._settings)
