"""Everything that a scenario needs, put up and taken down: namespace, engines, kubelet, adapter."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.replica import Variant

from .adapter_process import AdapterProcess, quick_settings
from .cluster import ControlPlane
from .engines import FULL_RPS, PROFILE, Engines
from .kube_api import Kube, Kubectl, eventually, path_of
from .kubelet import Kubelet
from .load import Load
from .nodes import MachineRoom
from .objects import API_SERVICE, METRIC, deployment, hpa
from .witness import Witness

__all__ = [
    "APPS",
    "Stage",
    "World",
    "at_least_for",
    "cleared",
    "create_namespace",
    "enough_for",
    "new_namespace",
    "settings_of",
    "staged",
    "steady",
]

_NUMBERS = itertools.count(1)
APPS = {"version": "apps/v1"}
AUTOSCALING = {"version": "autoscaling/v2"}


@dataclass(frozen=True)
class World:
    """What all scenarios of a session share, with clients that belong to one."""

    plane: ControlPlane
    kube: Kube
    kubectl: Kubectl
    folder: Path


@dataclass
class Stage:
    """One scenario's things."""

    world: World
    namespace: str
    engines: Engines
    kubelet: Kubelet
    adapter: AdapterProcess
    witness: Witness

    @property
    def kube(self) -> Kube:
        return self.world.kube

    async def follow(self, **more: Any) -> None:
        """Create the HPAs, after the first decision on what the settings declare.

        So they never ask before there is an answer; other variants are found by their HPAs.
        """
        declared = {each["name"] for each in self.adapter.settings["variants"]}
        for name in self.witness.variants:
            await eventually(
                self.adapter.figures,
                lambda figures, name=name: name in figures or name not in declared,
                within_s=30,
                what=f"a first decision on {name}",
            )
            await self.kube.apply(hpa(name, namespace=self.namespace, **more))

    async def replicas(self, variant: str, count: int, *, within_s: float = 30.0) -> None:
        """Wait until a Deployment is asked to have so many replicas, and has them ready."""
        path = path_of("Deployment", variant, namespace=self.namespace, **APPS)
        await eventually(
            lambda: self.kube.get(path),
            lambda found: (
                (found["spec"]["replicas"], found["status"].get("readyReplicas", 0))
                == (count, count)
            ),
            within_s=within_s,
            what=f"{variant} has {count} ready replicas",
        )

    async def carries(
        self, variant: str, enough: Callable[[int], bool], *, within_s: float = 30.0
    ) -> None:
        """Wait until a Deployment has enough ready; a backlog may ask for more in passing."""
        path = path_of("Deployment", variant, namespace=self.namespace, **APPS)
        await eventually(
            lambda: self.kube.get(path),
            lambda found: enough(found["status"].get("readyReplicas", 0)),
            within_s=within_s,
            what=f"{variant} has enough ready replicas",
        )

    async def hpa(self, variant: str) -> dict[str, Any]:
        path = path_of("HorizontalPodAutoscaler", variant, namespace=self.namespace, **AUTOSCALING)
        return await self.kube.get(path)

    async def condition(self, variant: str, kind: str) -> Mapping[str, str]:
        """Return a condition of a variant's HPA; empty while it has none."""
        conditions = (await self.hpa(variant)).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {})

    async def until_condition(
        self, variant: str, kind: str, holds: Any, *, within_s: float, what: str
    ) -> Mapping[str, str]:
        return await eventually(
            lambda: self.condition(variant, kind), holds, within_s=within_s, what=what
        )

    async def decision(self, variant: str, count: int, *, within_s: float = 30.0) -> None:
        """Wait until the adapter serves a count."""

        async def served() -> float | None:
            return (await self.adapter.figures()).get(variant)

        await eventually(
            served, lambda value: value == count, within_s=within_s, what=f"{variant}: {count}"
        )

    async def settled(
        self,
        variant: str,
        holds: Callable[[int], bool] = lambda _: True,
        *,
        within_s: float = 60.0,
        tolerance: float = 0.0,
    ) -> int:
        """Return the decision once it holds, has stood for seconds, and HPA has followed it.

        With a tolerance HPA has followed when it sees no reason to move.
        """
        loop, seen = asyncio.get_running_loop(), self.witness
        deadline, since, count = loop.time() + within_s, loop.time(), -1

        def followed() -> bool:
            there = seen.replicas(variant)
            return abs(count - there) <= tolerance * there + 1e-9

        while loop.time() - since < 4.0 or not holds(count) or not followed():
            assert loop.time() < deadline, (
                f"never settled: decided {seen.decided[-5:]}, scaled {seen.scaled[-5:]}"
            )
            if seen.decision(variant) != count:
                since, count = loop.time(), seen.decision(variant)
            await asyncio.sleep(0.2)
        return count

    async def metric(self, metric: str = METRIC) -> dict[str, Any]:
        """Read a metric as HPA does, through the API server."""
        base = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
        return await self.kube.get(f"{base}/{self.namespace}/{metric}")

    async def measure(
        self, outcome: Any, *, after_s: float | None = None, variant: str = ""
    ) -> None:
        """Write down what the witness saw."""
        outcome.honoured = self.witness.honoured(self.world.plane.hpa_sync_s)
        outcome.failures = await self.witness.failures()
        if after_s is not None:
            outcome.reaction_s = self.witness.first_change_s(variant, after_s=after_s)


