"""Cheapest replica counts that carry each model's demand. Pure arithmetic on columns.

Demand belongs to a model, capacity to its variants. Per model this is a covering
knapsack with a handful of items,

    min sum_v cost_v n_v   subject to   sum_v rate_v n_v >= demand,  lo_v <= n_v <= hi_v

whose LP optimum fills variants in order of cost per capacity: those before the marginal
one are full, those after it empty. The integer optimum lies near that point, so all
combinations in its neighborhood are tried at once, for all models with the same number
of variants together. Models don't interact here: without shared limits the problem
decouples.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .errors import InvalidInputError

__all__ = ["Mix", "cheapest_mix"]

# Steps tried on each side of the LP point, by number of variants of a model: wide where
# it is cheap. Measured against brute force in the tests.
_WIDTH = {1: 0, 2: 24, 3: 8, 4: 4}
_WIDTH_OF_MANY = 1
# Cells (models x combinations x variants) handled at once, so that they stay in cache.
_BLOCK_CELLS = 1 << 17
_RELATIVE_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """Replica counts, and for which models they carry the demand.

    Attributes
    ----------
    replicas : ndarray of int, shape (V,)
        Replicas of each variant.
    covered : ndarray of bool, shape (M,)
        Whether the model's demand is carried; where not, every usable variant is at
        its upper bound.
    """

    replicas: IntArray
    covered: BoolArray


def cheapest_mix(
    *,
    model: IntArray,
    rate_rps: FloatArray,
    cost_per_hour: FloatArray,
    lowest: IntArray,
    highest: IntArray,
    demand_rps: FloatArray,
) -> Mix:
    """Return the cheapest replica counts whose capacity is at least each model's demand.

    Parameters
    ----------
    model : array of int, shape (V,)
        Row of each variant's model in `demand_rps`.
    rate_rps : array, shape (V,), >= 0
        Arrival rate that one replica carries; 0: unusable, stays at `lowest`.
        [requests/s]
    cost_per_hour : array, shape (V,), >= 0
        Price of one replica. [currency/h]
    lowest, highest : array of int, shape (V,)
        Bounds on each count, 0 <= lowest <= highest.
    demand_rps : array, shape (M,), >= 0
        Arrival rate to carry. [requests/s]

    Returns
    -------
    Mix
        Ties are broken towards fewer replicas, then towards the variant that comes
        first; callers that want a plan that doesn't depend on order sort beforehand.

    Raises
    ------
    InvalidInputError
        If a bound is reversed or a number is negative or not finite.
    """
    _check(rate_rps, cost_per_hour, lowest, highest, demand_rps)
    replicas, models = lowest.copy(), len(demand_rps)
    carried = np.bincount(model, weights=lowest * rate_rps, minlength=models)
    residual = demand_rps - carried.astype(np.float64)
    # Nothing to choose where the lowest counts carry it all, or nothing can be added.
    usable = (rate_rps > 0) & (highest > lowest) & (residual > 0)[model]
    covered = residual <= 0
    for rows, members in _groups(model[usable], np.flatnonzero(usable), models):
        steps = _steps(members.shape[1])
        block = max(1, _BLOCK_CELLS // (len(steps) * members.shape[1]))
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            index = members[part]
            extra, fits = _cover(
                residual[rows[part]],
                rate_rps[index],
                cost_per_hour[index],
                (highest - lowest)[index],
                steps,
            )
            replicas[index] += extra
            covered[rows[part]] = fits
    return Mix(replicas=replicas, covered=covered)


def _check(
    rate_rps: FloatArray,
    cost_per_hour: FloatArray,
    lowest: IntArray,
    highest: IntArray,
    demand_rps: FloatArray,
) -> None:
    for name, values in (("rate", rate_rps), ("cost", cost_per_hour), ("demand", demand_rps)):
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise InvalidInputError(f"{name} must be finite and >= 0, got {values}")
    if not np.all((lowest >= 0) & (lowest <= highest)):
        raise InvalidInputError(f"bounds must have 0 <= lowest <= highest: {lowest}, {highest}")


def _groups(model: IntArray, variant: IntArray, models: int) -> list[tuple[IntArray, IntArray]]:
    """Return (model rows, their variants as a matrix) for each number of variants."""
    order = np.argsort(model, kind="stable")
    counts = np.bincount(model, minlength=models)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    groups = []
    for size in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == size)
        members = variant[order[starts[rows][:, None] + np.arange(size)]]
        groups.append((rows, members))
    return groups


def _steps(variants: int) -> IntArray:
    """Return the steps of all variants but one, shape (combinations, variants - 1)."""
    width = _WIDTH.get(variants, _WIDTH_OF_MANY)
    combinations = list(product(range(width + 1), repeat=variants - 1))
    return np.array(combinations, dtype=np.int64).reshape(len(combinations), variants - 1)


def _cover(
    need_rps: FloatArray, rate_rps: FloatArray, cost: FloatArray, room: IntArray, steps: IntArray
) -> tuple[IntArray, BoolArray]:
    """Solve one block of models with k variants each; arrays are (models, k)."""
    order = np.argsort(cost / rate_rps, axis=1, kind="stable")
    rate, price = (np.take_along_axis(a, order, 1) for a in (rate_rps, cost))
    limit = np.take_along_axis(room, order, 1)
    need = np.maximum(need_rps, 0.0)
    before = np.cumsum(limit * rate, axis=1) - limit * rate
    filled = np.clip((need[:, None] - before) / rate, 0.0, limit)
    chosen = limit.copy()
    cheapest = np.full(len(need), np.inf)
    for completer in range(rate.shape[1]):
        counts = _candidates(filled, need, rate, limit, steps, completer)
        carried = np.einsum("mck,mk->mc", counts, rate)
        spend = np.einsum("mck,mk->mc", counts, price)
        # Fewer replicas break a tie; small against any real difference in price.
        spend = spend * (1.0 + 1e-12) + 1e-9 * counts.sum(axis=2)
        spend[carried < need[:, None] * (1.0 - _RELATIVE_SLACK)] = np.inf
        best = spend.argmin(axis=1)
        value = np.take_along_axis(spend, best[:, None], 1)[:, 0]
        better = value < cheapest * (1.0 - _RELATIVE_SLACK)
        picked = np.take_along_axis(counts, best[:, None, None], 1)[:, 0, :]
        chosen[better] = picked[better].astype(np.int64)
        cheapest[better] = value[better]
    extra = np.empty_like(chosen)
    np.put_along_axis(extra, order, chosen, 1)
    return extra, np.isfinite(cheapest)


def _candidates(
    filled: FloatArray,
    need: FloatArray,
    rate: FloatArray,
    limit: IntArray,
    steps: IntArray,
    completer: int,
) -> FloatArray:
    """Return counts around the LP point, shape (models, combinations, k).

    A variant that the LP uses steps down from its rounded-up count, an unused one up
    from none; the completer's count is what the others leave over.
    """
    k = rate.shape[1]
    others = [column for column in range(k) if column != completer]
    counts = np.empty((len(need), len(steps), k))
    base = np.ceil(filled[:, others])
    sign = np.where(base > 0, -1.0, 1.0)
    counts[:, :, others] = np.clip(
        base[:, None, :] + sign[:, None, :] * steps[None], 0.0, limit[:, None, others]
    )
    left = need[:, None] - np.einsum("mck,mk->mc", counts[:, :, others], rate[:, others])
    own = np.ceil(left / rate[:, completer, None] * (1.0 - _RELATIVE_SLACK))
    own = np.maximum(own, left > 0)  # a quotient that underflows is a need all the same
    counts[:, :, completer] = np.clip(own, 0.0, limit[:, completer, None])
    return counts
