"""Nodes and their accelerators: where a pod fits."""

import numpy as np

from .cluster_spec import NodeSpec

__all__ = ["Nodes"]

ANYWHERE = -2
NOWHERE = -1


class Nodes:
    """Free accelerators per node. A type without nodes is never short."""

    def __init__(self, specs: tuple[NodeSpec, ...]) -> None:
        each = [spec for spec in specs for _ in range(spec.count)]
        self._type = [spec.accelerator for spec in each]
        self._free = np.array([spec.accelerators for spec in each], dtype=np.int64)
        self._up = np.ones(len(each), dtype=np.bool_)
        self._limited = {spec.accelerator for spec in specs}
        self._sold_out: set[str] = set()

    def place(self, accelerator: str, count: int) -> int:
        """Take `count` accelerators of one node; return it, or NOWHERE."""
        if accelerator in self._sold_out:
            return NOWHERE
        if accelerator not in self._limited:
            return ANYWHERE
        for node, kind in enumerate(self._type):
            if kind == accelerator and self._up[node] and self._free[node] >= count:
                self._free[node] -= count
                return node
        return NOWHERE

    def free(self, node: int, count: int) -> None:
        """Give accelerators back."""
        if node >= 0:
            self._free[node] += count

    def lose(self, accelerator: str, count: int) -> list[int]:
        """Take down the `count` fullest nodes of a type; return them."""
        own = [n for n, kind in enumerate(self._type) if kind == accelerator and self._up[n]]
        lost = sorted(own, key=lambda node: (self._free[node], node))[:count]
        self._up[lost] = False
        return lost

    def bring_back(self, nodes: list[int]) -> None:
        """Let lost nodes take pods again."""
        self._up[nodes] = True

    def sell_out(self, accelerator: str, *, sold_out: bool) -> None:
        """Stop, or go on, placing pods on a type."""
        (self._sold_out.add if sold_out else self._sold_out.discard)(accelerator)
