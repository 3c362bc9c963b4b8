"""One scale target that isn't watched anyway, or whose replicas are the endpoints of a Service.

Whatever has the `/scale` subresource is a scale target to HPA, and to us: its kind is looked up
in the API's discovery, the object is read for its pod template, `/scale` for its counts and for
the selector of its pods. What was known before a fault stays known.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import KubeApiError, KubeError
from ..kube.fields import count_at, items_at, text_at
from ..kube.transport import KubeTransport
from ..kube.watch import Pace, Watched
from .declarations import Problem
from .endpoint_slices import Endpoint, pods_of, reduce_slice
from .pods import Pod, reduce_pod
from .workloads import WATCHED_KINDS, NamedTarget, Workload, reduce_workload

__all__ = ["FollowedTarget"]

logger = logging.getLogger(__name__)

FORBIDDEN, NOT_FOUND = 403, 404


class FollowedTarget:
    """One of them, kept in step.

    Attributes
    ----------
    workload : Workload or None
    pods : Watched or None
        By the selector of its scale.
    endpoints : Watched or None
        Of its Service.
    """

    def __init__(self, transport: KubeTransport, target: NamedTarget, pace: Pace) -> None:
        self._transport, self._target, self._pace = transport, target, pace
        self._path = ""
        self._selector = ""
        self._watching: asyncio.Task[None] | None = None
        self.workload: Workload | None = None
        self.pods: Watched[Pod] | None = None
        self.endpoints: Watched[tuple[Endpoint, ...]] | None = None
        self.problem = ""
        self.version = 0

    async def run(self) -> None:
        """Look again and again until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._target.service:
                self.endpoints = self._of_service()
                group.create_task(self.endpoints.run())
            while self._target.kind not in WATCHED_KINDS:
                await self._look(group)
                await asyncio.sleep(self._pace.look_s)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        problem = ""
        try:
            await self._read(group)
        except KubeApiError as exc:
            problem = self._refused(exc)
        except KubeError as exc:
            problem = str(exc)
        if problem and problem != self.problem:
            logger.warning("%s %s: %s", self._target.kind, self._target.name, problem)
        self.version += problem != self.problem
        self.problem = problem

    async def _read(self, group: asyncio.TaskGroup) -> None:
        path = self._path or await self._found()
        document = (await self._transport.call("GET", path)).document
        scale = (await self._transport.call("GET", f"{path}/scale")).document
        self._path = path
        workload = _workload(document, scale, self._target.kind)
        selector = text_at(scale, "status", "selector")
        if selector and selector != self._selector and not self._target.service:
            self._follow_pods(selector, group)
        self.version += workload != self.workload
        self.workload = workload

    async def _found(self) -> str:
        """Return the path of the target, by what the API says of its kind."""
        target = self._target
        base = f"/apis/{target.api_version}" if "/" in target.api_version else "/api/v1"
        found = (await self._transport.call("GET", base)).document
        resources = {text_at(each, "name"): each for each in items_at(found, "resources")}
        for name, each in resources.items():
            if text_at(each, "kind") == target.kind and f"{name}/scale" in resources:
                return f"{base}/namespaces/{target.namespace}/{name}/{target.name}"
        raise KubeError(
            f"{target.api_version} has no kind {target.kind} with the subresource scale, so that "
            "HPA can't scale it either; name another scaleTargetRef"
        )

    def _refused(self, exc: KubeApiError) -> str:
        target = self._target
        if exc.status == NOT_FOUND:
            self.version += self.workload is not None
            self.workload, self._path = None, ""  # its kind may have gone with it
            return f"its scale target {target.kind} {target.name} isn't there ({exc})"
        if exc.status == FORBIDDEN:
            return (
                f"its scale target can't be read: {exc}. The adapter's account needs get on "
                f"{target.kind} and its subresource scale: manifests/examples/"
                "cluster-role-scale-target.yaml gives it"
            )
        return str(exc)

    def _follow_pods(self, selector: str, group: asyncio.TaskGroup) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._selector = selector
        self.version += 1
        self.pods = Watched(
            self._transport,
            f"/api/v1/namespaces/{self._target.namespace}/pods",
            reduce=reduce_pod,
            pace=self._pace,
            query={"labelSelector": selector},
        )
        self._watching = group.create_task(self.pods.run())

    def _of_service(self) -> Watched[tuple[Endpoint, ...]]:
        return Watched(
            self._transport,
            f"/apis/discovery.k8s.io/v1/namespaces/{self._target.namespace}/endpointslices",
            reduce=reduce_slice,
            pace=self._pace,
            query={"labelSelector": f"kubernetes.io/service-name={self._target.service}"},
        )

    def replicas(self, known: Mapping[tuple[str, str], Pod]) -> tuple[Pod, ...] | None:
        """Return its pods, None where nothing says which they are."""
        owner = self._target.owner
        if self.endpoints is not None:
            slices = (self.endpoints.objects or {}).values()
            # A Service without any endpoint says nothing: its selector may miss the pods.
            return pods_of((one for each in slices for one in each), owner, known) or None
        if self.pods is None or self.pods.objects is None:
            return None
        return tuple(
            replace(pod, owner=owner) for pod in self.pods.objects.values() if not pod.leaving
        )

    def problems(self) -> list[Problem]:
        """Return what keeps its pods from being followed."""
        return [
            Problem(source=f"kubernetes {watched.path}", message=watched.problem)
            for watched in (self.pods, self.endpoints)
            if watched is not None and watched.problem
        ]

    def stamp(self) -> tuple[Any, ...]:
        """Return what changes when something does."""
        watched = [each for each in (self.pods, self.endpoints) if each is not None]
        return (self.version, *((each.version, each.problem) for each in watched))


def _workload(document: Mapping[str, Any], scale: Mapping[str, Any], kind: str) -> Workload | None:
    """Return a scale target with the counts that HPA reads and writes."""
    workload = reduce_workload(document, kind)
    wanted = count_at(scale, "spec", "replicas")
    if workload is None:
        return None
    return replace(
        workload,
        wanted=wanted if wanted is not None else workload.wanted,
        current=count_at(scale, "status", "replicas") or 0,
        ready=max(workload.ready, 0),
    )
