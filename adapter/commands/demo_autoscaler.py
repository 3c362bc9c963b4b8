"""The demo's stand-in for HPA: the stock algorithm on what the adapter's API serves.

It reads `wva_desired_replicas` over the same HTTPS that a cluster's HPA would, and does
with it what the stock controller does (simulator.hpa). It knows nothing of the adapter's
inside; an answer that isn't a value leaves the count as it is.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from adapter.external_metrics.quantity import parse_quantity
from simulator.fleet import Fleet
from simulator.hpa import HpaReason, HpaSpec, HpaState, decide

__all__ = ["Autoscaler", "Scaling"]

API = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
TIMEOUT_S = 2.0


@dataclass(slots=True)
class Scaling:
    """One variant's autoscaler and what it last saw and did."""

    spec: HpaSpec
    state: HpaState = field(default_factory=HpaState)
    metric: float | None = None
    reason: HpaReason | None = None
    failures: int = 0
    actions: int = 0


class Autoscaler:
    """Syncs every variant's replica count with what the adapter publishes."""

    def __init__(
        self,
        fleet: Fleet,
        specs: Mapping[str, HpaSpec],
        *,
        namespace: str,
        url: str,
        context: ssl.SSLContext,
    ) -> None:
        self._fleet = fleet
        self._namespace = namespace
        self.scalings = {name: Scaling(spec) for name, spec in specs.items()}
        self._client = httpx.AsyncClient(base_url=url, verify=context, timeout=TIMEOUT_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def run(self, *, sync_period_s: float, now_s: Any) -> None:
        """Sync until cancelled."""
        while True:
            await self.sync(now_s())
            await asyncio.sleep(sync_period_s)

    async def sync(self, now_s: float) -> None:
        """Read every metric once and act on it."""
        for name, scaling in self.scalings.items():
            scaling.metric = await self._metric(name)
            scaling.failures += scaling.metric is None
            there = self._fleet.cluster.count(name)
            decision = decide(
                scaling.state, scaling.spec, replicas=there, metric=scaling.metric, now_s=now_s
            )
            scaling.state, scaling.reason = decision.state, decision.reason
            if decision.replicas != there:
                scaling.actions += 1
                self._fleet.set_replicas(name, decision.replicas)

    async def explanation(self, name: str) -> dict[str, Any] | None:
        """Return the adapter's explanation of a variant, None while there is none."""
        return await self._json(f"/explain/{self._namespace}/{name}", {})

    async def _metric(self, name: str) -> float | None:
        path = f"{API}/{self._namespace}/wva_desired_replicas"
        answer = await self._json(path, {"labelSelector": f"variant_name={name}"})
        items = answer.get("items") if answer is not None else None
        return sum(float(parse_quantity(item["value"])) for item in items) if items else None

    async def _json(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any] | None:
        try:
            answer = await self._client.get(
                path, params=dict(parameters), headers={"accept": "application/json"}
            )
        except httpx.HTTPError:
            return None
        return answer.json() if answer.is_success else None
