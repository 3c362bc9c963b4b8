"""The arrival rate that each model's replicas will have to carry when they are ready.

Joins the readings with what was learned of starts and of demand: the rate is looked at a
cold start ahead, since a replica that is asked for now takes requests only then.
"""

from dataclasses import dataclass

import numpy as np

from .cold_start import ColdStartState, cold_start_s, observe_starts
from .decision import PlanRequest
from .dispersion import long_run
from .domain import BoolArray, FloatArray
from .forecast import Outlook, observe, outlook
from .forecast_state import BUCKET_S, ForecastState
from .rises import (
    RiseState,
    observe_rises,
    risen_to_rps,
    rises_expected_rps,
    still_expected,
)

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

    `now_rps` is what comes now, `offered_rps` what to have replicas for, `kept_rps` what
    fewer of them must still carry; NaN: nothing was read. `coming_rps` is what a load that
    rises again and again will probably come to, else NaN. A replica that isn't needed is
    kept for `patience_s`, the last one for `zero_after_s`; `watched` says where demand has been
    read for that long, `settled` where it has been steady for it. `cold_start_s` is per variant,
    and so is `dispersion`, of what arrives at one of its replicas; `horizon_s` is the longest of
    each model.
    """

    now_rps: FloatArray
    offered_rps: FloatArray
    kept_rps: FloatArray
    settled: BoolArray
    watched: BoolArray
    coming_rps: FloatArray
    horizon_s: FloatArray
    patience_s: FloatArray
    zero_after_s: FloatArray
    outlook: Outlook
    cold_start_s: FloatArray
    dispersion: FloatArray
    forecast: ForecastState
    starts: ColdStartState
    rises: RiseState


def look_ahead(request: PlanRequest) -> Ahead:
    """Return the demand to plan for, per model.

    Notes
    -----
    The largest of the rate that a rise has come to with one standard error on top, of its
    upper quantile a cold start from now, of the level with what it may rise by unseen, of
    a rise that the newest seconds show. A fall is never planned for before it is there:
    what is forecast to fall is carried until it has.
    """
    policy, window_s = request.policy, request.policy.observation_window_s
    starts, cold_s = _starts(request)
    horizon_s = _horizon_s(request, cold_s)
    forecast, seen = _foreseen(request, horizon_s)
    rises, risen_rps, coming_rps = _rises(request, seen, horizon_s)
    patience_s = policy.patience_ratio * horizon_s
    unseen_rps = seen.level_rps + _unseen_rps(seen, horizon_s, window_s)
    # A rise that shows keeps the distance to the level that a steady load would have.
    offered = np.fmax(np.fmax(seen.risen_rps + seen.error_rps, seen.upper_rps), unseen_rps)
    offered = np.fmax(offered, risen_rps)
    surely = np.fmax(unseen_rps + SURELY * seen.error_rps, seen.surely_rps)
    known = np.isfinite(request.models.arrival_rate_rps)
    return Ahead(
        now_rps=np.fmax(seen.risen_rps, risen_rps),
        offered_rps=np.where(known, offered, np.nan),
        kept_rps=np.where(known, np.fmax(offered, surely), np.nan),
        settled=seen.steady_s >= _scored_s(horizon_s, policy.patience_ratio),
        watched=seen.watched_s >= np.minimum(patience_s, LONGEST_WATCH * window_s),
        coming_rps=coming_rps,
        horizon_s=horizon_s,
        patience_s=patience_s,
        zero_after_s=_zero_after_s(request, horizon_s, patience_s),
        outlook=seen,
        cold_start_s=cold_s,
        dispersion=_at_one_replica(request, seen),
        forecast=forecast,
        starts=starts,
        rises=rises,
    )


def _starts(request: PlanRequest) -> tuple[ColdStartState, FloatArray]:
    """Return what is known of starts now, and what each variant is planned to take for one."""
    variants = request.variants
    starts = observe_starts(
        request.state.starts,
        names=request.variant_names,
        current=variants.current_replicas,
        ready=variants.ready_replicas,
        now_s=request.now_s,
    )
    assumed_s = _assumed_start_s(request)
    return starts, cold_start_s(starts, variants.cold_start_s, default_s=assumed_s)


def _foreseen(request: PlanRequest, horizon_s: FloatArray) -> tuple[ForecastState, Outlook]:
    """Return the forecast with the newest reading in it, and what it says."""
    policy, count = request.policy, len(request.model_names)
    forecast = observe(
        request.state.forecast,
        names=request.model_names,
        rate_rps=request.models.arrival_rate_rps,
        now_s=request.now_s,
        now_unix_s=request.now_unix_s,
        window_s=policy.observation_window_s,
        horizon_s=horizon_s,
        steady=~_partial(request),
    )
    return forecast, outlook(
        forecast,
        now_s=request.now_s,
        now_unix_s=request.now_unix_s,
        window_s=policy.observation_window_s,
        horizon_s=horizon_s,
        upper_ratio=np.full(count, policy.upper_need_ratio),
        surely_ratio=np.full(count, (1.0 + policy.upper_need_ratio) / 2.0),
    )


def _rises(
    request: PlanRequest, seen: Outlook, horizon_s: FloatArray
) -> tuple[RiseState, FloatArray, FloatArray]:
    """Return the rises so far, what the newest seconds have risen to, and what may come; or NaN."""
    now_s, window_s = request.now_s, request.policy.observation_window_s
    rate, before = request.models.arrival_rate_rps, request.state.rises
    before = before.for_models(request.model_names)
    complete = ~_partial(request)
    risen = risen_to_rps(before, rate, now_s=now_s, window_s=window_s, dispersion=seen.dispersion)
    risen = np.where(complete, risen, np.nan)
    rises = observe_rises(
        before,
        rate,
        level_rps=seen.level_rps,
        risen_rps=np.fmax(seen.risen_rps, risen),
        believed=complete,
        now_s=now_s,
        window_s=window_s,
        answer_s=horizon_s + window_s,
    )
    rate_now = np.fmax(seen.level_rps, seen.risen_rps)
    coming = rises_expected_rps(
        rises,
        rate_now,
        now_s=now_s,
        answer_s=horizon_s + window_s,
        after_rises=request.policy.expected_after_rises,
        upper_ratio=request.policy.upper_need_ratio,
    )
    rises, coming = still_expected(
        rises,
        coming,
        rate_now,
        now_s=now_s,
        window_s=window_s,
        patience_s=request.policy.patience_ratio * horizon_s,
    )
    return rises, risen, coming


def _partial(request: PlanRequest) -> BoolArray:
    """Return the models of which a replica is silent: their demand moves for other reasons."""
    variants = request.variants
    count = len(request.model_names)
    return np.asarray(np.bincount(variants.model[variants.partial], minlength=count) > 0)


def _horizon_s(request: PlanRequest, cold_s: FloatArray) -> FloatArray:
    """Return the longest cold start among each model's variants: any of them may be chosen."""
    variants, horizon = request.variants, np.zeros(len(request.model_names))
    may_run = variants.max_replicas > 0
    np.maximum.at(horizon, variants.model[may_run], cold_s[may_run])
    return horizon


