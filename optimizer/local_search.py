"""From a relaxed choice to a whole one that fits, and to better ones. Nothing random or timed.

Services in turn take what is worth most of what is left, whatever counts that means.
"""

import numpy as np

from .candidates import Candidates, members_of
from .domain import BoolArray, FloatArray, IntArray
from .enumeration import Pricing, alone
from .problem import SLACK, Problem

__all__ = ["filled", "improved", "repaired"]

_GAIN = 1e-9
_SWEEPS = 5


class _Choice:
    """One candidate per service, and what any other one would change."""

    def __init__(self, candidates: Candidates, rows: IntArray, capacity: FloatArray) -> None:
        self._of = candidates
        self.rows = rows.copy()
        self._capacity = capacity
        self._tolerance = SLACK * (1.0 + capacity)

    def value(self) -> FloatArray:
        """Return by how much each candidate in its service's place changes the value, (F,)."""
        chosen = self._of.value[self.rows]
        return np.asarray(self._of.value - chosen[self._of.service])

    def use(self) -> FloatArray:
        """Return by how much it changes the use of each resource, (F, R)."""
        return np.asarray(self._of.use - self._of.use[self.rows][self._of.service])

    def left(self) -> FloatArray:
        """Return what is left of each resource, a rounding error more."""
        used = self._of.use[self.rows].sum(axis=0)
        return np.asarray(self._capacity - used + self._tolerance)

    def take(self, row: int) -> None:
        """Let a candidate's service take it."""
        self.rows[self._of.service[row]] = row


def repaired(
    candidates: Candidates, share: FloatArray, capacity: FloatArray, price: FloatArray
) -> IntArray | None:
    """Return a choice that fits, (S,), near a relaxed one; None if none is found.

    Each service takes what it has most of; while a resource is overdrawn, the candidate that
    costs least for what it gives back.
    """
    first = candidates.first
    most = np.maximum.reduceat(share, first)
    at_most = np.flatnonzero(share >= most[candidates.service])
    rows = at_most[np.searchsorted(candidates.service[at_most], np.arange(len(first)))]
    choice = _Choice(candidates, rows, capacity)
    for _ in range(2 * len(first)):
        over = np.maximum(-choice.left(), 0.0)
        if not over.any():
            return choice.rows
        use = choice.use()
        relief = over.sum() - np.maximum(use - choice.left(), 0.0).sum(axis=1)
        cost = choice.value() + use @ price
        helps = relief > SLACK
        if not helps.any():
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(helps, np.maximum(cost, 0.0) / relief, np.inf)
        choice.take(int(each.argmin()))
    return None


def improved(candidates: Candidates, rows: IntArray, capacity: FloatArray) -> IntArray:
    """Return a choice in which no service alone can do better with what is left."""
    choice = _Choice(candidates, rows, capacity)
    while True:
        value = choice.value()
        gains = np.flatnonzero(value < -_GAIN)
        gains = gains[_fits(choice.use()[gains], choice.left())]
        if len(gains) == 0:
            return choice.rows
        choice.take(int(gains[value[gains].argmin()]))


def _fits(use: FloatArray, left: FloatArray) -> BoolArray:
    # What a change doesn't take more of may be overdrawn.
    return np.asarray(((use <= left) | (use <= 0)).all(axis=1))


def filled(problem: Problem, penalty: FloatArray, counts: IntArray) -> IntArray:
    """Return a plan in which no service alone can do better, whatever its counts.

    Each is offered what is left; those that gain most take it first.
    """
    members, counts = members_of(problem), counts.copy()
    rows = np.flatnonzero(alone(problem))
    mine = members.variant[rows]
    for _ in range(_SWEEPS):
        now = Candidates.of(members, penalty, rows, np.append(counts, 0)[mine])
        offered = problem.with_highest(np.minimum(problem.highest, counts + _room(problem, counts)))
        pricing = Pricing(members_of(offered), penalty, np.zeros(len(counts)), rows)
        limit = np.minimum(now.value - _GAIN * np.maximum(1.0, now.value), pricing.rounded())
        near = pricing.near(limit)
        if len(near.service) == 0:
            break
        better = Candidates.of(members, penalty, near.service, near.counts)
        place = np.searchsorted(rows, better.service)
        gain = now.value[place] - better.value
        use = better.use - now.use[place]
        left = problem.capacity - problem.uses.used(counts) + SLACK * (1.0 + problem.capacity)
        done = np.zeros(len(problem.demand_rps), dtype=np.bool_)
        for row in np.argsort(-gain, kind="stable"):
            service = better.service[row]
            if gain[row] > 0 and not done[service] and _fits(use[row : row + 1], left)[0]:
                done[service] = True
                left -= use[row]
                variant = members.variant[service]
                counts[variant[variant >= 0]] = better.counts[row][variant >= 0]
        if not done.any():
            break
    return counts


def _room(problem: Problem, counts: IntArray) -> IntArray:
    """Return how many more replicas of each variant fit into what is left, (V,)."""
    uses = problem.uses
    left = np.maximum(problem.capacity - uses.used(counts), 0.0)
    room = np.full(len(counts), np.iinfo(np.int32).max, dtype=np.int64)
    fits = np.floor(left[uses.resource] / uses.units * (1.0 + SLACK)).astype(np.int64)
    np.minimum.at(room, uses.variant, fits)
    return room
