"""All counts of a service that are nearly the best at given prices. Pure arithmetic.

At prices of resources a service is alone: with marginal prices a_v of a replica that is kept
and b_v >= a_v of one that is added,

    min Σ a_v kept_v + b_v added_v + penalty (1 - Σ rate_v n_v / demand)⁺   over whole n_v.

Counts are fixed one variant after another, the dearest per request first. What the others
would cost if they needn't be whole is a convex function of the demand that is left, the
largest of a few lines; it bounds every branch from below (Land and Doig 1960), so that what
is left in the end is exactly the counts within a limit.
"""

from dataclasses import dataclass

import numpy as np

from .candidates import Members, nearest
from .domain import BoolArray, FloatArray, IntArray
from .problem import SLACK, Problem

__all__ = ["Near", "Pricing", "alone"]

# Counts of one variant that are looked at around those of the relaxation.
_WIDTH = 24
# Branches of a service that are open at once; the best are kept.
_MOST_OPEN = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Near:
    """Counts, (F, K), of services, (F,), and what no counts of a service undercut, (S,)."""

    service: IntArray
    counts: IntArray
    least: FloatArray


def alone(problem: Problem) -> BoolArray:
    """Return which services have one role only: those that this module knows, (S,)."""
    other = np.bincount(
        problem.service, weights=problem.role != 0, minlength=len(problem.demand_rps)
    )
    return np.asarray((other == 0) & (problem.demand_rps[:, 1:] == 0).all(axis=1))


