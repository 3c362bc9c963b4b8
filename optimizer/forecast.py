"""Demand over a cold start from now: four plain forecasts, mixed by how they did. Pure.

The last value, the steady level, its trend and its season are each right for some load.
All four are made; each is scored on what came, and they are mixed by their scores, so
that the mix is about as good as the best of them. The mix's own errors give quantiles
without a word about their distribution. Nothing is fitted, and nothing is remembered but
columns in ForecastState.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray
from .experts import mixed, said_by_experts
from .forecast_errors import QUANTILE_STEP, error_quantile_rps, scored
from .forecast_state import BUCKET_S, EXPERTS, STEPS, Expert, ForecastState
from .level import follow, level_now
from .season import remembered
from .tails import normal_quantile

__all__ = ["Outlook", "observe", "outlook"]

# What is kept stands above what is bought by so many steps of a quantile.
APART_STEPS = 2.0
# An error is put down to the forecast only where counting alone wouldn't make it.
NOISE_FACTOR = 1.25
# Buckets without a reading after which what was said of them is forgotten.
LONGEST_GAP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlook(Columns):
    """What is known of each model's arrival rate; NaN: nothing. [requests/s]

    Attributes
    ----------
    level_rps, error_rps : ndarray
        The rate now, and its standard error.
    expected_rps : ndarray
        The forecast at the horizon.
    upper_rps, surely_rps : ndarray
        Two quantiles of the rate at the horizon, to buy for and to keep; of the rate
        itself, not of what will be counted in some seconds of it.
    dispersion : ndarray
        Index of dispersion of arrivals.
    risen_rps : ndarray
        The rate after a rise that has begun to show; else the level.
    steady_s : ndarray
        For how long the rate has been what it is. [s]
    watched_s : ndarray
        For how long it has been read. [s]
    """

    level_rps: FloatArray
    error_rps: FloatArray
    risen_rps: FloatArray
    steady_s: FloatArray
    watched_s: FloatArray
    expected_rps: FloatArray
    upper_rps: FloatArray
    surely_rps: FloatArray
    dispersion: FloatArray


def observe(
    state: ForecastState,
    *,
    names: tuple[str, ...],
    rate_rps: FloatArray,
    now_s: float,
    now_unix_s: float,
    window_s: float,
    horizon_s: FloatArray,
    steady: BoolArray,
) -> ForecastState:
    """Return the state after one more reading of every model's arrival rate.

    Parameters
    ----------
    state : ForecastState
    names : tuple of str, length M
        Rows of all other arguments; models that are left out are forgotten.
    rate_rps : array, shape (M,)
        Mean over the last `window_s`; NaN: unknown. [requests/s]
    now_s, now_unix_s : float
        Time on a clock that doesn't run backwards, and on the wall; NaN: no season. [s]
    window_s : float
        [s]
    horizon_s : array, shape (M,)
        How far each model is looked ahead. [s]
    steady : array of bool, shape (M,)
        Whether the reading counts the same replicas as the last one.
    """
    state = state.aligned(names)
    elapsed_s = now_s - state.read_s
    if not elapsed_s > 0.0:
        return state
    level = follow(
        state.level,
        rate_rps,
        now_s=now_s,
        elapsed_s=elapsed_s,
        window_s=window_s,
        steady=steady,
    )
    passed = (now_s - state.bucket_start_s) / BUCKET_S
    if passed > LONGEST_GAP:
        state = _restarted(state, now_s)
    else:
        # More than one only where readings are farther apart than buckets.
        for _ in range(int(passed)):
            state = _closed(
                state, now_s=now_s, now_unix_s=now_unix_s, window_s=window_s, horizon_s=horizon_s
            )
    stands_s = min(elapsed_s, BUCKET_S)
    known = np.isfinite(rate_rps)
    return replace(
        state,
        level=level,
        read_s=now_s,
        bucket_sum=state.bucket_sum + stands_s * np.where(known, rate_rps, 0.0),
        bucket_weight_s=state.bucket_weight_s + stands_s * known,
    )


def outlook(
    state: ForecastState,
    *,
    now_s: float,
    now_unix_s: float,
    window_s: float,
    horizon_s: FloatArray,
    upper_ratio: FloatArray,
    surely_ratio: FloatArray,
) -> Outlook:
    """Return the rate now and at the horizon.

    Parameters
    ----------
    state : ForecastState, M rows
    now_s, now_unix_s, window_s : float
        As in `observe`. [s]
    horizon_s : array, shape (M,), >= 0
        [s]
    upper_ratio, surely_ratio : array, shape (M,), in [0.5, 1)
        Quantiles that are asked for.

    Notes
    -----
    Quantiles of the error are those of counts over a bucket, whose own noise, λ I / B,
    the queueing model accounts for already: it is taken off, and a quarter more, so that
    the noise of the quantiles themselves doesn't show.
    """
    level = level_now(state.level, now_s=now_s, window_s=window_s)
    steps, part = _steps(horizon_s)
    experts = said_by_experts(state, level, now_unix_s=now_unix_s, window_s=window_s, steps=steps)
    ahead = mixed(experts, state.loss)
    expected = np.maximum(level.rate_rps + part * (ahead - level.rate_rps), 0.0)
    noise = np.sqrt(state.level.dispersion * expected / max(BUCKET_S, window_s))

    def quantile(ratio: FloatArray) -> FloatArray:
        """Return the rate at the horizon that is exceeded with probability 1 - `ratio`."""
        z = normal_quantile(ratio)
        offset = part * error_quantile_rps(state, ratio)
        counted = NOISE_FACTOR * z * noise
        rest = np.maximum(offset - counted, 0.0)
        return np.asarray(expected + np.hypot(rest, z * level.error_rps))

    upper = quantile(upper_ratio)
    # Quantiles move by steps: what is kept stands above what is bought by more than one.
    apart = APART_STEPS * QUANTILE_STEP * part * np.nan_to_num(state.spread_rps)
    return Outlook(
        level_rps=level.rate_rps,
        error_rps=level.error_rps,
        risen_rps=level.risen_rps,
        steady_s=level.memory_s,
        watched_s=state.level.number[:, -1] * window_s,
        expected_rps=expected,
        upper_rps=upper,
        surely_rps=np.maximum(quantile(surely_ratio), upper + apart),
        dispersion=state.level.dispersion,
    )


def _steps(horizon_s: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the buckets to look ahead, and the horizon's share of them."""
    steps = np.clip(np.ceil(horizon_s / BUCKET_S), 1, STEPS - 1).astype(np.int64)
    return steps, np.minimum(horizon_s / (steps * BUCKET_S), 1.0)


