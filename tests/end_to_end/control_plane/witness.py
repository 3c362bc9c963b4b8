"""Watches both ends of the wire: what the adapter says, and what HPA makes of it."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from .adapter_process import AdapterProcess
from .kube_api import Kube, path_of
from .looking import Looking

__all__ = ["Moment", "Witness"]

LOOK_S = 0.1


@dataclass(frozen=True)
class Moment:
    """When a figure of a variant changed, and to what."""

    at_s: float
    variant: str
    count: int


@dataclass
class Witness:
    """Keeps the history of decisions and of the replica counts that HPA asked for."""

    kube: Kube
    adapter: AdapterProcess
    namespace: str
    variants: Sequence[str]
    decided: list[Moment] = field(default_factory=list)
    scaled: list[Moment] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._looking = Looking(self._look, every_s=LOOK_S)
        self._looking.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._looking.stop()

    def replicas(self, variant: str) -> int:
        """Return what HPA last asked for."""
        return next((m.count for m in reversed(self.scaled) if m.variant == variant), -1)

    def decision(self, variant: str) -> int:
        return next((m.count for m in reversed(self.decided) if m.variant == variant), -1)

    def first_change_s(self, variant: str, *, after_s: float) -> float | None:
        """Return how long after a moment the replica count first changed."""
        changes = (m.at_s for m in self.scaled if m.variant == variant and m.at_s >= after_s)
        first = next(changes, None)
        return None if first is None else first - after_s

    def honoured(self, sync_s: float) -> tuple[int, int]:
        """Return how many decisions HPA followed, of those that stood for a sync or longer."""
        followed = made = 0
        for variant in self.variants:
            own = [m for m in self.decided if m.variant == variant]
            ends = [*(m.at_s for m in own[1:]), time.monotonic()]
            for decision, end_s in zip(own, ends, strict=True):
                if end_s - decision.at_s < sync_s + 1.0:
                    continue
                made += 1
                followed += decision.count in self._counts(variant, decision.at_s, end_s)
        return followed, made

    async def failures(self) -> list[str]:
        """Return what HPA said each time that it couldn't read the metric, from its Events."""
        path = path_of("Event", namespace=self.namespace)
        query = "?fieldSelector=reason=FailedGetExternalMetric"
        events = (await self.kube.get(path + query))["items"]
        return [each["message"] for each in events for _ in range(each.get("count") or 1)]

    def _counts(self, variant: str, start_s: float, end_s: float) -> set[int]:
        """Return the counts that were asked for in a span, that at its start included."""
        own = [m for m in self.scaled if m.variant == variant]
        before = [m.count for m in own if m.at_s <= start_s][-1:]
        return {*before, *(m.count for m in own if start_s < m.at_s <= end_s + LOOK_S)}

    async def _look(self) -> None:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            await self._note()

    async def _note(self) -> None:
        served = await self.adapter.figures()
        path = path_of("Deployment", version="apps/v1", namespace=self.namespace)
        found: list[dict[str, Any]] = (await self.kube.get(path))["items"]
        asked = {each["metadata"]["name"]: each["spec"]["replicas"] for each in found}
        now_s = time.monotonic()
        for variant in self.variants:
            if variant in served and served[variant] != self.decision(variant):
                self.decided.append(Moment(now_s, variant, int(served[variant])))
            if variant in asked and asked[variant] != self.replicas(variant):
                self.scaled.append(Moment(now_s, variant, asked[variant]))