def _zero_after_s(
    request: PlanRequest, horizon_s: FloatArray, patience_s: FloatArray
) -> FloatArray:
    """Return how long a model that nobody asks for keeps its last replica. [s]

    Where a request that has to wait for a start still gets its first token in time, one that
    isn't there costs a start and nothing else: it goes after as long as that takes, which costs
    at most twice what somebody pays who knows when the next request comes (ski rental).
    """
    policy = request.policy
    ttft_s = np.full(len(horizon_s), np.inf)
    np.minimum.at(ttft_s, request.variants.model, np.nan_to_num(request.slo.ttft_s, nan=np.inf))
    in_time = np.isfinite(ttft_s) & (ttft_s >= horizon_s + policy.observation_window_s)
    started_s = np.fmax(patience_s, policy.observation_window_s)
    return np.where(in_time, np.fmin(started_s, policy.zero_after_s), policy.zero_after_s)


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

    What is counted from reading to reading is extrapolated to bursts of any length. The
    number of replicas follows from concurrency alone: capacity must not move with the count
    that it decides. Nor must it move with every reading: what was sized with stays in force
    until the estimate has left it by more than its noise.
    """
    model, work, profiles = request.variants.model, request.workloads, request.profiles
    slots = request.limits.max_batch_size.astype(np.float64)
    stay_s = work.output_tokens_mean * (profiles.iteration_base_s + slots * profiles.decode_slope_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = np.maximum(seen.level_rps[model] * stay_s / slots, 1.0)
    number = np.where(np.isfinite(number), number, 1.0)
    apart_s = min(
        request.now_s - request.state.forecast.read_s, request.policy.observation_window_s
    )
    dispersion = long_run(seen.dispersion, np.fmax(seen.level_rps, 0.0) * apart_s)
    estimate = 1.0 + (dispersion[model] - 1.0) / number
    before = request.state.recalled(request.state.sized_dispersion, request.variant_names)
    within = np.abs(np.log(estimate / before)) <= np.log(DISPERSION_BAND)
    return np.where(within, before, estimate)


def _assumed_start_s(request: PlanRequest) -> FloatArray:
    """Return what a start is taken to last while none was watched: as shown, else the default."""
    shown, default_s = request.shown_cold_start_s, request.policy.default_cold_start_s
    if shown is None:
        return np.full(len(request.variants), default_s)
    return np.where(np.isfinite(shown), shown, default_s)