def _restarted(state: ForecastState, now_s: float) -> ForecastState:
    """Forget what was said of buckets that nobody saw; what was learned stays."""
    return replace(
        state,
        said_rps=np.full_like(state.said_rps, np.nan),
        bucket_start_s=now_s,
        bucket_sum=np.zeros_like(state.bucket_sum),
        bucket_weight_s=np.zeros_like(state.bucket_weight_s),
    )


def _closed(
    state: ForecastState,
    *,
    now_s: float,
    now_unix_s: float,
    window_s: float,
    horizon_s: FloatArray,
) -> ForecastState:
    """Score what was said of the bucket that ends, and speak of one to come."""
    rows = np.arange(len(state.names))
    weight_s = state.bucket_weight_s
    came = np.divide(
        state.bucket_sum, weight_s, out=state.level.last_rps.copy(), where=weight_s > 0
    )
    state = _in_season(scored(state, came), came, now_unix_s=now_unix_s, window_s=window_s)
    steps, _ = _steps(horizon_s)
    level = level_now(state.level, now_s=now_s, window_s=window_s)
    experts = said_by_experts(state, level, now_unix_s=now_unix_s, window_s=window_s, steps=steps)
    experts[:, Expert.LAST] = came
    said = state.said_rps.copy()
    said[:, state.turn] = np.nan
    # The bucket that starts now is one step ahead of the one that ended.
    place = (state.turn + steps) % STEPS
    said[rows, place, :EXPERTS] = experts
    said[rows, place, EXPERTS] = mixed(experts, state.loss)
    return replace(
        state,
        said_rps=said,
        turn=(state.turn + 1) % STEPS,
        bucket_start_s=state.bucket_start_s + BUCKET_S,
        bucket_sum=np.zeros(len(rows)),
        bucket_weight_s=np.zeros(len(rows)),
    )


def _in_season(
    state: ForecastState, came_rps: FloatArray, *, now_unix_s: float, window_s: float
) -> ForecastState:
    if not np.isfinite(now_unix_s):
        return state
    mean, mass = remembered(
        state.season_rps,
        state.season_mass_s,
        came_rps,
        at_unix_s=now_unix_s - (BUCKET_S + window_s) / 2.0,
        lasted_s=BUCKET_S,
    )
    return replace(state, season_rps=mean, season_mass_s=mass)
