"""The arrival rate that each model's replicas will have to carry when they are ready.

Joins the readings with what was learned of starts and of demand: the rate is looked at a
cold start ahead, since a replica that is asked for now takes requests only then.
"""

from dataclasses import dataclass

import numpy as np

from .cold_start import ColdStartState, cold_start_s, observe_starts
from .decision import PlanRequest
from .domain import BoolArray, FloatArray, IntArray, aligned, rows_of
from .forecast import Outlook, observe, outlook
from .forecast_state import BUCKET_S, ForecastState
from .surge import surging_rate_rps

__all__ = ["Ahead", "look_ahead"]

# Standard errors that a level's noise stays within for hours.
SURELY = 4.0
# A replica is sized anew once the dispersion has changed by this factor: capacity goes
# with its logarithm, and a change of less is worth some per cent of it.
DISPERSION_BAND = 1.4
# Windows after which demand has been watched for long enough, however slow replicas start.
LONGEST_WATCH = 100.0
# Standard deviations that a rise stays unseen within.
UNSEEN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ahead:
    """Demand per model over a cold start from now, and the memory that it comes from.

    `offered_rps` is what to have replicas for, `kept_rps` what fewer of them must still
    carry; NaN: nothing was read. A replica that isn't needed is kept for `patience_s`;
    `watched` says where demand has been read for that long, `settled` where it has been
    steady for it. `cold_start_s` is per variant, and so is `dispersion`, of what arrives
    at one of its replicas.
    """

    offered_rps: FloatArray
    kept_rps: FloatArray
    settled: BoolArray
    watched: BoolArray
    patience_s: FloatArray
    outlook: Outlook
    cold_start_s: FloatArray
    dispersion: FloatArray
    forecast: ForecastState
    starts: ColdStartState


def look_ahead(request: PlanRequest) -> Ahead:
    """Return the demand to plan for, per model.

    Notes
    -----
    The largest of the rate that a rise has come to with one standard error on top, of its
    upper quantile a cold start from now, of the level with what it may rise by unseen, and
    of a surge that the newest seconds show. A fall is never planned for before it is there:
    what is forecast to fall is carried until it has.
    """
    variants, models, policy = request.variants, request.models, request.policy
    count, window_s = len(request.model_names), policy.observation_window_s
    starts = observe_starts(
        request.state.starts,
        names=request.variant_names,
        current=variants.current_replicas,
        ready=variants.ready_replicas,
        now_s=request.now_s,
    )
    cold_s = cold_start_s(starts, variants.cold_start_s, default_s=_assumed_start_s(request))
    horizon_s = _horizon_s(variants.model, cold_s, variants.max_replicas > 0, count)
    partial = np.bincount(variants.model[variants.partial], minlength=count) > 0
    forecast = observe(
        request.state.forecast,
        names=request.model_names,
        rate_rps=models.arrival_rate_rps,
        now_s=request.now_s,
        now_unix_s=request.now_unix_s,
        window_s=window_s,
        horizon_s=horizon_s,
        steady=~partial,
    )
    seen = outlook(
        forecast,
        now_s=request.now_s,
        now_unix_s=request.now_unix_s,
        window_s=window_s,
        horizon_s=horizon_s,
        upper_ratio=np.full(count, policy.upper_need_ratio),
        surely_ratio=np.full(count, (1.0 + policy.upper_need_ratio) / 2.0),
    )
    surge_rps = _surging(request, partial, seen.dispersion)
    patience_s = policy.patience_ratio * horizon_s
    # A rise that shows keeps the distance to the level that a steady load would have.
    risen = seen.risen_rps + seen.error_rps
    unseen_rps = _unseen_rps(seen, horizon_s, window_s)
    offered = np.fmax(np.fmax(risen, seen.upper_rps), surge_rps)
    offered = np.fmax(offered, seen.level_rps + unseen_rps)
    known = np.isfinite(models.arrival_rate_rps)
    surely = np.fmax(seen.level_rps + unseen_rps + SURELY * seen.error_rps, seen.surely_rps)
    kept = np.fmax(offered, surely)
    return Ahead(
        offered_rps=np.where(known, offered, np.nan),
        kept_rps=np.where(known, kept, np.nan),
        settled=seen.steady_s >= _scored_s(horizon_s, policy.patience_ratio),
        watched=seen.watched_s >= np.minimum(patience_s, LONGEST_WATCH * window_s),
        patience_s=patience_s,
        outlook=seen,
        cold_start_s=cold_s,
        dispersion=_at_one_replica(request, seen),
        forecast=forecast,
        starts=starts,
    )


