"""Counts worth considering near a point, for services of several roles. Pure arithmetic.

What enumeration knows exactly for one role is guessed here: around a relaxed point each
variant of a service in turn completes what the others of its role leave over, rounded up (all
is carried) and down (a partial grant), while the others step around their own counts.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from .candidates import Members
from .domain import FloatArray, IntArray
from .problem import SLACK, Problem

__all__ = ["around"]

# Steps of the variants that don't complete, by the number of variants of a service.
_STEPS = {1: (0,), 2: (-3, -2, -1, 0, 1, 2, 3, 4), 3: (-1, 0, 1, 2), 4: (-1, 0, 1), 5: (0, 1)}
_MOST_STEPPING = 7
# Cells (services x candidates x variants) handled at once.
_BLOCK_CELLS = 1 << 18


def around(members: Members, point: FloatArray, services: IntArray) -> tuple[IntArray, IntArray]:
    """Return services, (F,), and counts, (F, K), around `point`, and around nothing.

    Parameters
    ----------
    members : Members
    point : array, shape (V,)
        Counts that needn't be whole.
    services : array of int
        Whose counts are wanted.
    """
    wide = members.variant.shape[1]
    rows, counts = [np.empty(0, dtype=np.int64)], [np.empty((0, wide), dtype=np.int64)]
    for chosen, mine in _groups(members, services):
        steps = _steps(mine.shape[1])
        block = max(1, _BLOCK_CELLS // (mine.shape[1] ** 2 * 2 * len(steps)))
        for start in range(0, len(chosen), block):
            part = slice(start, start + block)
            found = _around(members.problem, point, chosen[part], mine[part], steps)
            rows.append(np.repeat(chosen[part], found.shape[1]))
            padded = np.zeros((found.shape[0] * found.shape[1], wide), dtype=np.int64)
            padded[:, : mine.shape[1]] = found.reshape(-1, mine.shape[1])
            counts.append(padded)
    return np.concatenate(rows), np.concatenate(counts)


def _groups(members: Members, services: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield services and their variants as a matrix, for each number of variants."""
    number = (members.variant[services] >= 0).sum(axis=1)
    for size in np.unique(number[number > 0]):
        rows = services[number == size]
        yield rows, members.variant[rows, :size]


def _steps(variants: int) -> IntArray:
    others = variants - 1
    if variants > _MOST_STEPPING:
        return _from_nothing(variants)
    if others == 0:
        return np.zeros((1, 0), dtype=np.int64)
    return np.array(
        list(product(_STEPS.get(variants, (0, 1)), repeat=others)), dtype=np.int64
    ).reshape(-1, others)


def _from_nothing(variants: int) -> IntArray:
    others = variants - 1
    return np.concatenate([np.zeros((1, others)), np.eye(others)]).astype(np.int64)


def _around(
    problem: Problem, point: FloatArray, services: IntArray, members: IntArray, steps: IntArray
) -> IntArray:
    low, high = problem.lowest[members], problem.highest[members]
    usable = problem.rate_rps[members] > 0
    high = np.where(usable, high, np.maximum(low, problem.kept[members]))
    near = np.floor(point[members] + SLACK).astype(np.int64)
    # Around the point, and around nothing: one variant that carries it all.
    parts = [
        _completed(problem, services, members, base, around, completer)
        for base, around in ((near, steps), (low, _from_nothing(members.shape[1])))
        for completer in range(members.shape[1])
    ]
    return np.clip(np.concatenate(parts, axis=1), low[:, None, :], high[:, None, :])


def _completed(
    problem: Problem,
    services: IntArray,
    members: IntArray,
    base: IntArray,
    steps: IntArray,
    completer: int,
) -> IntArray:
    """Return candidates in which one variant carries what the others leave, both roundings."""
    others = np.delete(np.arange(members.shape[1]), completer)
    low, high = problem.lowest[members], problem.highest[members]
    counts = np.repeat(base[:, None, :], len(steps), axis=1)
    counts[:, :, others] += steps
    counts = np.clip(counts, low[:, None, :], high[:, None, :])
    role = problem.role[members]
    rate = problem.rate_rps[members]
    same = (role == role[:, [completer]]) & (np.arange(members.shape[1]) != completer)
    demand = problem.demand_rps[services, role[:, completer]]
    left = demand[:, None] - np.einsum("gck,gk->gc", counts, np.where(same, rate, 0.0))
    own_rate = rate[:, [completer]]
    exact = np.divide(left, own_rate, out=np.zeros_like(left), where=own_rate > 0)
    rounded = [np.ceil(exact * (1.0 - SLACK)), np.floor(exact)]
    pair = np.repeat(counts[:, None], 2, axis=1)
    pair[:, :, :, completer] = np.clip(
        np.stack(rounded, axis=1), low[:, None, [completer]], high[:, None, [completer]]
    )
    return pair.reshape(len(services), -1, members.shape[1])
