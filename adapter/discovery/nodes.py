"""Accelerators that nodes have and quotas allow. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..accelerators import common_name
from ..kube.fields import items_at, mapping_at, quantity, text_at
from .accelerator_requests import ACCELERATOR_LABELS, is_accelerator
from .pods import Pod

__all__ = [
    "Node",
    "Quota",
    "free_accelerators",
    "reduce_node",
    "reduce_quota",
    "types_by_node",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is kept of a node with accelerators."""

    name: str
    accelerator: str
    allocatable: int
    usable: bool  # not cordoned, and ready
    cordoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many accelerators a namespace may ask for, and does, by resource."""

    namespace: str
    bounds: tuple[tuple[str, int, int], ...]  # resource, hard, used


def reduce_node(document: Mapping[str, Any]) -> Node | None:
    """Return what is kept of a node, None for one without accelerators."""
    counts = {
        name: number
        for name, value in mapping_at(document, "status", "allocatable").items()
        if is_accelerator(name) and (number := quantity(value)) is not None and number >= 1
    }
    if not counts:
        return None
    resource = max(counts, key=lambda name: counts[name])
    labels = mapping_at(document, "metadata", "labels")
    told = next((value for key in ACCELERATOR_LABELS if (value := text_at(labels, key))), "")
    ready = any(
        text_at(condition, "type") == "Ready" and text_at(condition, "status") == "True"
        for condition in items_at(document, "status", "conditions")
    )
    cordoned = mapping_at(document, "spec").get("unschedulable") is True
    return Node(
        name=text_at(document, "metadata", "name"),
        accelerator=common_name(told) if told else resource,
        allocatable=int(counts[resource]),
        usable=ready and not cordoned,
        cordoned=cordoned,
    )


def reduce_quota(document: Mapping[str, Any]) -> Quota | None:
    """Return what is kept of a ResourceQuota, None for one that bounds no accelerator.

    Extended resources are bounded by their requests alone. A quota with scopes is for some
    pods of the namespace, and left out.
    """
    spec = mapping_at(document, "spec")
    if spec.get("scopes") or spec.get("scopeSelector"):
        return None
    hard = mapping_at(document, "status", "hard") or mapping_at(spec, "hard")
    used = mapping_at(document, "status", "used")
    bounds = tuple(
        (resource, int(number), int(quantity(used.get(key, 0)) or 0))
        for key, value in hard.items()
        if key != (resource := key.removeprefix("requests.")) and is_accelerator(resource)
        if (number := quantity(value)) is not None
    )
    namespace = text_at(document, "metadata", "namespace")
    return Quota(namespace=namespace, bounds=bounds) if bounds else None


def types_by_node(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the accelerator's type by node."""
    return {node.name: node.accelerator for node in nodes}


def free_accelerators(
    nodes: Iterable[Node], pods: Iterable[Pod], ours: frozenset[tuple[str, str]]
) -> dict[str, int]:
    """Return per type how many accelerators nodes have that pods of others don't hold.

    Parameters
    ----------
    ours : frozenset of (str, str)
        Namespace and name of the variants' own pods.
    """
    nodes = tuple(nodes)
    kinds = types_by_node(nodes)
    free: dict[str, int] = {}
    for node in nodes:
        free[node.accelerator] = free.get(node.accelerator, 0) + node.allocatable * node.usable
    usable = {node.name for node in nodes if node.usable}
    for pod in pods:
        if pod.node in usable and (pod.namespace, pod.name) not in ours:
            free[kinds[pod.node]] -= pod.accelerators[1]
    return {kind: max(number, 0) for kind, number in free.items()}
