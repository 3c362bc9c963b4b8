"""A thousand variants, a thousand HPAs: one decision each, acted on by all of them.

Nobody starts their pods (the Deployments are paused): what is shown is how the adapter and
HPA bear the number. One process answers for all engines.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator.replica import Replica, ReplicaState

from .adapter_process import AdapterProcess, quick_settings
from .cluster import ControlPlane
from .daemons import Daemon, free_port
from .engines import PROFILE, variant
from .kube_api import Kube, eventually, path_of
from .objects import deployment, hpa
from .outcomes import Outcome
from .stage import World, cleared, create_namespace, new_namespace

COUNT = 1000
SYNC_S = 15.0
AT_ONCE = 20
# What a controller manager needs for so many; its defaults of 20 requests/s and five workers
# make a round of 1,000 HPAs last minutes.
FLAGS = (
    "--kube-api-qps=300",
    "--kube-api-burst=500",
    "--concurrent-horizontal-pod-autoscaler-syncs=20",
)
NAMES = [f"v{number:04}" for number in range(COUNT)]


@pytest.fixture
def many(plane: ControlPlane) -> Any:
    plane.restart_controller_manager(*FLAGS, hpa_sync_s=SYNC_S)
    yield
    plane.restart_controller_manager()


async def test_a_thousand_hpas_follow_a_thousand_variants(
    many: None, world: World, outcome: Outcome
) -> None:
    kube, namespace = world.kube, new_namespace()
    await create_namespace(kube, namespace)
    async with contextlib.AsyncExitStack() as stack:
        port = stack.enter_context(one_engine_for_all(namespace, world.folder))
        stack.push_async_callback(cleared, kube, namespace)
        adapter = AdapterProcess(world.plane, kube, world.folder, settings(namespace, port, 1))
        stack.push_async_callback(adapter.stop)
        await adapter.start()
        await eventually(adapter.figures, lambda f: len(f) == COUNT, within_s=120, what="decisions")
        await in_turns(each_deployment(kube, name, namespace) for name in NAMES)
        await in_turns(kube.apply(hpa(name, namespace=namespace)) for name in NAMES)
        await eventually(
            lambda: reading(kube, namespace),
            lambda count: count == COUNT,
            within_s=180,
            every_s=5.0,
            what="every HPA reads its decision",
        )
        changed_s = time.monotonic()
        adapter.write_settings(**settings(namespace, port, 2))
        await eventually(
            lambda: asked_for(kube, namespace, 2),
            lambda count: count == COUNT,
            within_s=240,
            every_s=2.0,
            what="every HPA has followed",
        )
        outcome.reaction_s = time.monotonic() - changed_s
        outcome.honoured = (COUNT, COUNT)
        events = path_of("Event", namespace=namespace)
        failed = await kube.get(f"{events}?fieldSelector=reason=FailedGetExternalMetric")
        outcome.failures = [each["message"] for each in failed["items"]]
        assert outcome.failures == []


def settings(namespace: str, port: int, least: int) -> dict[str, Any]:
    variants = [
        {
            "name": name,
            "namespace": namespace,
            "model": model_of(number),
            "accelerator": "H100",
            "min_replicas": least,
            "max_replicas": least,
            "endpoints": [f"http://127.0.0.1:{port}/{name}/metrics"],
        }
        for number, name in enumerate(NAMES)
    ]
    model = {"service_class": "chat", "profiles": {"H100": PROFILE}, "served_names": ["m"]}
    models = {model_of(number): model for number in range(COUNT)}
    quick = quick_settings(interval_s=5, max_decision_age_s=30, hold_s=30)
    scrape = {"interval_s": 5, "timeout_s": 3, "window_s": 20}
    return {**quick, "sources": {"scrape": scrape}, "models": models, "variants": variants}


def model_of(number: int) -> str:
    """Return the model of a variant: each has three."""
    return f"model-{number // 3}"


@contextlib.contextmanager
def one_engine_for_all(namespace: str, folder: Path) -> Iterator[int]:
    """Answer for every variant's engine with the page of an idle one; yield the port."""
    idle = Replica(name="e", variant=variant("e", namespace=namespace), created_s=0.0, ready_s=0.0)
    idle.state = ReplicaState.READY
    idle.advance(1.0)
    page, port = folder / "idle.prom", free_port()
    page.write_bytes(idle.metrics_page(unix_offset_s=time.time()))
    module = "tests.end_to_end.control_plane.one_page"
    command = [sys.executable, "-m", module, str(port), str(page)]
    engine = Daemon("engine", command, log=folder / "engine.log")
    engine.start()
    try:
        yield port
    finally:
        engine.stop()


async def each_deployment(kube: Kube, name: str, namespace: str) -> None:
    document = deployment(name, namespace=namespace)
    document["spec"]["paused"] = True
    await kube.apply(document)


async def in_turns(calls: Any) -> None:
    """Await calls, a few at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Any) -> None:
        async with gate:
            await call

    await asyncio.gather(*[one(call) for call in calls])


async def reading(kube: Kube, namespace: str) -> int:
    """Return how many HPAs have read the metric."""
    path = path_of("HorizontalPodAutoscaler", version="autoscaling/v2", namespace=namespace)
    active = {"type": "ScalingActive", "status": "True"}
    return sum(
        any(
            active.items() <= each.items() for each in found.get("status", {}).get("conditions", [])
        )
        for found in (await kube.get(path))["items"]
    )


async def asked_for(kube: Kube, namespace: str, count: int) -> int:
    """Return how many Deployments HPA has asked to have a count."""
    path = path_of("Deployment", version="apps/v1", namespace=namespace)
    return sum(each["spec"]["replicas"] == count for each in (await kube.get(path))["items"])