def enough_for(rate_rps: float) -> Callable[[int], bool]:
    """Return whether a count fits a load of `ENGINE`: not overloaded, not idle by half."""
    return lambda count: rate_rps / FULL_RPS <= count <= rate_rps / (0.5 * FULL_RPS) + 1


def at_least_for(rate_rps: float) -> Callable[[int], bool]:
    """Return whether a count carries a load; for variants whose cold start isn't known yet.

    They keep what a surge asked for as long as a cold start may take.
    """
    return lambda count: count >= rate_rps / FULL_RPS


async def steady(stage: Stage, rate_rps: float, *, variant: str = "chat") -> int:
    """Bring a variant to what a load needs; return the count that it came to."""
    stage.engines.set_rate(rate_rps)
    count = await stage.settled(variant, enough_for(rate_rps))
    await stage.replicas(variant, count)
    return count


async def follows_up_and_down(stage: Stage, outcome: Any) -> None:
    """Let a load rise and fall: every decision that stands is followed, and no read fails."""
    changed_s = stage.engines.set_rate(14.0)
    up = await stage.settled("chat", enough_for(14.0))
    await stage.carries("chat", enough_for(14.0))
    down = await steady(stage, 2.0)
    assert down < up
    await stage.measure(outcome, after_s=changed_s, variant="chat")
    followed, made = outcome.honoured or (0, 0)
    assert followed == made > 0
    assert outcome.failures == []


def settings_of(
    variants: Sequence[Variant], engines: Engines, /, *, most: int = 20, least: int = 1, **more: Any
) -> dict[str, Any]:
    """Return settings that name the variants and find their engines over HTTP."""
    settings = quick_settings()
    settings["sources"] = {
        **settings["sources"],
        "discovery": {"url": engines.targets_url, "timeout_s": 1},
    }
    settings["models"] = {
        each.model: {"service_class": "chat", "profiles": {each.accelerator: PROFILE}}
        for each in variants
    }
    settings["variants"] = [
        {
            "name": each.name,
            "namespace": each.namespace,
            "model": each.model,
            "accelerator": each.accelerator,
            "min_replicas": least,
            "max_replicas": most,
            "cold_start_s": each.cold_start_s,
        }
        for each in variants
    ]
    return {**settings, **more}


@contextlib.asynccontextmanager
async def staged(
    world: World,
    variants: Sequence[Variant],
    *,
    settings: Mapping[str, Any] | None = None,
    replicas: int = 1,
    behavior: dict[str, Any] | None = None,
    least: int = 1,
    most: int = 20,
    room: MachineRoom | None = None,
    reads: bool = True,
) -> AsyncIterator[Stage]:
    """Put up the variants with their Deployments and HPAs, and an adapter that knows them.

    Without `reads` the adapter isn't started and nobody follows it: the caller changes its
    settings first.
    """
    kube, namespace = world.kube, variants[0].namespace
    loads = {each.model: Load() for each in variants}
    await create_namespace(kube, namespace)
    async with contextlib.AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines(variants, loads))
        kubelet = Kubelet(kube, [engines], [namespace], room=room or MachineRoom())
        for each in variants:
            await kube.apply(deployment(each.name, namespace=namespace, replicas=replicas))
        stack.push_async_callback(cleared, kube, namespace)
        await stack.enter_async_context(kubelet)
        own = settings_of(variants, engines, least=least, most=most, **(settings or {}))
        adapter = AdapterProcess(world.plane, kube, world.folder, own)
        stack.push_async_callback(adapter.stop)
        witness = Witness(kube, adapter, namespace, [each.name for each in variants])
        await stack.enter_async_context(witness)
        stage = Stage(world, namespace, engines, kubelet, adapter, witness)
        if reads:
            await adapter.start()
            await stage.follow(behavior=behavior, most=most)
        yield stage


def new_namespace() -> str:
    return f"e2e-{next(_NUMBERS)}"


async def create_namespace(kube: Kube, namespace: str) -> None:
    """Create a namespace, and in it a service account that may read decisions."""
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    metadata = {"name": "reader", "namespace": namespace}
    await kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["list", "get"]}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    subject = {"kind": "ServiceAccount", **metadata}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
        "subjects": [subject],
    }
    await kube.apply(role)
    await kube.apply(binding)


async def cleared(kube: Kube, namespace: str) -> None:
    """Remove the APIService first (namespaces hang on one that is down), then the rest."""
    await kube.delete(path_of("APIService", API_SERVICE, version="apiregistration.k8s.io/v1"))
    await kube.delete(path_of("Service", "wva", namespace="wva-system"))
    for kind, version in (
        ("HorizontalPodAutoscaler", "autoscaling/v2"),
        ("Deployment", "apps/v1"),
        ("ReplicaSet", "apps/v1"),
        ("Pod", "v1"),
    ):
        path = path_of(kind, version=version, namespace=namespace)
        await kube.delete(path, gracePeriodSeconds=0)
    await kube.delete(path_of("Namespace", namespace))
