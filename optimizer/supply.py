"""What there is to give, and who comes first: GPUs, quotas, budgets; priorities and kinds."""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, FloatArray, IntArray

__all__ = ["Supply", "Uses"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uses:
    """What one replica takes of each resource: entries of a sparse matrix.

    Attributes
    ----------
    resource, variant : ndarray of int, shape (E,)
    units : ndarray, shape (E,), > 0
    capacity : ndarray, shape (R,), >= 0
    """

    resource: IntArray
    variant: IntArray
    units: FloatArray
    capacity: FloatArray

    @classmethod
    def none(cls) -> "Uses":
        """Return the uses of a world in which nothing runs out."""
        empty = np.empty(0, dtype=np.int64)
        return cls(resource=empty, variant=empty, units=np.empty(0), capacity=np.empty(0))

    def used(self, counts: IntArray | FloatArray) -> FloatArray:
        """Return what `counts` replicas take of each resource, shape (R,)."""
        taken = self.units * counts[self.variant]
        return np.bincount(self.resource, weights=taken, minlength=len(self.capacity)).astype(
            np.float64
        )

    def price(self, resource_price: FloatArray, variants: int) -> FloatArray:
        """Return what one replica of each variant pays at these prices, shape (V,)."""
        paid = self.units * resource_price[self.resource]
        return np.bincount(self.variant, weights=paid, minlength=variants).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Supply:
    """Resources that may run out, and the order in which models are served from them.

    Attributes
    ----------
    uses : Uses
    names : tuple of str, length R
        Of the resources, as people read them: "H100", "H100 in team-a", "budget".
    spares_running : ndarray of bool, shape (R,)
        Whether nothing that runs is stopped for it, as for a budget.
    priority : ndarray of int, shape (M,)
        1 is the highest. Offline work comes after all online work.
    offline : ndarray of bool, shape (M,)
    deadline_s : ndarray, shape (M,)
        By when queued offline work is to be done; +inf: no deadline. [s]
    role : ndarray of int, shape (V,)
        0: serves whole requests, 1: prefill only, 2: decode only.
    """

    uses: Uses
    names: tuple[str, ...]
    spares_running: BoolArray
    priority: IntArray
    offline: BoolArray
    deadline_s: FloatArray
    role: IntArray

    @classmethod
    def unlimited(cls, models: int, variants: int) -> "Supply":
        """Return the supply of a world in which nothing runs out."""
        return cls(
            uses=Uses.none(),
            names=(),
            spares_running=np.zeros(0, dtype=np.bool_),
            priority=np.ones(models, dtype=np.int64),
            offline=np.zeros(models, dtype=np.bool_),
            deadline_s=np.full(models, np.inf),
            role=np.zeros(variants, dtype=np.int64),
        )

    @property
    def rank(self) -> IntArray:
        """Return the priority that decides: offline work behind the last online class."""
        behind = int(self.priority.max(initial=0))
        return np.where(self.offline, self.priority + behind, self.priority)

    def in_force(self, counts: IntArray) -> Uses:
        """Return the uses, with what spares the running raised to what they take."""
        taken = self.uses.used(counts)
        raised = np.maximum(self.uses.capacity, taken)
        return replace(
            self.uses, capacity=np.where(self.spares_running, raised, self.uses.capacity)
        )

    def reordered(self, place: IntArray) -> "Supply":
        """Return the supply when variant v becomes row `place[v]`."""
        role = np.empty_like(self.role)
        role[place] = self.role
        uses = replace(self.uses, variant=place[self.uses.variant])
        return replace(self, uses=uses, role=role)