class Pricing:
    """Some services at given prices; rows are services, columns their variants in order.

    Parameters
    ----------
    members : Members
    penalty : array, shape (S,)
        Of a wholly unmet service. [currency/h]
    paid : array, shape (V,)
        What a replica pays for resources. [currency/h]
    services : array of int
        Which to look at; each has one role.
    """

    def __init__(
        self, members: Members, penalty: FloatArray, paid: FloatArray, services: IntArray
    ) -> None:
        problem, variant = members.problem, members.variant[services]

        def of(column: FloatArray | IntArray) -> FloatArray:
            """Return the variants' column by service, 0 where a row has fewer variants."""
            return np.append(column, 0)[variant]

        price, rate = of(problem.cost_per_hour + paid), of(problem.rate_rps)
        start, stop = of(problem.start_per_hour), of(problem.stop_per_hour)
        low, current = of(problem.lowest), of(problem.current)
        kept = of(problem.kept)
        high = np.where(rate > 0, of(problem.highest), kept)
        demand = problem.demand_rps[services, 0]
        self.services, self.low = services, low.astype(np.int64)
        self.base = (
            price * low + start * np.maximum(low - current, 0) + stop * np.maximum(current - low, 0)
        ).sum(axis=1)
        self.need = demand - (low * rate).sum(axis=1)
        self.lost = np.divide(
            penalty[services], demand, out=np.zeros(len(demand)), where=demand > 0
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(rate > 0, (price + start) / rate, np.inf)
        self._order = np.argsort(-ratio, axis=1, kind="stable")
        self.keep, self.add, self.rate, self.kept, self.room = (
            np.take_along_axis(column, self._order, axis=1)
            for column in (price - stop, price + start, rate, kept - low, high - low)
        )

    def _lines(self, level: int) -> tuple[FloatArray, FloatArray]:
        """Return slopes and heights: the largest is what the variants from `level` on cost.

        As a function of the demand that is left, if counts needn't be whole.
        """
        rate = np.tile(self.rate[:, level:], 2)
        price = np.concatenate([self.keep[:, level:], self.add[:, level:]], axis=1)
        kept, room = self.kept[:, level:], self.room[:, level:]
        number = np.concatenate([kept, room - kept], axis=1)
        gift = (np.minimum(price, 0.0) * number).sum(axis=1)[:, None]
        lost = self.lost[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(rate > 0, np.maximum(price, 0.0) / rate, np.inf)
        slope = np.minimum(slope, lost)
        order = np.argsort(slope, axis=1, kind="stable")
        slope, size = (np.take_along_axis(c, order, axis=1) for c in (slope, rate * number))
        size_before, cost_before = np.cumsum(size, axis=1), np.cumsum(slope * size, axis=1)
        zero = np.zeros((len(rate), 1))
        # Nothing is left; each in turn; unmet.
        slopes = np.concatenate([zero, slope, lost], axis=1)
        heights = np.concatenate([zero, zero, cost_before], axis=1) - slopes * np.concatenate(
            [zero, zero, size_before], axis=1
        )
        return np.asarray(slopes), np.asarray(heights + gift)

    def _better_rps(self, level: int) -> FloatArray:
        """Return what the variants after `level` carry at less than a lost request costs."""
        rate, add = self.rate[:, level + 1 :], self.add[:, level + 1 :]
        used = add < self.lost[:, None] * rate
        return np.asarray((rate * self.room[:, level + 1 :] * used).sum(axis=1))

    def relaxed(self) -> FloatArray:
        """Return what each service costs at least, counts not being whole. [currency/h]"""
        slope, height = self._lines(0)
        return np.asarray(self.base + (slope * self.need[:, None] + height).max(axis=1))

    def rounded(self) -> FloatArray:
        """Return the value of some whole counts near the relaxed ones. [currency/h]"""
        left, spent = self.need.copy(), self.base.copy()
        best = np.full(len(left), np.inf)
        for level in range(self.rate.shape[1] - 1, -1, -1):
            rate, room = self.rate[:, level], self.room[:, level]
            with np.errstate(divide="ignore", invalid="ignore"):
                exact = np.where(rate > 0, np.clip(left / rate, 0, room), 0.0)
            up, down = np.ceil(exact * (1.0 - SLACK)), np.floor(exact * (1.0 + SLACK))
            for count in (up, down):
                rest = np.maximum(left - rate * count, 0.0)
                best = np.minimum(best, spent + self._price(level, count) + self.lost * rest)
            left, spent = left - rate * down, spent + self._price(level, down)
        return np.asarray(np.minimum(best, spent + self.lost * np.maximum(left, 0.0)))

    def _price(self, level: int, count: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return the price of `count` replicas above the lowest."""
        keep, add, kept = (column[:, level] for column in (self.keep, self.add, self.kept))
        if rows is not None:
            keep, add, kept = (column[rows, None] for column in (keep, add, kept))
        below = np.minimum(count, kept)
        return np.asarray(keep * below + add * (count - below))

    def near(self, limit: FloatArray) -> Near:
        """Return all counts whose priced value is at most `limit`, one for each service.

        `least` holds for these services. Where very many branches stay open, or a count is
        far from the relaxation's, some are left out, but not out of `least`.
        """
        least = limit.copy()
        rows = np.arange(len(limit))
        left, spent = self.need, self.base
        counts = np.zeros(self.low.shape, dtype=np.int64)
        for level in range(self.low.shape[1]):
            top = self._top(level, rows, left)
            count, outside = self._window(level, rows, left, top)
            after = left[:, None] - self.rate[rows, level, None] * count
            cost = spent[:, None] + self._price(level, count, rows)
            bound = cost + self._rest(level + 1, rows, after)
            for column, cut in zip((0, -1), outside, strict=True):
                np.minimum.at(least, rows[cut], bound[cut, column])
            open_ = (count <= top[:, None]) & (bound <= limit[rows, None] * (1 + SLACK) + SLACK)
            branch, place = np.nonzero(open_)
            if len(branch) > _MOST_OPEN:
                kept = nearest(rows[branch], bound[branch, place], _MOST_OPEN)
                out = np.delete(np.arange(len(branch)), kept)
                np.minimum.at(least, rows[branch[out]], bound[branch[out], place[out]])
                branch, place = branch[kept], place[kept]
            counts = counts[branch]
            counts[:, level] = count[branch, place]
            rows, spent, left = rows[branch], cost[branch, place], after[branch, place]
        np.minimum.at(least, rows, spent + self.lost[rows] * np.maximum(left, 0.0))
        placed = np.empty_like(counts)
        np.put_along_axis(placed, self._order[rows], counts, axis=1)
        return Near(service=self.services[rows], counts=self.low[rows] + placed, least=least)

    def _rest(self, level: int, rows: IntArray, left: FloatArray) -> FloatArray:
        """Return what carrying what is `left`, (F, N), costs at least."""
        if level == self.rate.shape[1]:
            return np.asarray(self.lost[rows, None] * np.maximum(left, 0.0))
        slope, height = self._lines(level)
        result = np.full(left.shape, -np.inf)
        for line in range(slope.shape[1]):
            np.maximum(
                result, slope[rows, line, None] * left + height[rows, line, None], out=result
            )
        return result

    def _top(self, level: int, rows: IntArray, left: FloatArray) -> FloatArray:
        """Return the count beyond which more carry nothing, and cost."""
        rate, room = self.rate[rows, level], self.room[rows, level]
        with np.errstate(divide="ignore", invalid="ignore"):
            enough = np.where(rate > 0, np.ceil(left / rate * (1.0 - SLACK)), 0.0)
        gifts = np.where(self.keep[rows, level] < 0, self.kept[rows, level], 0)
        return np.asarray(np.minimum(room, np.maximum(np.maximum(enough, 0.0), gifts)))

    def _window(
        self, level: int, rows: IntArray, left: FloatArray, top: FloatArray
    ) -> tuple[FloatArray, tuple[BoolArray, BoolArray]]:
        """Return counts to look at, (F, N), and where there are more below, and above."""
        width = int(min(_WIDTH, top.max(initial=0.0) + 1))
        rate = self.rate[rows, level]
        with np.errstate(divide="ignore", invalid="ignore"):
            center = (left - self._better_rps(level)[rows]) / rate
        center = np.clip(np.where(rate > 0, center, 0.0), 0.0, top)
        start = np.clip(np.floor(center) - width // 2, 0.0, np.maximum(top - width + 1, 0.0))
        count = start[:, None] + np.arange(width)
        return count, (start > 0, start + width - 1 < top)
