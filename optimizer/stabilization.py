"""When a count may change: up at once, down only when the recent peak allows it.

Rules, all in this file:

1. What is there and carries the need stays, unless a cheaper plan also carries the
   recent peak with the hysteresis on top.
2. More is added to what is there in one step; nothing is taken away in the same step.
3. A change has a price: starting a replica, and stopping one. What is added, what goes, and
   whether variants are swapped is chosen with it; a swap has to save a share of the cost on
   top, and waits until the load stands still.
4. Nothing is removed before replicas that stay and are *ready* carry the peak;
   starting replicas count on the way up, never on the way down.
5. A variant whose readings are partial or missing never loses a replica, and none loses
   more than its requests in flight can spare.

Time comes in as numbers; memory comes in and goes out as PlanState.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from .allocation import cheapest_mix
from .change import STOP_SHARE, change_per_hour
from .decision import Binding, PlanState, Policy
from .domain import BoolArray, FloatArray, IntArray, rows_of
from .tables import VariantTable

__all__ = ["DemandMemory", "Settlement", "remember_demand", "settle"]

BUCKETS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandMemory:
    """Recent demand per model: the peak of the window, and when there last was any."""

    bucket_start_s: float
    peaks_rps: FloatArray  # (models, BUCKETS), newest last
    seen_demand_s: FloatArray
    peak_rps: FloatArray  # (models,), of the last `down_window_s`
    lasting_rps: FloatArray  # ... of as long as a replica that isn't needed is kept


def remember_demand(
    state: PlanState,
    *,
    model_names: tuple[str, ...],
    demand_rps: FloatArray,
    now_s: float,
    policy: Policy,
    patience_s: FloatArray | None = None,
) -> DemandMemory:
    """Add the demand of now to the history and forget what left the window.

    Parameters
    ----------
    state : PlanState
        Memory of the last plan; its rows are matched by name.
    model_names : tuple of str, length M
    demand_rps : array, shape (M,), >= 0 or NaN for unknown
        Demand now. [requests/s]
    now_s : float
        Time of the plan, on any clock that doesn't run backwards. [s]
    policy : Policy
    patience_s : array, shape (M,), optional
        How long a replica that isn't needed is kept; at least `down_window_s`. [s]

    Returns
    -------
    DemandMemory

    Notes
    -----
    Keeping what isn't needed for as long as starting it again would take costs at most twice
    what somebody pays who knows the future (ski rental [1]_).

    .. [1] A. R. Karlin et al., "Competitive snoopy caching", Algorithmica 3 (1988) 79-119.
    """
    window_s = np.full(len(model_names), policy.down_window_s)
    kept_s = window_s if patience_s is None else np.fmax(window_s, patience_s)
    width_s = float(kept_s.max(initial=policy.down_window_s)) / BUCKETS
    peaks = np.full((len(model_names), BUCKETS), np.nan)
    seen = np.full(len(model_names), now_s)
    rows = rows_of(model_names, state.model_names)
    known = rows >= 0
    if state.peaks_rps.shape[1] == BUCKETS:
        peaks[known] = state.peaks_rps[rows[known]]
    seen[known] = state.seen_demand_s[rows[known]]
    elapsed = (now_s - state.bucket_start_s) / width_s
    steps = int(np.clip(np.floor(elapsed), 0, BUCKETS)) if np.isfinite(elapsed) else BUCKETS
    if steps:
        peaks = np.concatenate([peaks[:, steps:], np.full((len(peaks), steps), np.nan)], axis=1)
    start_s = now_s if steps == BUCKETS else state.bucket_start_s + steps * width_s
    peaks[:, -1] = np.fmax(peaks[:, -1], demand_rps)
    seen = np.where(demand_rps > 0, now_s, seen)
    return DemandMemory(
        bucket_start_s=start_s,
        peaks_rps=peaks,
        seen_demand_s=seen,
        peak_rps=_newest_peak(peaks, window_s / width_s),
        lasting_rps=_newest_peak(peaks, kept_s / width_s),
    )


def _newest_peak(peaks_rps: FloatArray, buckets: FloatArray) -> FloatArray:
    """Return the largest of each row's newest `buckets`, whole ones; NaN where none is known."""
    age = np.arange(BUCKETS)[::-1]
    recent = age < np.ceil(np.round(buckets, 6))[:, None]
    peak = np.fmax.reduce(np.where(recent, peaks_rps, np.nan), axis=1, initial=np.nan)
    return np.asarray(peak, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settlement:
    """Counts after stabilization, why, and which models stay short of their need."""

    desired: IntArray
    binding: IntArray
    covered: BoolArray


def settle(
    *,
    variants: VariantTable,
    rate_rps: FloatArray,
    lowest: IntArray,
    highest: IntArray,
    removable: IntArray,
    need_rps: FloatArray,
    peak_rps: FloatArray,
    policy: Policy,
    start_per_hour: FloatArray | None = None,
    steady: BoolArray | None = None,
) -> Settlement:
    """Return the counts to ask for, given what is there and what is needed.

    Parameters
    ----------
    variants : VariantTable, V rows
        Current and ready counts, costs and the flags of incomplete readings.
    rate_rps : array, shape (V,), >= 0
        Capacity of one replica within its SLO. [requests/s]
    lowest, highest : array of int, shape (V,)
        Bounds in force: declared ones, narrowed for variants that are frozen.
    removable : array of int, shape (V,)
        How many replicas may go at once without stranding requests in flight.
    need_rps, peak_rps : array, shape (M,), >= 0
        Need now, and the largest of the recent past (>= now). [requests/s]
    policy : Policy
    start_per_hour : array, shape (V,), optional
        Price of a start, spread over the time that it is expected to last; none by default.
        [currency/h]
    steady : array of bool, shape (M,), optional
        Whose demand stands still, so that what starts for a saving alone has time to save it;
        by default all.

    Returns
    -------
    Settlement
    """
    model, cost = variants.model, variants.cost_per_hour
    here = np.clip(variants.current_replicas, lowest, highest)
    start = np.zeros(len(cost)) if start_per_hour is None else start_per_hour
    mix = partial(cheapest_mix, model=model, rate_rps=rate_rps)
    grown = mix(cost_per_hour=cost + start, lowest=here, highest=highest, demand_rps=need_rps)
    short = _total(model, here * rate_rps, need_rps) < need_rps * (1.0 - 1e-9)

    target_rps = np.maximum(peak_rps, need_rps) * (1.0 + policy.down_hysteresis_ratio)
    kept = np.where(variants.partial | variants.blind, here, here - removable)
    floor = np.maximum(lowest, kept)
    # Only of who isn't short: the others grow.
    asked_rps = np.where(short, 0.0, target_rps)
    gone = np.maximum(cost - STOP_SHARE * start, 0.0)
    shrunk = mix(cost_per_hour=gone, lowest=floor, highest=here, demand_rps=asked_rps)
    stays = np.where(shrunk.covered[model], shrunk.replicas, here)
    swapped, swap = stays, np.zeros(len(need_rps), dtype=np.bool_)
    lasting = np.ones_like(swap) if steady is None else steady
    spent = _total(model, cost * stays + change_per_hour(start, here, stays), need_rps)
    least = policy.change_price_ratio * _total(model, cost * stays, need_rps)
    # Cheapest by the hour, and cheapest if all were to be started: the price lies between.
    for price in (cost, cost + start) if _differs(model, start, cost) else (cost,):
        other = mix(cost_per_hour=price, lowest=floor, highest=highest, demand_rps=asked_rps)
        costs = cost * other.replicas + change_per_hour(start, here, other.replicas)
        spend = _total(model, costs, need_rps)
        better = other.covered & lasting & (spend < spent - np.where(swap, 0.0, least))
        swapped = np.where(better[model], other.replicas, swapped)
        spent, swap = np.where(better, spend, spent), swap | better
    smaller = np.where(swap[model], swapped, stays)

    carried_rps = _total(model, np.minimum(variants.ready_replicas, smaller) * rate_rps, need_rps)
    ready = carried_rps >= target_rps * (1.0 - 1e-9)
    # Meanwhile goes what neither the new mix nor the one that carries the peak until then needs.
    enough_rps = _total(model, np.minimum(variants.ready_replicas, stays) * rate_rps, need_rps)
    enough = enough_rps >= target_rps * (1.0 - 1e-9)
    meanwhile = np.where(enough[model], np.maximum(smaller, stays), np.maximum(smaller, here))
    released = np.where(ready[model], smaller, meanwhile)
    desired = np.where(short[model], grown.replicas, released)
    binding = _bindings(
        desired=desired,
        here=here,
        smaller=smaller,
        short=short[model],
        swap=swap[model],
        window=(peak_rps > need_rps * (1.0 + policy.down_hysteresis_ratio))[model],
    )
    return Settlement(desired=desired, binding=binding, covered=~short | grown.covered)


def _differs(model: IntArray, start: FloatArray, cost: FloatArray) -> bool:
    """Return whether starts cost a variant more, for its price, than another of its model."""
    ratio = np.divide(start, cost, out=np.zeros_like(start), where=cost > 0)
    most = np.zeros(int(model.max(initial=-1)) + 1)
    np.maximum.at(most, model, ratio)
    return bool((ratio < most[model] * (1.0 - 1e-9)).any())


def _total(model: IntArray, values: FloatArray, like: FloatArray) -> FloatArray:
    """Sum per-variant values over each model."""
    return np.bincount(model, weights=values, minlength=len(like)).astype(np.float64)


def _bindings(
    *,
    desired: IntArray,
    here: IntArray,
    smaller: IntArray,
    short: BoolArray,
    swap: BoolArray,
    window: BoolArray,
) -> IntArray:
    kept_for_handover = ~short & (desired > smaller)
    conditions = [
        short & (desired > here),
        kept_for_handover,
        ~short & swap & (desired != here),
        ~short & (desired < here),
        window & (desired == here),
    ]
    reasons = [
        Binding.DEMAND,
        Binding.HANDOVER,
        Binding.COST,
        Binding.DEMAND,
        Binding.SCALE_DOWN_WINDOW,
    ]
    return np.select(conditions, [int(r) for r in reasons], int(Binding.STEADY)).astype(np.int64)
