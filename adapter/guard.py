"""Brakes outside the optimizer (design 4.11): whatever the plan says, this holds. Pure.

In this order:

1. no count falls before a warm-up: so many seconds of complete readings, in all; nor while
   pods are being replaced by a new version,
2. a count falls by at most a share of the last minute's largest, rounded as HPA rounds what
   is left, and by one at least: 8 may become 6,
3. a count rises to at most a multiple of the smallest of the last cold start, or by some
   replicas where that is more: a multiple of one or two is a stop, not a brake,
4. replicas are added only while the budget per hour pays for them; nothing that runs is
   taken away for it.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from optimizer import BoolArray, FloatArray, IntArray, aligned, rows_of

from .catalog import Catalog
from .config import Brakes

__all__ = ["Brake", "GuardState", "Guarded", "guard"]

MINUTE_S = 60.0


class Brake(IntEnum):
    """What held a decision back."""

    NONE = 0
    WARM_UP = 1
    DOWN_RATE = 2
    UP_RATE = 3
    BUDGET = 4
    RESTART = 5  # not here: see resume
    ROLLOUT = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GuardState:
    """Counts that were there in the recent past, a column per tick; rows match by name."""

    names: tuple[str, ...]
    times_s: FloatArray
    counts: IntArray  # (variants, ticks); -1 where a variant wasn't there
    complete_s: FloatArray  # per variant: seconds of complete readings so far

    @classmethod
    def empty(cls) -> "GuardState":
        """Return the state of an adapter that has just started."""
        return cls(
            names=(),
            times_s=np.empty(0),
            counts=np.empty((0, 0), dtype=np.int64),
            complete_s=np.empty(0),
        )

    def interrupted(self, now_s: float) -> "GuardState":
        """Return the state for going on at `now_s` after nobody has watched.

        The time until then warms nothing up.
        """
        gap = np.full((len(self.counts), 1), -1, dtype=np.int64)
        return replace(
            self,
            times_s=np.append(self.times_s, now_s),
            counts=np.concatenate([self.counts, gap], axis=1),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guarded:
    """Counts that may be published, which brake acted on each, and the next state."""

    desired: IntArray
    brake: IntArray
    state: GuardState


def guard(
    state: GuardState,
    *,
    desired: IntArray,
    current: IntArray,
    complete: BoolArray,
    cold_start_s: FloatArray,
    catalog: Catalog,
    now_s: float,
    rolling: BoolArray | None = None,
    reachable: IntArray | None = None,
) -> Guarded:
    """Return `desired` with the brakes applied.

    `complete` says whose readings are, `rolling` whose pods are being replaced, `reachable`
    how many replicas can be had where some can't start (-1: nothing says). Beside replicas
    that serve, what can't start carries nothing, so that no brake keeps it; where none serves
    nothing is known, and all are kept. `cold_start_s` is declared or learned, as the plan was
    made with.
    """
    brakes = catalog.settings.brakes
    state = _aligned(state, catalog.variant_names)
    elapsed_s = now_s - float(state.times_s[-1]) if len(state.times_s) else 0.0
    complete_s = state.complete_s + np.where(complete, elapsed_s, 0.0)
    warm_up_s = np.maximum(brakes.warm_up_s, 2.0 * cold_start_s) if brakes.warm_up_s else 0.0
    warm = complete_s >= warm_up_s
    history = np.concatenate([state.counts, current[:, None]], axis=1)
    age_s = now_s - np.append(state.times_s, now_s)

    result, brake = desired.copy(), np.zeros(len(desired), dtype=np.int64)
    kept = current
    if reachable is not None:
        # One above those that serve: 1 where none does.
        kept = np.where(reachable > 1, np.minimum(current, reachable), current)
    _hold(result, brake, ~warm & (result < kept), kept, Brake.WARM_UP)
    if rolling is not None:
        _hold(result, brake, rolling & (result < current), current, Brake.ROLLOUT)
    largest = np.where(age_s <= MINUTE_S, history, -1).max(axis=1)
    left = np.floor(np.round(largest * (1.0 - brakes.max_scale_down_ratio), 6)).astype(np.int64)
    lowest = np.minimum(np.minimum(left, largest - 1), kept)
    _hold(result, brake, result < lowest, lowest, Brake.DOWN_RATE)
    recent = (age_s[None, :] <= cold_start_s[:, None]) & (history >= 0)
    smallest = np.where(recent, history, np.iinfo(np.int64).max).min(axis=1)
    ceiling = np.floor(np.maximum(smallest, 1) * brakes.max_scale_up_factor).astype(np.int64)
    highest = np.maximum(np.maximum(ceiling, smallest + brakes.min_scale_up_step), current)
    _hold(result, brake, result > highest, highest, Brake.UP_RATE)
    paid = _within_budget(result, current, catalog, brakes)
    _hold(result, brake, result > paid, paid, Brake.BUDGET)
    return Guarded(
        desired=result,
        brake=brake,
        state=_remember(state, current, complete_s, now_s, cold_start_s),
    )


def _hold(
    counts: IntArray, brake: IntArray, where: BoolArray, bound: IntArray, name: Brake
) -> None:
    counts[where] = bound[where]
    brake[where] = name


def _within_budget(
    desired: IntArray, current: IntArray, catalog: Catalog, brakes: Brakes
) -> IntArray:
    """Return the counts that the budgets pay for, cheapest additions first."""
    limits: list[tuple[float, BoolArray]] = []
    namespaces = np.array([key.namespace for key in catalog.variants], dtype=object)
    if brakes.budget_per_hour is not None:
        limits.append((brakes.budget_per_hour, np.ones(len(desired), dtype=np.bool_)))
    limits.extend(
        (amount, namespaces == name) for name, amount in brakes.budget_per_hour_by_namespace.items()
    )
    granted = desired.copy()
    cost = catalog.cost_per_hour
    for amount, members in limits:
        kept = np.minimum(granted, current)
        left = max(0.0, amount - float((kept * cost)[members].sum()))
        for row in _cheapest_first(members & (granted > current), cost):
            wanted = int(granted[row] - current[row])
            affordable = int(left // cost[row]) if cost[row] > 0 else wanted
            added = min(wanted, affordable)
            granted[row] = current[row] + added
            left -= added * cost[row]
    return granted


def _cheapest_first(where: BoolArray, cost: FloatArray) -> list[int]:
    rows = np.flatnonzero(where)
    return [int(row) for row in rows[np.argsort(cost[rows], kind="stable")]]


def _aligned(state: GuardState, names: tuple[str, ...]) -> GuardState:
    if state.names == names:
        return state
    rows = rows_of(names, state.names)
    return replace(
        state,
        names=names,
        counts=aligned(state.counts, rows, absent=-1),
        complete_s=aligned(state.complete_s, rows, absent=0.0),
    )


def _remember(
    state: GuardState, counts: IntArray, complete_s: FloatArray, now_s: float, cold_s: FloatArray
) -> GuardState:
    horizon_s = max(MINUTE_S, float(cold_s.max(initial=0.0)))
    kept = now_s - state.times_s <= horizon_s
    return GuardState(
        names=state.names,
        times_s=np.append(state.times_s[kept], now_s),
        counts=np.concatenate([state.counts[:, kept], counts[:, None]], axis=1),
        complete_s=complete_s,
    )
