"""Runs the adapter's own pods as processes, and stands for kube-proxy in front of them.

What the manifests' pod template says is what is run: its arguments, environment, service
account, ConfigMap and probes. A pod's network is an address of its own on loopback, so the
hosts in its settings are set to that; ports stay.
"""

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from .cluster import ControlPlane
from .daemons import Daemon
from .kube_api import Kube, path_of
from .kubelet import POD_NETWORK

__all__ = ["API_PORT", "AdapterPods", "ServiceProxy"]

API_PORT = 8443
HEALTH_PORT = 8080
PROBE_S = 0.5
RESTART_S = 2.0


@dataclass(slots=True)
class _Pod:
    daemon: Daemon
    address: str
    grace_s: float
    ready: bool = False
    probing: asyncio.Task[None] | None = None
    killed_at_s: float = math.inf


@dataclass
class AdapterPods:
    """The container runtime of pods that the manifests label as the adapter."""

    plane: ControlPlane
    kube: Kube
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # beside what the pods say
    pods: dict[str, _Pod] = field(default_factory=dict)
    outlived: list[str] = field(default_factory=list)  # had to be killed after their grace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pod in self.pods.values():
            pod.daemon.kill()
            await _cancelled(pod.probing)

    def runs(self, pod: Mapping[str, Any]) -> bool:
        return pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "wva"

    async def start(self, pod: Mapping[str, Any], address: str) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        folder = self.folder / name
        volumes = await self._mounted(pod, folder, address)
        (container,) = pod["spec"]["containers"]
        arguments = [_moved(each, volumes) for each in container.get("args", [])]
        account = pod["spec"]["serviceAccountName"]
        token = await self.kube.token(account, namespace=namespace)
        kubeconfig = self.plane.authorities.kubeconfig_of_token(name, self.plane.url, token)
        environment = {
            "KUBECONFIG": str(kubeconfig),
            **self.environment,
            **_environment(pod, container, address),
        }
        daemon = Daemon(
            name,
            [sys.executable, "-m", "adapter", *arguments],
            log=self.folder / f"{name}.log",
            environment=environment,
        )
        daemon.start()
        running = _Pod(daemon, address, pod["spec"]["terminationGracePeriodSeconds"])
        running.probing = asyncio.create_task(_probe(running))
        self.pods[name] = running

    def ready(self, name: str) -> bool:
        return name in self.pods and self.pods[name].ready

    async def stop(self, name: str) -> bool:
        pod = self.pods.get(name)
        if pod is None:
            return True
        if pod.probing is not None:
            await _cancelled(pod.probing)
            pod.probing = None
            pod.killed_at_s = time.monotonic() + pod.grace_s
            if pod.daemon.running:
                pod.daemon.terminate()
        if time.monotonic() > pod.killed_at_s:
            self.outlived.append(name)
            pod.daemon.kill()
        if pod.daemon.running:
            return False
        del self.pods[name]
        return True

    def reconfigure(self, **changes: Any) -> None:
        """Change the settings that are mounted, as a kubelet does some time after a ConfigMap."""
        for name, pod in self.pods.items():
            path = self.folder / name / "settings" / "settings.yaml"
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
            path.write_text(_at(yaml.safe_dump(settings), pod.address), encoding="utf-8")

    async def _mounted(self, pod: Mapping[str, Any], folder: Path, address: str) -> dict[str, Path]:
        """Write a pod's volumes into a folder; return which path leads where."""
        (container,) = pod["spec"]["containers"]
        places: dict[str, Path] = {}
        for mount in container.get("volumeMounts", []):
            volume = next(v for v in pod["spec"]["volumes"] if v["name"] == mount["name"])
            place = folder / mount["name"]
            place.mkdir(parents=True)
            places[mount["mountPath"]] = place
            if "configMap" in volume:
                namespace = pod["metadata"]["namespace"]
                path = path_of("ConfigMap", volume["configMap"]["name"], namespace=namespace)
                data = (await self.kube.get(path)).get("data", {})
                for name, text in data.items():
                    (place / name).write_text(_at(text, address), encoding="utf-8")
        return places


@dataclass
class ServiceProxy:
    """Forwards connections to the adapter's pods, as kube-proxy does for its Service.

    At an address of its own and the port that the manifests' Service has, which only root
    may listen on.
    """

    pods: AdapterPods
    host: str = f"{POD_NETWORK}.255.1"
    port: int = 443
    _turn: int = 0

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._forward, self.host, self.port)
        except PermissionError:
            pytest.skip(f"port {self.port} of the Service needs root here")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Pods that are ready are a Service's endpoints; one that has gone has no address.
        running = [each for each in self.pods.pods.values() if each.ready and each.daemon.running]
        try:
            self._turn += 1
            pod = running[self._turn % len(running)]
            there = await asyncio.open_connection(pod.address, API_PORT)
        except (ZeroDivisionError, OSError):
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort() if reader.exception() else writer.close()


async def _probe(pod: _Pod) -> None:
    """Ask a pod's readiness as its manifest says."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while True:
            try:
                answer = await client.get(f"http://{pod.address}:{HEALTH_PORT}/readyz")
                pod.ready = answer.status_code == 200
            except httpx.HTTPError:
                pod.ready = False
                if not pod.daemon.running:  # restartPolicy: Always
                    await asyncio.sleep(RESTART_S)
                    pod.daemon.start()
            await asyncio.sleep(PROBE_S)


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _moved(argument: str, volumes: Mapping[str, Path]) -> str:
    for mounted, place in volumes.items():
        if argument.startswith(f"{mounted}/"):
            return str(place) + argument.removeprefix(mounted)
    return argument


def _environment(
    pod: Mapping[str, Any], container: Mapping[str, Any], address: str
) -> dict[str, str]:
    """Return a container's environment, with what the downward API knows of its pod."""
    metadata = pod["metadata"]
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "status.podIP": address,
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"]["serviceAccountName"],
    }
    values = {}
    for each in container.get("env", []):
        source = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        values[each["name"]] = known[source] if source else each.get("value", "")
    return values


def _at(text: str, address: str) -> str:
    """Return settings whose servers listen on a pod's own address."""
    settings = yaml.safe_load(text) or {}
    for section in ("api", "keda", "health"):
        settings[section] = {**settings.get(section, {}), "host": address}
    return yaml.safe_dump(settings)
