"""Plays the scheduler and the kubelets: binds pods, runs what is in them, reports, deletes.

Everything goes through the API as theirs does: the binding subresource, the status
subresource, and a last DELETE without grace once a container has ended.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import httpx

from .kube_api import Kube, path_of
from .looking import Looking
from .nodes import MachineRoom

__all__ = ["POD_NETWORK", "Kubelet", "Runtime"]

LOOK_S = 0.15
# Pods have addresses of loopback, one each; other runs on this machine have another network.
POD_NETWORK = f"127.{10 + os.getpid() % 200}"
_ADDRESSES = (f"{POD_NETWORK}.{high}.{low}" for high in range(255) for low in range(1, 255))


class Runtime(Protocol):
    """What runs containers."""

    def runs(self, pod: Mapping[str, Any]) -> bool: ...

    async def start(self, pod: Mapping[str, Any], address: str) -> None: ...

    def ready(self, name: str) -> bool: ...

    async def stop(self, name: str) -> bool: ...


@dataclass
class Kubelet:
    """Runs the pods of some namespaces in runtimes; pods that no runtime knows stay pending."""

    kube: Kube
    runtimes: Sequence[Runtime]
    namespaces: Sequence[str]
    room: MachineRoom = field(default_factory=MachineRoom)
    crashing: set[str] = field(default_factory=set)  # variants whose container never stays up
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._addresses = itertools.islice(_ADDRESSES, 60_000)
        self._said: dict[str, Any] = {}
        self._looking = Looking(self._look, every_s=LOOK_S)

    async def __aenter__(self) -> Self:
        for node in self.room.nodes:
            await self.kube.apply(node.manifest())
            await self.kube.patch(path_of("Node", node.name) + "/status", node.status())
        self._looking.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._looking.stop()
        for node in self.room.nodes:
            await self.kube.delete(path_of("Node", node.name))

    async def _look(self) -> None:
        try:
            await self._tend_all()
        except (httpx.HTTPError, AssertionError) as exc:
            # The API server may be away, or somebody else was faster: look again.
            self.problems.append(str(exc))

    async def _tend_all(self) -> None:
        pods = [
            pod
            for namespace in self.namespaces
            for pod in (await self.kube.get(path_of("Pod", namespace=namespace)))["items"]
        ]
        for pod in pods:
            runtime = next((each for each in self.runtimes if each.runs(pod)), None)
            if runtime is not None:
                await self._tend(pod, runtime, pods)

    async def _tend(
        self, pod: Mapping[str, Any], runtime: Runtime, pods: Sequence[Mapping[str, Any]]
    ) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        name = metadata["name"]
        path = path_of("Pod", name, namespace=metadata["namespace"])
        if "deletionTimestamp" in metadata:
            if await runtime.stop(name):
                await self.kube.delete(path, gracePeriodSeconds=0)
        elif "nodeName" not in spec:
            await self._bind(pod, path, pods)
        elif any(value in self.crashing for value in metadata.get("labels", {}).values()):
            await self._report(pod, path, ready=False, crashing=True)
        elif "podIP" not in pod.get("status", {}):
            await runtime.start(pod, address := next(self._addresses))
            await self._report(pod, path, ready=False, address=address)
        elif runtime.ready(name):
            await self._report(pod, path, ready=True)

    async def _bind(
        self, pod: Mapping[str, Any], path: str, pods: Sequence[Mapping[str, Any]]
    ) -> None:
        node = self.room.place(pod, pods)
        if node is None:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
            change = {"status": {"conditions": [{**condition, "message": message}]}}
            await self._say(pod, path, change)
            return
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self.kube.call("POST", f"{path}/binding", binding)
        pod["spec"]["nodeName"] = node  # counted for the next pod of this look

    async def _report(
        self,
        pod: Mapping[str, Any],
        path: str,
        *,
        ready: bool,
        address: str | None = None,
        crashing: bool = False,
    ) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = "True" if ready else "False"
        states = {
            "PodScheduled": "True",
            "Initialized": "True",
            "ContainersReady": told,
            "Ready": told,
        }
        state: dict[str, Any] = {"running": {"startedAt": now}}
        if crashing:
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
        containers = [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": "",
                "ready": ready,
                "started": ready,
                "restartCount": 4 if crashing else 0,
                "state": state,
            }
            for each in pod["spec"]["containers"]
        ]
        status: dict[str, Any] = {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": value, "lastTransitionTime": now}
                for kind, value in states.items()
            ],
            "containerStatuses": containers,
        }
        if address is not None:
            status |= {"podIP": address, "podIPs": [{"ip": address}], "startTime": now}
        await self._say(pod, path, {"status": status}, key=(ready, address, crashing))

    async def _say(
        self, pod: Mapping[str, Any], path: str, change: Mapping[str, Any], *, key: Any = "waits"
    ) -> None:
        """Patch a pod's status once for each thing that there is to say."""
        uid = pod["metadata"]["uid"]
        if self._said.get(uid) != key:
            await self.kube.patch(f"{path}/status", change)
            self._said[uid] = key
