"""The adapter as its manifests install it: `make install`, pods that run, a Service in front."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from simulator.replica import Variant

from .access import ROOT, install_access
from .adapter_pods import AdapterPods, ServiceProxy
from .engines import Engines
from .kube_api import Kube, eventually, path_of
from .kubelet import Kubelet
from .load import Load
from .nodes import MachineRoom
from .objects import API_SERVICE, METRIC, deployment, external_name, hpa
from .stage import World, settings_of

__all__ = ["SYSTEM", "Installed", "installed", "make", "removed"]

SYSTEM = "wva-system"
APPS = {"version": "apps/v1"}
AUTOSCALING = {"version": "autoscaling/v2"}
API_SERVICES = {"version": "apiregistration.k8s.io/v1"}


@dataclass
class Installed:
    """An installation and what it looks after."""

    world: World
    namespace: str
    engines: Engines
    kubelet: Kubelet
    pods: AdapterPods
    proxy: ServiceProxy

    @property
    def kube(self) -> Kube:
        return self.world.kube

    async def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the settings as people do, and bring up pods that have them."""
        path = path_of("ConfigMap", "wva-settings", namespace=SYSTEM)
        base = yaml.safe_load((await self.kube.get(path))["data"]["settings.yaml"])
        text = yaml.safe_dump({**base, **settings})
        await self.kube.patch(path, {"data": {"settings.yaml": text}})
        await self.rollout("restart")
        await self.rollout("status", "--timeout=120s")

    async def rollout(self, *what: str) -> None:
        verb, *more = what
        done = await self.world.kubectl(
            "rollout", verb, "deployment/wva", "-n", SYSTEM, *more, within_s=150
        )
        assert done.code == 0, done.out + done.error

    async def scaled(self, variant: str, count: int, *, within_s: float = 60.0) -> None:
        """Wait until HPA has asked for a count."""
        path = path_of("Deployment", variant, namespace=self.namespace, **APPS)
        await eventually(
            lambda: self.kube.get(path),
            lambda found: found["spec"]["replicas"] == count,
            within_s=within_s,
            what=f"{variant} is asked to have {count}",
        )

    async def replicas(self, variant: str) -> int:
        path = path_of("Deployment", variant, namespace=self.namespace, **APPS)
        return int((await self.kube.get(path))["spec"]["replicas"])

    async def decided(self, variant: str) -> bool:
        """Return whether there is a decision, as HPA would read it."""
        base = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
        query = f"?labelSelector=variant_name%3D{variant}"
        path = f"{base}/{self.namespace}/{METRIC}{query}"
        return (await self.kube.client.get(path)).status_code == 200

    async def available(self, *, within_s: float = 60.0) -> None:
        await eventually(
            lambda: api_service_condition(self.kube),
            lambda condition: condition.get("status") == "True",
            within_s=within_s,
            what="the APIService is Available",
        )

    async def failures(self) -> list[str]:
        path = path_of("Event", namespace=self.namespace)
        query = "?fieldSelector=reason=FailedGetExternalMetric"
        events = (await self.kube.get(path + query))["items"]
        return [each["message"] for each in events for _ in range(each.get("count") or 1)]

    async def follow(self, variants: Sequence[Variant], **more: Any) -> None:
        """Create the HPAs, once whoever is asked has a decision on each."""
        await self.available()
        for each in variants:
            answers: list[bool] = []

            async def answered(name: str = each.name, answers: list[bool] = answers) -> list[bool]:
                answers.append(await self.decided(name))
                return answers[-4:]

            await eventually(
                answered,
                lambda last: len(last) == 4 and all(last),
                within_s=60,
                every_s=0.5,
                what=f"every replica has a decision on {each.name}",
            )
        for each in variants:
            await self.kube.apply(hpa(each.name, namespace=self.namespace, **more))


async def api_service_condition(kube: Kube) -> Mapping[str, Any]:
    found = await kube.find(path_of("APIService", API_SERVICE, **API_SERVICES))
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Available"), {})


@contextlib.asynccontextmanager
async def installed(
    world: World,
    variants: Sequence[Variant],
    *,
    replicas: int = 1,
    least: int = 1,
    room: MachineRoom | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Installed]:
    """Install with `make`, give the adapter its variants, and take everything away again."""
    kube, namespace = world.kube, variants[0].namespace
    await make(world, "uninstall")
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    loads = {each.model: Load() for each in variants}
    async with contextlib.AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines(variants, loads))
        pods = await stack.enter_async_context(AdapterPods(world.plane, kube, world.folder))
        stack.push_async_callback(_released, world, namespace)
        kubelet = Kubelet(kube, [engines, pods], [namespace, SYSTEM], room=room or MachineRoom())
        await stack.enter_async_context(kubelet)
        for each in variants:
            await kube.apply(deployment(each.name, namespace=namespace))
        done = await make(world, "install", "IMAGE=registry.example/wva:1")
        assert 'deployment "wva" successfully rolled out' in done
        proxy = await stack.enter_async_context(ServiceProxy(pods))
        await kube.delete(path_of("Service", "wva", namespace=SYSTEM))
        await kube.apply(external_name(host=proxy.host, port=proxy.port))
        stage = Installed(world, namespace, engines, kubelet, pods, proxy)
        scale = path_of("Deployment", "wva", namespace=SYSTEM, **APPS)
        await kube.patch(scale, {"spec": {"replicas": replicas}})
        await stage.configure(settings_of(variants, engines, least=least, **(settings or {})))
        yield stage


async def make(world: World, target: str, *variables: str) -> str:
    """Run a target of the Makefile against this cluster; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "make",
        "--no-print-directory",
        f"--directory={ROOT}",
        target,
        f"KUBECTL={world.plane.programs / 'kubectl'}",
        "ROLLOUT_TIMEOUT=90s",
        *variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(world.plane.admin_kubeconfig)},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def removed(
    world: World,
    namespace: str,
    *variables: str,
    autoscaler: str = "HorizontalPodAutoscaler",
    version: str = AUTOSCALING["version"],
) -> None:
    """Uninstall, and leave a cluster in which other scenarios run the adapter themselves."""
    kube = world.kube
    for kind, api, where in (
        (autoscaler, version, namespace),
        ("Deployment", "apps/v1", namespace),
        ("Deployment", "apps/v1", SYSTEM),
        ("ReplicaSet", "apps/v1", SYSTEM),
        ("ReplicaSet", "apps/v1", namespace),
        ("Pod", "v1", SYSTEM),
        ("Pod", "v1", namespace),
    ):
        await kube.delete(path_of(kind, version=api, namespace=where), gracePeriodSeconds=0)
    await kube.delete(path_of("Namespace", namespace))
    await make(world, "uninstall", *variables)
    await eventually(
        lambda: kube.find(path_of("Namespace", SYSTEM)),
        lambda found: found is None,
        within_s=60,
        what=f"the namespace {SYSTEM} is gone",
    )
    await asyncio.to_thread(install_access, world.plane)


async def _released(world: World, namespace: str) -> None:
    """Remove the APIService first: namespaces hang on one that is down."""
    await world.kube.delete(path_of("APIService", API_SERVICE, **API_SERVICES))
    await removed(world, namespace)
