"""Counts worth considering near a point, for every service at once. Pure arithmetic.

The integer optimum of a covering problem lies near its linear one. Around that point each
variant of a service in turn completes what the others leave over, rounded up (all is
carried) and down (a partial grant), while the others step around their own counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from .domain import FloatArray, IntArray
from .problem import SLACK, Problem

__all__ = ["Neighborhood", "neighborhoods"]

# Steps of the variants that don't complete, by the number of variants of a service.
_STEPS = {1: (0,), 2: (-3, -2, -1, 0, 1, 2, 3, 4), 3: (-1, 0, 1, 2), 4: (-1, 0, 1), 5: (0, 1)}
_MOST_STEPPING = 7
# Cells (services x candidates x variants) handled at once.
_BLOCK_CELLS = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighborhood:
    """Candidates of services with k variants each.

    Attributes
    ----------
    services : ndarray of int, shape (G,)
    members : ndarray of int, shape (G, k)
        Their variants.
    counts : ndarray of int, shape (G, C, k)
    value : ndarray, shape (G, C)
        Cost, price of change and penalty of each candidate, resources being free.
        [currency/h]
    """

    services: IntArray
    members: IntArray
    counts: IntArray
    value: FloatArray

    def priced(self, price: FloatArray) -> FloatArray:
        """Return the candidates' values when a replica also pays `price` (V,), (G, C)."""
        paid = np.einsum("gck,gk->gc", self.counts, price[self.members])
        return np.asarray(self.value + paid)


def neighborhoods(
    problem: Problem, penalty: FloatArray, point: FloatArray, *also: IntArray
) -> list[Neighborhood]:
    """Return the candidates around `point`, and the counts of the plans in `also`.

    Parameters
    ----------
    problem : Problem
    penalty : array, shape (S,)
        Of a wholly unmet service. [currency/h]
    point : array, shape (V,)
        Counts that needn't be whole.
    *also : arrays of int, shape (V,)
        Plans that stay possible.
    """
    found = []
    for services, members in _groups(problem):
        steps = _steps(members.shape[1])
        cells = members.shape[1] ** 2 * 2 * len(steps)
        block = max(1, _BLOCK_CELLS // cells)
        for start in range(0, len(services), block):
            part = slice(start, start + block)
            found.append(
                _around(problem, penalty, point, also, services[part], members[part], steps)
            )
    return found


def _groups(problem: Problem) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield services and their variants as a matrix, for each number of variants."""
    services = len(problem.demand_rps)
    order = np.argsort(problem.service, kind="stable")
    number = np.bincount(problem.service, minlength=services)
    first = np.cumsum(number) - number
    for size in np.unique(number[number > 0]):
        rows = np.flatnonzero(number == size)
        yield rows, order[first[rows][:, None] + np.arange(size)]


def _steps(variants: int) -> IntArray:
    others = variants - 1
    if variants > _MOST_STEPPING:
        return np.concatenate([np.zeros((1, others)), np.eye(others)]).astype(np.int64)
    if others == 0:
        return np.zeros((1, 0), dtype=np.int64)
    return np.array(
        list(product(_STEPS.get(variants, (0, 1)), repeat=others)), dtype=np.int64
    ).reshape(-1, others)


def _from_nothing(variants: int) -> IntArray:
    others = variants - 1
    return np.concatenate([np.zeros((1, others)), np.eye(others)]).astype(np.int64)


def _around(  # noqa: PLR0917 - one call, in their order
    problem: Problem,
    penalty: FloatArray,
    point: FloatArray,
    also: tuple[IntArray, ...],
    services: IntArray,
    members: IntArray,
    steps: IntArray,
) -> Neighborhood:
    low, high = problem.lowest[members], problem.highest[members]
    usable = problem.rate_rps[members] > 0
    high = np.where(usable, high, np.maximum(low, problem.kept[members]))
    near = np.floor(point[members] + SLACK).astype(np.int64)
    parts = [plan[members][:, None, :] for plan in (*also, problem.lowest)]
    # Around the point, and around nothing: one variant that carries it all.
    for base, around in ((near, steps), (low, _from_nothing(members.shape[1]))):
        parts.extend(
            _completed(problem, services, members, base, around, completer)
            for completer in range(members.shape[1])
        )
    counts = np.clip(np.concatenate(parts, axis=1), low[:, None, :], high[:, None, :])
    value = _spend(problem, members, counts)
    value += penalty[services][:, None] * _unmet(problem, services, members, counts)
    if problem.single:
        value[(counts > low[:, None, :]).sum(axis=2) > 1] = np.inf
    return Neighborhood(services=services, members=members, counts=counts, value=value)


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


def _spend(problem: Problem, members: IntArray, counts: IntArray) -> FloatArray:
    change = counts - problem.current[members][:, None, :]
    result = np.einsum("gck,gk->gc", counts, problem.cost_per_hour[members])
    result += np.einsum("gck,gk->gc", np.maximum(change, 0), problem.start_per_hour[members])
    result += np.einsum("gck,gk->gc", np.maximum(-change, 0), problem.stop_per_hour[members])
    return np.asarray(result)


def _unmet(problem: Problem, services: IntArray, members: IntArray, counts: IntArray) -> FloatArray:
    rate, role = problem.rate_rps[members], problem.role[members]
    worst = np.ones(counts.shape[:2])
    for each in range(problem.demand_rps.shape[1]):
        demand = problem.demand_rps[services, each][:, None]
        carried = np.einsum("gck,gk->gc", counts, np.where(role == each, rate, 0.0))
        share = np.divide(carried, demand, out=np.ones_like(carried), where=demand > 0)
        worst = np.minimum(worst, share)
    return np.where(1.0 - worst > SLACK, 1.0 - worst, 0.0)
