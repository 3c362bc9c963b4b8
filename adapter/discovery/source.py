"""The cluster's objects, kept in step: one list and watch per kind and namespace.

Kinds that the API server doesn't have are none; kinds that may not be read are told of, and
what doesn't need them goes on. What was known before a fault stays known.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..config import KubernetesSettings
from ..kube.transport import KubeTransport
from ..kube.watch import Pace, Watched
from .autoscalers import Hpa, ScaledObject, reduce_hpa, reduce_scaled_object
from .declarations import Problem, VariantAutoscaling, reduce_variant
from .named_targets import NamedTargets
from .nodes import Node, Quota, reduce_node, reduce_quota
from .pods import Owner, Pod, reduce_pod
from .view import ClusterView
from .workloads import NamedTarget, Workload, reduce_workload

__all__ = ["ClusterSource", "cluster_source"]

logger = logging.getLogger(__name__)

FIRST_S = 10.0
_APPS = "/apis/apps/v1"
_GROUPS = "/apis/leaderworkerset.x-k8s.io/v1"
_RUNNING = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
# What each kind is needed for, as a fault tells it.
_NEEDED_FOR = {
    "hpas": "variants annotated on HPAs, and HPAs' limits, aren't known",
    "scaled_objects": "variants annotated on ScaledObjects aren't known",
    "variants": "variants declared as VariantAutoscaling aren't known",
    "deployments": "Deployments' replicas and templates aren't known",
    "stateful_sets": "StatefulSets' replicas and templates aren't known",
    "groups": "LeaderWorkerSets' replicas and templates aren't known",
    "pods": "engines can't be found: nothing is read of them",
    "nodes": "accelerators are taken as unlimited, their types from pod templates alone",
    "quotas": "namespaces' quotas of accelerators aren't known: none is assumed",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    base: str
    resource: str
    reduce: Callable[[Mapping[str, Any]], Any]
    query: Mapping[str, str] | None = None
    namespaced: bool = True

    def paths(self, namespaces: Sequence[str]) -> list[str]:
        if not namespaces or not self.namespaced:
            return [f"{self.base}/{self.resource}"]
        return [f"{self.base}/namespaces/{each}/{self.resource}" for each in namespaces]


def _workloads(kind: str) -> Callable[[Mapping[str, Any]], Workload | None]:
    return partial(reduce_workload, kind=kind)


_WORKLOADS = {
    "deployments": "Deployment",
    "stateful_sets": "StatefulSet",
    "groups": "LeaderWorkerSet",
}
_KINDS = (
    _Kind("hpas", "/apis/autoscaling/v2", "horizontalpodautoscalers", reduce_hpa),
    _Kind("scaled_objects", "/apis/keda.sh/v1alpha1", "scaledobjects", reduce_scaled_object),
    _Kind("variants", "/apis/llmd.ai/v1alpha1", "variantautoscalings", reduce_variant),
    _Kind("deployments", _APPS, "deployments", _workloads("Deployment")),
    _Kind("stateful_sets", _APPS, "statefulsets", _workloads("StatefulSet")),
    _Kind("groups", _GROUPS, "leaderworkersets", _workloads("LeaderWorkerSet")),
    _Kind("pods", "/api/v1", "pods", reduce_pod, _RUNNING),
    _Kind("nodes", "/api/v1", "nodes", reduce_node, namespaced=False),
    _Kind("quotas", "/api/v1", "resourcequotas", reduce_quota),
)


class ClusterSource:
    """Watches, and the view that they make.

    Parameters
    ----------
    transport : KubeTransport
    settings : KubernetesSettings
    pace : Pace
        Of all watches.
    """

    def __init__(
        self, transport: KubeTransport, settings: KubernetesSettings, *, pace: Pace
    ) -> None:
        self._sets: dict[str, list[Watched[Any]]] = {
            kind.name: [
                Watched(transport, path, reduce=kind.reduce, pace=pace, query=kind.query)
                for path in kind.paths(settings.namespaces)
            ]
            for kind in _KINDS
        }
        self._named = NamedTargets(transport, pace=pace)
        self._stamp: tuple[Any, ...] = ()
        self._view = ClusterView(workloads={})

    async def run(self) -> None:
        """Keep everything in step until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watched in self._all():
                group.create_task(watched.run())
            group.create_task(self._named.run())

    def want(self, targets: frozenset[NamedTarget]) -> None:
        """Follow these scale targets and Services as well, and no others of their kinds."""
        self._named.want(targets)

    async def first(self, timeout_s: float = FIRST_S) -> None:
        """Wait until everything has been asked for once, well or not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for watched in self._all():
                    await watched.tried.wait()

    def view(self) -> ClusterView:
        """Return the cluster as it is known now: the same object until something changes."""
        watched = tuple((watched.version, watched.problem) for watched in self._all())
        stamp = (watched, self._named.stamp())
        if stamp != self._stamp:
            self._stamp = stamp
            self._view = self._look(self._view.version + 1)
        return self._view

    def _all(self) -> list[Watched[Any]]:
        return [watched for sets in self._sets.values() for watched in sets]

    def _look(self, version: int) -> ClusterView:
        workloads: dict[tuple[str, Owner], Workload] = self._named.workloads()
        for name in _WORKLOADS:
            for each in self._known(name) or ():
                workloads[(each.namespace, each.owner)] = each
        hpas: tuple[Hpa, ...] = self._known("hpas") or ()
        scaled: tuple[ScaledObject, ...] = self._known("scaled_objects") or ()
        variants: tuple[VariantAutoscaling, ...] = self._known("variants") or ()
        pods: tuple[Pod, ...] | None = self._known("pods")
        nodes: tuple[Node, ...] | None = self._known("nodes")
        quotas: tuple[Quota, ...] | None = self._known("quotas")
        return ClusterView(
            version=version,
            hpas=hpas,
            scaled_objects=scaled,
            variants=variants,
            workloads=workloads,
            listed=frozenset(kind for name, kind in _WORKLOADS.items() if self._may_list(name)),
            unread=self._named.faults(),
            placed=self._named.pods({(pod.namespace, pod.name): pod for pod in pods or ()}),
            pods=pods,
            nodes=nodes,
            quotas=quotas,
            problems=tuple(self._problems()),
        )

    def _known(self, name: str) -> tuple[Any, ...] | None:
        """Return the objects of a kind, None if none of its lists was ever read."""
        lists = [each.objects for each in self._sets[name] if each.objects is not None]
        return tuple(one for objects in lists for one in objects.values()) if lists else None

    def _may_list(self, name: str) -> bool:
        """Return whether a workload that isn't known isn't there."""
        return all(each.objects is not None or each.absent for each in self._sets[name])

    def _problems(self) -> list[Problem]:
        told = [
            Problem(source=f"kubernetes {each.path}", message=_consequence(name, each))
            for name, sets in self._sets.items()
            for each in sets
            if each.problem and not each.absent
        ]
        return [*told, *self._named.problems()]


def _consequence(name: str, watched: Watched[Any]) -> str:
    then = _NEEDED_FOR[name] if watched.objects is None else "what was known stands"
    return f"{watched.problem}; {then}"


@asynccontextmanager
async def cluster_source(
    transport: KubeTransport, settings: KubernetesSettings, *, pace: Pace
) -> AsyncIterator[ClusterSource]:
    """Give a source whose first lists have been asked for; it ends with the block."""
    source = ClusterSource(transport, settings, pace=pace)
    running = asyncio.create_task(source.run())
    try:
        await source.first()
        yield source
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
