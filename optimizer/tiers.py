"""Which variants may run side by side where a router gives fixed shares. Pure.

With shares w, the replicas that are the worst for their share bind all others: each carries
w t, with t the least rate / w among those that run. For a given t that is additive again, over
the variants that reach it; so each t of a model is tried, and the cheapest plan tells which one
the decision is made with: variants below it are left out, unless their lower bound keeps them.
"""

from dataclasses import dataclass

import numpy as np

from .allocation import cheapest_mix
from .change import change_per_hour, start_per_hour
from .decision import PlanRequest
from .domain import BoolArray, FloatArray, IntArray
from .need import TRICKLE_RPS
from .roles import asked_of_roles
from .routing import Routed

__all__ = ["rates_side_by_side"]

_SLACK = 1e-9


def rates_side_by_side(
    request: PlanRequest,
    router: Routed,
    *,
    rate_rps: FloatArray,
    known: BoolArray,
    demand_rps: FloatArray,
    cold_start_s: FloatArray,
) -> FloatArray:
    """Return what a replica of each variant is planned to carry; 0: it had better not run.

    Parameters
    ----------
    request : PlanRequest
    router : Routed
    rate_rps : array, shape (V,)
        What a replica could carry, sent as much as that. [requests/s]
    known : ndarray of bool, shape (V,)
        Whether that is known; what isn't binds nobody.
    demand_rps : array, shape (M,)
        To choose for; NaN: not known, and what runs stays. [requests/s]
    cold_start_s : array, shape (V,)
    """
    fixed = np.isfinite(router.weight) & known & (rate_rps > 0)
    number = np.bincount(router.rows, weights=fixed)
    mine = np.flatnonzero(fixed & (number >= 2)[router.rows])
    if len(mine) == 0:
        return rate_rps
    asked_rps = asked_of_roles(router.rows, demand_rps).ravel()
    level = _levels(request, router, rate_rps, mine)
    chosen = _cheapest(request, router, level, asked_rps, cold_start_s)
    rows, weight = router.rows[mine], router.weight[mine]
    planned = rate_rps.copy()
    reached = level.score >= chosen[rows] * (1.0 - _SLACK)
    planned[mine] = np.where(reached, weight * chosen[rows], 0.0)
    return planned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Levels:
    """Variants (N,) behind fixed shares: what they reach, what keeps them, how many may be."""

    variant: IntArray
    score: FloatArray  # rate / share
    kept: BoolArray  # runs whatever is chosen
    runs: BoolArray
    most: IntArray


def _levels(request: PlanRequest, router: Routed, rate_rps: FloatArray, mine: IntArray) -> _Levels:
    variants = request.variants
    here, least = variants.current_replicas[mine], variants.min_replicas[mine]
    silent = (variants.partial | variants.blind)[mine]
    kept = (least > 0) | (silent & (here > 0))
    return _Levels(
        variant=mine,
        score=rate_rps[mine] / router.weight[mine],
        kept=kept,
        runs=kept | (here > 0),
        most=np.maximum(_most(request)[mine], least),
    )


def _most(request: PlanRequest) -> IntArray:
    """Return the upper bounds, with what accelerators, quotas and budgets leave of them."""
    most = request.variants.max_replicas.copy()
    if request.supply is not None:
        uses = request.supply.in_force(request.variants.current_replicas)
        fits = np.floor(uses.capacity[uses.resource] / uses.units * (1.0 + _SLACK))
        np.minimum.at(most, uses.variant, fits.astype(np.int64))
    return most


def _cheapest(
    request: PlanRequest,
    router: Routed,
    level: _Levels,
    asked_rps: FloatArray,
    cold_start_s: FloatArray,
) -> FloatArray:
    """Return the score that the variants of each row have to reach, shape (R,)."""
    rows, score = router.rows[level.variant], level.score
    kept_score, now_score = (
        _least(rows, score, flag, len(asked_rps)) for flag in (level.kept, level.runs)
    )
    tried = _tried(rows, score, kept_score)
    row = rows[tried]
    tried_plans = _Tried.of(rows, tried)
    value, reach_rps = tried_plans.valued(request, router, level, asked_rps[row], cold_start_s)
    # What runs side by side now is given up only for a saving that is worth it.
    stays = np.abs(score[tried] - now_score[row]) <= _SLACK * score[tried]
    value = np.where(stays, value * (1.0 - request.policy.change_price_ratio), value)
    value = np.where(stays & np.isnan(asked_rps[row]), -np.inf, value)
    best = np.lexsort((score[tried], value, -reach_rps, row))
    _, first = np.unique(row[best], return_index=True)
    chosen = np.zeros(len(asked_rps))
    chosen[row[best[first]]] = score[tried[best[first]]]
    return chosen


def _tried(rows: IntArray, score: FloatArray, most: FloatArray) -> IntArray:
    """Return a variant for each score of a row that is at most its `most`, each score once."""
    order = np.lexsort((score, rows))
    distinct = np.ones(len(order), dtype=np.bool_)
    distinct[1:] = (np.diff(rows[order]) > 0) | (np.diff(score[order]) > 0)
    return order[distinct & (score[order] <= most[rows[order]] * (1.0 + _SLACK))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tried:
    """Plans that are tried, (T,), and the variants of each, (E,) entries."""

    bar: IntArray  # the variant whose score has to be reached
    plan: IntArray
    member: IntArray

    @classmethod
    def of(cls, rows: IntArray, bar: IntArray) -> "_Tried":
        """Return the plans with all variants of their rows."""
        order = np.argsort(rows, kind="stable")
        number = np.bincount(rows)
        start = np.cumsum(number) - number
        each = number[rows[bar]]
        plan = np.repeat(np.arange(len(bar)), each)
        place = np.arange(len(plan)) - np.repeat(np.cumsum(each) - each, each)
        return cls(bar=bar, plan=plan, member=order[start[rows[bar]][plan] + place])

    def valued(
        self,
        request: PlanRequest,
        router: Routed,
        level: _Levels,
        asked_rps: FloatArray,
        cold_start_s: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return cost and price of change, and what each carries if it can't carry what is asked.

        That is infinite for those which can.
        """
        variants, variant = request.variants, level.variant[self.member]
        bar = level.score[self.bar][self.plan]
        reaches = level.score[self.member] >= bar * (1.0 - _SLACK)
        rate = np.where(reaches, router.weight[variant] * bar, 0.0)
        cost, here = variants.cost_per_hour[variant], variants.current_replicas[variant]
        most = level.most[self.member]
        mix = cheapest_mix(
            model=self.plan,
            rate_rps=rate,
            cost_per_hour=cost,
            lowest=variants.min_replicas[variant],
            highest=most,
            demand_rps=np.maximum(np.nan_to_num(asked_rps), TRICKLE_RPS),
        )
        start = start_per_hour(cost, cold_start_s[variant])
        spent = cost * mix.replicas + change_per_hour(start, here, mix.replicas)
        count = len(self.bar)
        value = np.bincount(self.plan, weights=spent, minlength=count)
        reach_rps = np.bincount(self.plan, weights=rate * most, minlength=count)
        return value.astype(np.float64), np.where(mix.covered, np.inf, reach_rps)


def _least(rows: IntArray, score: FloatArray, among: BoolArray, count: int) -> FloatArray:
    """Return the least score of each row, infinite where there is none."""
    least = np.full(count, np.inf)
    np.minimum.at(least, rows[among], score[among])
    return least
