"""Pods as replicas: whose they are, whether they serve, and what keeps those that don't. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..kube.fields import count_at, instant_s, items_at, mapping_at, text_at
from .accelerator_requests import requested
from .engine_ports import metrics_url

__all__ = ["LWS_NAME", "Owner", "Pod", "Stuck", "reduce_pod"]

LWS_NAME = "leaderworkerset.sigs.k8s.io/name"
_LWS_WORKER = "leaderworkerset.sigs.k8s.io/worker-index"
_LWS_GROUP = "leaderworkerset.sigs.k8s.io/group-index"
_TEMPLATE_HASH = "pod-template-hash"
# Times are whole seconds there. A start beyond the longest is a readiness that came and went.
SHORTEST_START_S, LONGEST_START_S = 1.0, 3600.0
# The phases of pods that are over.
_OVER = frozenset({"Succeeded", "Failed"})
_CRASHING = frozenset({"CrashLoopBackOff", "CreateContainerError", "RunContainerError"})
_UNPULLABLE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName"})

Owner = tuple[str, str]  # kind and name, in the pod's namespace


class Stuck(StrEnum):
    """Why a pod will not serve soon."""

    NOT = ""
    STOCKOUT = "stockout"  # no node has room for it
    CRASH_LOOP = "crashloop"
    IMAGE = "imagepull"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What is kept of a pod."""

    namespace: str
    name: str
    owner: Owner
    group: str  # of a LeaderWorkerSet: which group it is in
    leader: bool  # everybody, but for the workers of a LeaderWorkerSet
    node: str
    ready: bool
    leaving: bool
    stuck: Stuck
    url: str  # "" without an address
    took_s: float | None  # from its creation until it was ready; None: not ready, or no telling
    accelerators: tuple[str, int]  # resource and count
    template: str  # what its owner calls the version of its template


def reduce_pod(document: Mapping[str, Any]) -> Pod | None:
    """Return what is kept of a pod, None for one that is over."""
    metadata, status = mapping_at(document, "metadata"), mapping_at(document, "status")
    if text_at(status, "phase") in _OVER:
        return None
    labels = mapping_at(metadata, "labels")
    address = text_at(status, "podIP")
    name = text_at(metadata, "name")
    return Pod(
        namespace=text_at(metadata, "namespace"),
        name=name,
        owner=_owner(metadata, labels),
        group=text_at(labels, _LWS_GROUP) if text_at(labels, LWS_NAME) else name,
        leader=text_at(labels, _LWS_WORKER) in {"", "0"},
        node=text_at(document, "spec", "nodeName"),
        ready=_condition(status, "Ready")[0] == "True",
        leaving="deletionTimestamp" in metadata,
        stuck=_stuck(status),
        url=metrics_url(document, address) if address else "",
        took_s=_took_s(metadata, status),
        accelerators=requested(mapping_at(document, "spec")),
        template=text_at(labels, _TEMPLATE_HASH) or text_at(labels, "controller-revision-hash"),
    )


def _took_s(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> float | None:
    """Return how long a pod took to start. [s]

    Its condition says when it last became ready, which is the start only where it hasn't been
    unready since: where a container has restarted, or that would be longer than any start, it
    says nothing.
    """
    restarts = (
        count_at(each, "restartCount") or 0
        for part in ("initContainerStatuses", "containerStatuses")
        for each in items_at(status, part)
    )
    ready = next((c for c in items_at(status, "conditions") if text_at(c, "type") == "Ready"), {})
    if text_at(ready, "status") != "True" or any(restarts):
        return None
    created_s = instant_s(text_at(metadata, "creationTimestamp"))
    since_s = instant_s(text_at(ready, "lastTransitionTime"))
    if created_s is None or since_s is None or not 0 <= since_s - created_s <= LONGEST_START_S:
        return None
    return max(since_s - created_s, SHORTEST_START_S)


def _owner(metadata: Mapping[str, Any], labels: Mapping[str, Any]) -> Owner:
    """Return who scales the pod.

    A Deployment names its ReplicaSets after itself and the template's hash, so that who owns
    a pod can be told without watching ReplicaSets.
    """
    if name := text_at(labels, LWS_NAME):
        return ("LeaderWorkerSet", name)
    for reference in items_at(metadata, "ownerReferences"):
        if reference.get("controller") is True:
            kind, name = text_at(reference, "kind"), text_at(reference, "name")
            ending = f"-{text_at(labels, _TEMPLATE_HASH)}"
            if kind == "ReplicaSet" and len(ending) > 1 and name.endswith(ending):
                return ("Deployment", name.removesuffix(ending))
            return (kind, name)
    return ("", "")


def _condition(status: Mapping[str, Any], kind: str) -> tuple[str, str]:
    for condition in items_at(status, "conditions"):
        if text_at(condition, "type") == kind:
            return text_at(condition, "status"), text_at(condition, "reason")
    return "", ""


def _stuck(status: Mapping[str, Any]) -> Stuck:
    if _condition(status, "PodScheduled") == ("False", "Unschedulable"):
        return Stuck.STOCKOUT
    for part in ("initContainerStatuses", "containerStatuses"):
        for container in items_at(status, part):
            reason = text_at(container, "state", "waiting", "reason")
            if reason in _CRASHING:
                return Stuck.CRASH_LOOP
            if reason in _UNPULLABLE:
                return Stuck.IMAGE
    return Stuck.NOT
