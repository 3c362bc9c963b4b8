"""The global allocation as columns: who needs what, what it costs, what there is.

A *service* is one model's traffic of one class; it may need several roles at once (prefill
and decode), and is served as far as its scarcest role goes. A *variant* gives capacity to
one role of one service. A *resource* is anything that runs out: GPUs of a type, the quota
of a namespace, a budget.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .errors import InvalidInputError
from .supply import Uses

__all__ = ["SLACK", "Problem"]

# Relative tolerance under which a demand counts as carried and a resource as kept.
SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Integer replicas n of V variants for S services with L roles each.

    Minimize, in this order: the requests of each priority class that aren't carried within
    the SLO, highest class first; then

        Σ cost n + start (n - current)⁺ + stop (current - n)⁺        [currency/h]

    subject to lowest <= n <= highest and, for every resource, Σ units n <= capacity.

    Attributes
    ----------
    service, role : ndarray of int, shape (V,)
    rate_rps : ndarray, shape (V,), >= 0
        What one replica carries within the SLO; 0: unusable. [requests/s]
    cost_per_hour, start_per_hour, stop_per_hour : ndarray, shape (V,), >= 0
        Price of a replica, and of starting or stopping one, spread over the time that the
        change is expected to last. [currency/h]
    current, lowest, highest : ndarray of int, shape (V,)
    demand_rps : ndarray, shape (S, L), >= 0
        0 in a role that the service doesn't have. [requests/s]
    priority : ndarray of int, shape (S,)
        1 is the highest.
    uses : Uses
    single : bool
        Whether a service may have replicas of one variant only, above the lower bounds.
    """

    service: IntArray
    role: IntArray
    rate_rps: FloatArray
    cost_per_hour: FloatArray
    start_per_hour: FloatArray
    stop_per_hour: FloatArray
    current: IntArray
    lowest: IntArray
    highest: IntArray
    demand_rps: FloatArray
    priority: IntArray
    uses: Uses
    single: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds in the wrong order and numbers that aren't finite."""
        if not np.all((self.lowest >= 0) & (self.lowest <= self.highest)):
            raise InvalidInputError("bounds must have 0 <= lowest <= highest")
        for name in ("rate_rps", "cost_per_hour", "start_per_hour", "stop_per_hour", "demand_rps"):
            values = getattr(self, name)
            if not np.all(np.isfinite(values) & (values >= 0)):
                raise InvalidInputError(f"{name} must be finite and >= 0, got {values}")
        if not np.all(self.uses.capacity >= 0):
            raise InvalidInputError(f"capacity must be >= 0, got {self.uses.capacity}")

    @property
    def requests_rps(self) -> FloatArray:
        """Return the requests of each service, shape (S,). [requests/s]"""
        return np.asarray(self.demand_rps.max(axis=1, initial=0.0))

    @property
    def kept(self) -> IntArray:
        """Return the current counts, brought within the bounds."""
        return np.clip(self.current, self.lowest, self.highest)

    @property
    def capacity(self) -> FloatArray:
        """Return what each resource gives; lower bounds are granted even beyond it."""
        return np.maximum(self.uses.capacity, self.uses.used(self.lowest))

    def spend(self, counts: IntArray) -> float:
        """Return cost and price of change of a plan. [currency/h]"""
        up = np.maximum(counts - self.current, 0)
        down = np.maximum(self.current - counts, 0)
        each = self.cost_per_hour * counts + self.start_per_hour * up + self.stop_per_hour * down
        return float(each.sum())

    def unmet(self, counts: IntArray) -> FloatArray:
        """Return the share of each service that isn't carried: its scarcest role's, (S,)."""
        services, roles = self.demand_rps.shape
        carried = np.bincount(
            self.service * roles + self.role,
            weights=counts * self.rate_rps,
            minlength=services * roles,
        ).reshape(services, roles)
        carried = carried.astype(np.float64)  # of nothing bincount makes whole numbers
        share = np.divide(
            carried, self.demand_rps, out=np.ones_like(carried), where=self.demand_rps > 0
        )
        short = 1.0 - share.min(axis=1, initial=1.0)
        return np.where(short > SLACK, short, 0.0)

    def unmet_by_class(self, counts: IntArray) -> FloatArray:
        """Return unmet requests/s of each priority, highest class first."""
        classes, row = np.unique(self.priority, return_inverse=True)
        lost = self.unmet(counts) * self.requests_rps
        return np.bincount(row, weights=lost, minlength=len(classes)).astype(np.float64)

    def fits(self, counts: IntArray) -> BoolArray:
        """Return which resources a plan keeps within."""
        capacity = self.capacity
        return np.asarray(self.uses.used(counts) <= capacity * (1.0 + SLACK) + SLACK)

    def limited_to(self, services: BoolArray) -> "Problem":
        """Return the problem without the demand of the other services."""
        demand = np.where(services[:, None], self.demand_rps, 0.0)
        highest = np.where(services[self.service], self.highest, self.lowest)
        return replace(self, demand_rps=demand, highest=highest)

    def held(self, variants: BoolArray, counts: IntArray) -> "Problem":
        """Return the problem with the counts of some variants fixed."""
        return replace(
            self,
            lowest=np.where(variants, counts, self.lowest),
            highest=np.where(variants, counts, self.highest),
        )

    def asking(self, demand_rps: FloatArray) -> "Problem":
        """Return the problem with another demand."""
        return replace(self, demand_rps=demand_rps)

    def among(self, services: BoolArray, counts: IntArray) -> "Problem":
        """Return the part of some services, the others having `counts` of what there is."""
        mine = services[self.service]
        every = np.arange(len(self.uses.capacity))
        part = self.taken(np.flatnonzero(services), np.flatnonzero(mine), every)
        left = self.capacity - self.uses.used(np.where(mine, 0, counts))
        return replace(part, uses=replace(part.uses, capacity=np.maximum(left, 0.0)))

    def with_highest(self, highest: IntArray) -> "Problem":
        """Return the problem with other upper bounds."""
        return replace(self, highest=highest)

    def taken(self, services: IntArray, variants: IntArray, resources: IntArray) -> "Problem":
        """Return the part of some services, their variants, and some resources."""
        new_service = np.full(len(self.demand_rps), -1)
        new_service[services] = np.arange(len(services))
        new_variant = np.full(len(self.service), -1)
        new_variant[variants] = np.arange(len(variants))
        new_resource = np.full(len(self.uses.capacity), -1)
        new_resource[resources] = np.arange(len(resources))
        entry = (new_variant[self.uses.variant] >= 0) & (new_resource[self.uses.resource] >= 0)
        columns = {
            name: getattr(self, name)[variants]
            for name in ("role", "rate_rps", "cost_per_hour", "start_per_hour", "stop_per_hour")
        }
        bounds = {n: getattr(self, n)[variants] for n in ("current", "lowest", "highest")}
        return Problem(
            **columns,
            **bounds,
            service=new_service[self.service[variants]],
            demand_rps=self.demand_rps[services],
            priority=self.priority[services],
            uses=Uses(
                resource=new_resource[self.uses.resource[entry]],
                variant=new_variant[self.uses.variant[entry]],
                units=self.uses.units[entry],
                capacity=self.uses.capacity[resources],
            ),
            single=self.single,
        )
