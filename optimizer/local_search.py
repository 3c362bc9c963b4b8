"""A better plan from one that fits: where something is left, those that gain most take it.

Nothing here is random or timed.
"""

from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .neighborhood import Neighborhood
from .problem import SLACK, Problem

__all__ = ["improved"]

_GAIN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Uses:
    """The problem's uses, padded per variant: which resources, how many units."""

    resource: IntArray  # (V, E); the last resource is a dummy
    units: FloatArray  # (V, E)

    @classmethod
    def of(cls, problem: Problem) -> "_Uses":
        uses, count = problem.uses, len(problem.service)
        order = np.argsort(uses.variant, kind="stable")
        number = np.bincount(uses.variant, minlength=count)
        width = int(number.max(initial=0))
        place = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
        resource = np.full((count, width), len(uses.capacity))
        units = np.zeros((count, width))
        resource[uses.variant[order], place] = uses.resource[order]
        units[uses.variant[order], place] = uses.units[order]
        return cls(resource=resource, units=units)


def improved(
    problem: Problem,
    found: list[Neighborhood],
    counts: IntArray,
    priority: IntArray,
    *,
    passes: int = 3,
) -> IntArray:
    """Return a plan at least as good, each service in turn taking its best that fits.

    Services of a higher class go first, then those with most to gain.
    """
    counts = counts.copy()
    uses = _Uses.of(problem)
    left = np.append(problem.capacity - problem.uses.used(counts), np.inf)
    for _ in range(passes):
        turns = [_gains(part, counts) for part in found]
        gain = np.concatenate([t[0] for t in turns])
        now = np.concatenate([t[1] for t in turns])
        part_of = np.repeat(np.arange(len(found)), [len(part.services) for part in found])
        row_of = np.concatenate([np.arange(len(part.services)) for part in found])
        classes = priority[np.concatenate([part.services for part in found])]
        order = np.lexsort((-gain, classes))
        moved = False
        for turn in order[gain[order] > _GAIN]:
            part, row = found[part_of[turn]], int(row_of[turn])
            moved |= _moved(part, row, uses, counts, left, now[turn])
        if not moved:
            break
    return counts


def _gains(part: Neighborhood, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return what each service would gain if nothing were scarce, and its value now."""
    same = (part.counts == counts[part.members][:, None, :]).all(axis=2)
    now = np.where(same, part.value, np.inf).min(axis=1)
    # A plan that isn't among the candidates is as good as the worst of them: it may move.
    now = np.where(np.isfinite(now), now, part.value.max(axis=1))
    return now - part.value.min(axis=1), now


def _moved(
    part: Neighborhood, row: int, uses: _Uses, counts: IntArray, left: FloatArray, now: float
) -> bool:
    """Give one service the best of its candidates that fits; say whether that is another."""
    better = np.flatnonzero(part.value[row] < now - _GAIN)
    better = better[np.argsort(part.value[row, better], kind="stable")]
    members = part.members[row]
    change = part.counts[row, better] - counts[members]
    pick = int(np.argmax(_fitting(change, uses, members, left)))
    taken = _taken(change[pick], uses, members)
    if not np.all(_after(taken, uses, members, left) >= -SLACK):
        return False
    counts[members] += change[pick]
    np.subtract.at(left, uses.resource[members].ravel(), taken.ravel())
    return True


def _taken(change: IntArray, uses: _Uses, members: IntArray) -> FloatArray:
    return np.asarray(change[:, None] * uses.units[members])


def _after(taken: FloatArray, uses: _Uses, members: IntArray, left: FloatArray) -> FloatArray:
    after = left.copy()
    np.subtract.at(after, uses.resource[members].ravel(), taken.ravel())
    return after


def _fitting(change: IntArray, uses: _Uses, members: IntArray, left: FloatArray) -> BoolArray:
    """Return which changes (C, k) keep within what is left of every resource."""
    resource, place = np.unique(uses.resource[members], return_inverse=True)
    k, width = uses.units[members].shape
    matrix = np.zeros((k, len(resource)))
    np.add.at(matrix, (np.repeat(np.arange(k), width), place.ravel()), uses.units[members].ravel())
    return np.asarray(np.all(change @ matrix <= left[resource] + SLACK, axis=1))
