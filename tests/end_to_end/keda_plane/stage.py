"""A scenario with KEDA: engines, a router with a queue, the adapter, ScaledObjects."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any

from simulator.replica import Variant
from tests.end_to_end.control_plane.kube_api import eventually, path_of
from tests.end_to_end.control_plane.stage import APPS, AUTOSCALING, Stage, World, staged
from tests.helpers.pages import Answer, PageServer, page

from .objects import KEDA_API, scaled_object, trigger

__all__ = ["KedaStage", "staged_with_keda"]

QUEUE = "llm_d_epp_flow_control_queue_size"


@dataclass
class KedaStage:
    """One scenario's things, with what KEDA made of them."""

    stage: Stage
    models: Sequence[str]

    @property
    def address(self) -> str:
        """Return where KEDA finds the adapter."""
        return f"127.0.0.1:{self.stage.adapter.keda_port}"

    @property
    def waiting(self) -> int:
        """Return the requests that no engine has, at the router."""
        return sum(map(self.stage.engines.cluster.waiting_at_gateway, self.models))

    async def start_adapter(self) -> None:
        """Start the adapter where KEDA owns external.metrics.k8s.io."""
        await self.stage.adapter.start(registered=False)

    async def follow(
        self, variant: str, kind: str, *, metadata: Mapping[str, str] | None = None, **spec: Any
    ) -> None:
        """Create a ScaledObject that follows a variant's decision, and wait for its HPA."""
        # So that nobody asks before there is an answer; what isn't declared is found by this.
        if any(each["name"] == variant for each in self.stage.adapter.settings["variants"]):
            await eventually(
                self.stage.adapter.figures,
                lambda figures: variant in figures,
                within_s=60,
                what=f"a first decision on {variant}",
            )
        names = {"variantName": variant, **(metadata or {})}
        trigger_of_ours = {**trigger(kind, self.address, **names), **spec.pop("trigger", {})}
        await self.stage.kube.apply(
            scaled_object(variant, trigger_of_ours, namespace=self.stage.namespace, **spec)
        )
        await self.condition(variant, "Ready", "True")
        await eventually(
            lambda: self.stage.kube.find(self.hpa_path(variant)),
            within_s=20,
            what=f"KEDA's HPA of {variant}",
        )

    def path(self, variant: str) -> str:
        return path_of("ScaledObject", variant, version=KEDA_API, namespace=self.stage.namespace)

    def hpa_path(self, variant: str) -> str:
        return path_of(
            "HorizontalPodAutoscaler",
            f"keda-hpa-{variant}",
            namespace=self.stage.namespace,
            **AUTOSCALING,
        )

    async def condition(
        self, variant: str, kind: str, status: str, *, within_s: float = 30.0
    ) -> Mapping[str, str]:
        """Wait until a ScaledObject's condition has a status; return the condition."""

        async def look() -> Mapping[str, str]:
            found = await self.stage.kube.get(self.path(variant))
            conditions = found.get("status", {}).get("conditions", [])
            return next((each for each in conditions if each["type"] == kind), {"status": ""})

        return await eventually(
            look,
            lambda condition: condition["status"] == status,
            within_s=within_s,
            what=f"ScaledObject {variant}: {kind} is {status}",
        )

    async def count(self, variant: str) -> int:
        """Return how many replicas a Deployment is asked to have."""
        path = path_of("Deployment", variant, namespace=self.stage.namespace, **APPS)
        return int((await self.stage.kube.get(path))["spec"]["replicas"])

    async def keeps(
        self, variant: str, count: int, *, for_s: float, may: Callable[[int, int], bool] = eq
    ) -> None:
        """Fail if a Deployment is asked for another count within a time; `may` says which pass."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + for_s
        while loop.time() < deadline:
            now = await self.count(variant)
            assert may(now, count), f"{variant}: {now}, after {count}"
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def staged_with_keda(
    world: World,
    variants: Sequence[Variant],
    *,
    settings: Mapping[str, Any] | None = None,
    starts: bool = True,
    window_s: float = 5.0,
    **more: Any,
) -> AsyncIterator[KedaStage]:
    """Put up the variants, a router in front of their engines, and an adapter that reads both."""
    models = sorted({each.model for each in variants})
    async with staged(world, variants, settings=settings, reads=False, **more) as stage:
        cluster = stage.engines.cluster

        def respond(_path: str, _head: str, _body: bytes) -> Answer:
            lines = (
                f'{QUEUE}{{model_name="{model}",target_model_name="{model}"}} '
                f"{cluster.waiting_at_gateway(model)}\n"
                for model in models
            )
            return page("".join(lines))

        async with PageServer(respond=respond) as router:
            sources = stage.adapter.settings["sources"]
            sources["scrape"] = {"timeout_s": 1, "window_s": window_s}
            sources["router"] = {"endpoints": [router.url], "timeout_s": 1}
            own = KedaStage(stage, models)
            try:
                if starts:
                    await own.start_adapter()
                yield own
            finally:
                await _release(own)


async def _release(own: KedaStage) -> None:
    """Delete the ScaledObjects, and wait until KEDA has let them go."""
    kube = own.stage.kube
    every = path_of("ScaledObject", version=KEDA_API, namespace=own.stage.namespace)
    for each in (await kube.get(every))["items"]:
        await kube.delete(f"{every}/{each['metadata']['name']}")
    await eventually(
        lambda: kube.get(every),
        lambda found: not found["items"],
        within_s=30,
        what="KEDA lets its ScaledObjects go",
    )
