"""Counts that a service may choose from, all services' in flat columns, and their prices."""

from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .problem import SLACK, Problem

__all__ = ["Candidates", "Members", "members_of", "nearest"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Members:
    """The variants of each service as a matrix, (S, K); -1 fills rows of fewer than K."""

    variant: IntArray
    problem: Problem

    def counts_of(self, plan: IntArray) -> IntArray:
        """Return a plan's counts by service, (S, K)."""
        return np.asarray(np.append(plan, 0)[self.variant])

    def plan_of(self, counts: IntArray) -> IntArray:
        """Return the plan, (V,), in which each service has its row of `counts`, (S, K)."""
        plan = np.zeros(len(self.problem.service) + 1, dtype=np.int64)
        plan[self.variant] = counts
        return plan[:-1]


def members_of(problem: Problem) -> Members:
    """Return the variants of each service, in their order."""
    services = len(problem.demand_rps)
    order = np.argsort(problem.service, kind="stable")
    number = np.bincount(problem.service, minlength=services)
    first = np.cumsum(number) - number
    variant = np.full((services, int(number.max(initial=0))), -1)
    row = problem.service[order]
    variant[row, np.arange(len(order)) - first[row]] = order
    return Members(variant=variant, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Rows sorted by service; every service has at least one.

    Attributes
    ----------
    members : Members
    service : ndarray of int, shape (F,)
    counts : ndarray of int, shape (F, K)
        Of the service's members.
    value : ndarray, shape (F,)
        Cost, price of change and penalty, resources being free. [currency/h]
    use : ndarray, shape (F, R)
        Units of each resource.
    """

    members: Members
    service: IntArray
    counts: IntArray
    value: FloatArray
    use: FloatArray

    @classmethod
    def of(
        cls, members: Members, penalty: FloatArray, service: IntArray, counts: IntArray
    ) -> "Candidates":
        """Return candidates without doubles, in the order of services."""
        problem = members.problem
        if problem.single:
            low = np.append(problem.lowest, 0)[members.variant[service]]
            one = (counts > low).sum(axis=1) <= 1
            service, counts = service[one], counts[one]
        kept = _distinct_rows(service, counts)
        service, counts = service[kept], counts[kept]
        variant = members.variant[service]
        value = _spend(problem, variant, counts)
        value += penalty[service] * _unmet(problem, service, variant, counts)
        use = np.zeros((len(service), len(problem.uses.capacity)))
        units = _units(problem)
        for member in range(counts.shape[1]):
            use += counts[:, member, None] * units[variant[:, member]]
        return cls(members=members, service=service, counts=counts, value=value, use=use)

    @property
    def first(self) -> IntArray:
        """Return the row of each service's first candidate, (S,)."""
        return np.searchsorted(self.service, np.arange(len(self.members.variant)))

    def take(self, rows: IntArray | BoolArray) -> "Candidates":
        """Return some of the candidates."""
        return Candidates(
            members=self.members,
            service=self.service[rows],
            counts=self.counts[rows],
            value=self.value[rows],
            use=self.use[rows],
        )

    def followed_by(self, other: "Candidates") -> "Candidates":
        """Return both, one after the other: no longer in the order of services."""
        return Candidates(
            members=self.members,
            service=np.concatenate([self.service, other.service]),
            counts=np.concatenate([self.counts, other.counts]),
            value=np.concatenate([self.value, other.value]),
            use=np.concatenate([self.use, other.use]),
        )

    def joined(self, other: "Candidates") -> "Candidates":
        """Return both, each candidate once, in the order of services."""
        both = self.followed_by(other)
        return both.take(_distinct_rows(both.service, both.counts))

    def best(self, price: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return each service's best candidate at these prices, and its priced value."""
        priced = self.value + self.use @ price
        first = self.first
        least = np.minimum.reduceat(priced, first)
        at_best = np.flatnonzero(priced <= least[self.service])
        rows = at_best[np.searchsorted(self.service[at_best], np.arange(len(first)))]
        return rows, least

    def rows_of(self, plan: IntArray) -> IntArray:
        """Return the candidate of each service with a plan's counts; it has to be there."""
        mine = self.members.counts_of(plan)
        rows = np.flatnonzero((self.counts == mine[self.service]).all(axis=1))
        return rows[np.searchsorted(self.service[rows], np.arange(len(mine)))]

    def entries(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Return a matrix by columns: 1 in the service's row, units in those of resources below.

        As starts of columns, row indices and values.
        """
        count, services = len(self.service), len(self.members.variant)
        row, resource = np.nonzero(self.use)
        start = np.concatenate([[0], np.cumsum(1 + np.bincount(row, minlength=count))])
        index, values = np.empty(start[-1], dtype=np.int32), np.ones(start[-1])
        index[start[:-1]] = self.service
        rest = np.ones(start[-1], dtype=np.bool_)
        rest[start[:-1]] = False
        index[rest], values[rest] = services + resource, self.use[row, resource]
        return start.astype(np.int32), index, values

    def plan(self, rows: IntArray) -> IntArray:
        """Return the plan of one candidate per service."""
        return self.members.plan_of(self.counts[rows])


def nearest(service: IntArray, value: FloatArray, most: int) -> IntArray:
    """Return the rows of each service's `most` smallest values, in the order of rows.

    `service` is sorted.
    """
    order = np.lexsort((value, service))
    first = np.searchsorted(service, service, side="left")
    rank = np.arange(len(service)) - first
    return np.sort(order[rank < most])


def _distinct_rows(service: IntArray, counts: IntArray) -> IntArray:
    """Return one row of each candidate, in the order of services and counts."""
    order = np.lexsort((*counts.T[::-1], service))
    same = service[order[1:]] == service[order[:-1]]
    same &= (counts[order[1:]] == counts[order[:-1]]).all(axis=1)
    return order[np.concatenate([[True], ~same])] if len(order) else order


def _units(problem: Problem) -> FloatArray:
    """Return units per replica, (V + 1, R); the last row is nobody's."""
    uses = problem.uses
    matrix = np.zeros((len(problem.service) + 1, len(uses.capacity)))
    np.add.at(matrix, (uses.variant, uses.resource), uses.units)
    return matrix


def _spend(problem: Problem, variant: IntArray, counts: IntArray) -> FloatArray:
    """Return cost and price of change of each row of counts, (F,). [currency/h]"""

    def each(column: FloatArray | IntArray) -> FloatArray:
        """Return the variants' column in the shape of `counts`; nobody's is 0."""
        return np.append(column, 0.0)[variant]

    change = counts - each(problem.current)
    spent = each(problem.cost_per_hour) * counts
    spent += each(problem.start_per_hour) * np.maximum(change, 0.0)
    spent += each(problem.stop_per_hour) * np.maximum(-change, 0.0)
    return np.asarray(spent.sum(axis=1))


def _unmet(problem: Problem, service: IntArray, variant: IntArray, counts: IntArray) -> FloatArray:
    """Return the share of its service that each row of counts doesn't carry, (F,)."""
    carried = counts * np.append(problem.rate_rps, 0.0)[variant]
    role = np.append(problem.role, -1)[variant]
    worst = np.ones(len(service))
    for each in range(problem.demand_rps.shape[1]):
        demand = problem.demand_rps[service, each]
        mine = np.where(role == each, carried, 0.0).sum(axis=1)
        share = np.divide(mine, demand, out=np.ones_like(mine), where=demand > 0)
        worst = np.minimum(worst, share)
    return np.where(1.0 - worst > SLACK, 1.0 - worst, 0.0)
