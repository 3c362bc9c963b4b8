"""Nodes that exist as objects only, and which pod goes where: GPUs counted, labels matched."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["GPU", "MachineRoom", "Node", "gpus_of"]

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"


@dataclass(frozen=True)
class Node:
    """One node with GPUs of a kind."""

    name: str
    gpus: int = 64
    product: str = "NVIDIA-H100-80GB-HBM3"

    @property
    def labels(self) -> dict[str, str]:
        return {"kubernetes.io/hostname": self.name, PRODUCT: self.product}

    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.labels},
        }

    def status(self) -> dict[str, Any]:
        capacity = {"cpu": "256", "memory": "2Ti", "pods": "1000", GPU: str(self.gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "e2e"}
        return {"status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}}


@dataclass(frozen=True)
class MachineRoom:
    """All nodes."""

    nodes: tuple[Node, ...] = (Node("node-h100"),)

    def place(self, pod: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str | None:
        """Return the node that has room for a pod; None if none does."""
        used = dict.fromkeys((node.name for node in self.nodes), 0)
        for other in others:
            name = other["spec"].get("nodeName")
            if name in used:
                used[name] += gpus_of(other)
        wanted = pod["spec"].get("nodeSelector", {}).items()
        for node in self.nodes:
            fits = used[node.name] + gpus_of(pod) <= node.gpus
            if fits and wanted <= node.labels.items():
                return node.name
        return None


def gpus_of(pod: Mapping[str, Any]) -> int:
    limits = (c.get("resources", {}).get("limits", {}) for c in pod["spec"]["containers"])
    return sum(int(each.get(GPU, 0)) for each in limits)
