"""Engines, routers and gateways read through a Prometheus server."""

import asyncio

from ..config import PrometheusSource, Settings
from ..records import Readings
from .dialect_table import Dialect
from .faults import FaultBook
from .fleet import Sighting
from .model_demand import no_demand
from .prometheus import PrometheusEngines
from .prometheus_api import PrometheusClient
from .prometheus_demand import PrometheusDemand
from .router_table import RouterTable
from .view import EngineView

__all__ = ["PrometheusSide"]


class PrometheusSide:
    """Engines, routers and gateways as a Prometheus server knows them."""

    def __init__(
        self,
        settings: Settings,
        source: PrometheusSource,
        dialects: tuple[Dialect, ...],
        *,
        table: RouterTable,
        faults: FaultBook,
    ) -> None:
        self._settings = settings
        self._client = PrometheusClient(source)
        self._engines = PrometheusEngines(
            settings, source, dialects, client=self._client, faults=faults
        )
        self._models = PrometheusDemand(settings, source, table, client=self._client, faults=faults)
        self._demand = no_demand(settings)

    async def open(self) -> None:
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    def see(self, sighting: Sighting) -> None:
        self._engines.see(sighting)

    async def read(self, *, now_s: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._engines.read(now_s=now_s))
            demand = tasks.create_task(self._models.read(now_s=now_s))
        self._demand = demand.result()

    def view(self, *, now_s: float) -> EngineView:
        return self._engines.view(now_s=now_s)

    def demand(self) -> dict[str, Readings]:
        return self._demand