def _horizon_s(model: IntArray, cold_s: FloatArray, may_run: BoolArray, count: int) -> FloatArray:
    """Return the longest cold start among each model's variants: any of them may be chosen."""
    horizon = np.zeros(count)
    np.maximum.at(horizon, model[may_run], cold_s[may_run])
    return horizon


def _unseen_rps(seen: Outlook, horizon_s: FloatArray, window_s: float) -> FloatArray:
    """Return by how much the rate may rise without being seen for a cold start.

    Over T seconds a count can't tell a rise below z sqrt(λ I / T) from its own noise; what is
    seen only then is carried by what is there, or by nothing.
    """
    within_s = np.maximum(horizon_s, window_s)
    return np.asarray(UNSEEN * np.sqrt(seen.dispersion * seen.level_rps / within_s))


def _scored_s(horizon_s: FloatArray, patience_ratio: float) -> FloatArray:
    """Return how long a load has to be steady before it counts as settled.

    Beside the patience: until forecasts from before have been scored.
    """
    scored_s = 2.0 * BUCKET_S * np.minimum(horizon_s / BUCKET_S, 1.0)
    return patience_ratio * horizon_s + scored_s


def _at_one_replica(request: PlanRequest, seen: Outlook) -> FloatArray:
    """Return the index of dispersion at one of as many replicas as the level needs.

    Their number follows from concurrency alone: capacity must not move with the count that
    it decides. Nor must it move with every reading: what was sized with stays in force
    until the estimate has left it by more than its noise.
    """
    model, work, profiles = request.variants.model, request.workloads, request.profiles
    slots = request.limits.max_batch_size.astype(np.float64)
    stay_s = work.output_tokens_mean * (profiles.iteration_base_s + slots * profiles.decode_slope_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = np.maximum(seen.level_rps[model] * stay_s / slots, 1.0)
    number = np.where(np.isfinite(number), number, 1.0)
    estimate = 1.0 + (seen.dispersion[model] - 1.0) / number
    before = request.state.recalled(request.state.sized_dispersion, request.variant_names)
    within = np.abs(np.log(estimate / before)) <= np.log(DISPERSION_BAND)
    return np.where(within, before, estimate)


def _surging(request: PlanRequest, partial: BoolArray, dispersion: FloatArray) -> FloatArray:
    """Return the rate of the newest seconds where it has clearly begun to rise, else NaN.

    Where a replica is silent, demand moves for reasons of its own: no rise is read into it.
    """
    state, rate = request.state, request.models.arrival_rate_rps
    before = aligned(state.offered_rps, rows_of(request.model_names, state.model_names))
    surging = surging_rate_rps(
        rate,
        np.where(partial, np.nan, before),
        elapsed_s=request.now_s - state.planned_s,
        window_s=request.policy.observation_window_s,
        dispersion=dispersion,
    )
    return np.where(surging > rate, surging, np.nan)


def _assumed_start_s(request: PlanRequest) -> FloatArray:
    """Return what a start is taken to last while none was watched: as shown, else the default."""
    shown, default_s = request.shown_cold_start_s, request.policy.default_cold_start_s
    if shown is None:
        return np.full(len(request.variants), default_s)
    return np.where(np.isfinite(shown), shown, default_s)
