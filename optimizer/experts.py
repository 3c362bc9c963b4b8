"""Four plain forecasts of a rate, and their mix. Pure.

The last value, the steady level, its trend and its season are each right for some load;
mixed by how they did, they are about as good as the best of them.
"""

import numpy as np

from .domain import FloatArray, IntArray
from .forecast_state import BUCKET_S, EXPERTS, Expert, ForecastState
from .level import Level
from .season import level_at

__all__ = ["mixed", "said_by_experts"]

# Weights fall with this power of the error: by convexity the mix of four is at worst 4 %
# worse than the best of them.
SHARPNESS = 16.0
# A season is believed within this factor.
LARGEST_SEASON = 8.0
# A trend is followed as far as it stands out of the noise of its two means.
TREND_SIGMAS = 1.0
STEADY_SIGMAS = 4.0


def said_by_experts(
    state: ForecastState, level: Level, *, now_unix_s: float, window_s: float, steps: IntArray
) -> FloatArray:
    """Return what each expert says of a bucket to come.

    Parameters
    ----------
    state : ForecastState, M rows
    level : Level, M rows
        The rate now.
    now_unix_s, window_s : float
        Wall clock, NaN: no season; length of a reading. [s]
    steps : array of int, shape (M,), >= 1
        How many buckets ahead.

    Returns
    -------
    ndarray, shape (M, EXPERTS)
        [requests/s]
    """
    ahead_s: FloatArray = steps * np.float64(BUCKET_S)
    rate = level.rate_rps
    experts = np.empty((len(rate), EXPERTS))
    experts[:, Expert.LAST] = state.level.last_rps
    experts[:, Expert.LEVEL] = rate
    experts[:, Expert.TREND] = _trend(state, level, window_s=window_s, ahead_s=ahead_s)
    experts[:, Expert.SEASON] = _season(state, rate, now_unix_s=now_unix_s, ahead_s=ahead_s)
    return experts


def _trend(
    state: ForecastState, level: Level, *, window_s: float, ahead_s: FloatArray
) -> FloatArray:
    """Return the rate that the last two stretches of a horizon's length point to.

    Means over the newest n windows and over the n before it lie n W apart; half their
    difference is how far the newest mean lags.
    """
    spans = 2 ** np.arange(1, state.level.total_rps.shape[1] + 1)
    wanted = np.maximum(ahead_s / (2.0 * window_s), 4.0)
    column = np.clip(np.searchsorted(spans, wanted), 0, len(spans) - 2)
    row = np.arange(len(level))
    count, both = state.level.number[row, column], state.level.number[row, column + 1]
    total, whole = state.level.total_rps[row, column], state.level.total_rps[row, column + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        newer, older = total / count, (whole - total) / (both - count)
        length_s = count * window_s
        noise = np.sqrt(2.0 * state.level.dispersion * np.maximum(newer, 1e-9) / length_s)
        rise = newer - older
        # A level that has been steady for long says that there is no trend.
        sigmas = np.where(level.memory_s >= 4.0 * length_s, STEADY_SIGMAS, TREND_SIGMAS)
        clear = np.sign(rise) * np.maximum(np.abs(rise) - sigmas * noise, 0.0)
        slope = clear / length_s
        pointed = newer + slope * (length_s / 2.0 + ahead_s)
    full = (both == spans[column + 1]) & np.isfinite(pointed) & (clear != 0.0)
    return np.where(full, np.maximum(pointed, 0.0), level.rate_rps)


def _season(
    state: ForecastState, rate_rps: FloatArray, *, now_unix_s: float, ahead_s: FloatArray
) -> FloatArray:
    if not np.isfinite(now_unix_s):
        return rate_rps
    here = level_at(state.season_rps, state.season_mass_s, np.full(len(rate_rps), now_unix_s))
    there = level_at(state.season_rps, state.season_mass_s, now_unix_s + ahead_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.clip(there / here, 1.0 / LARGEST_SEASON, LARGEST_SEASON)
    return np.where(np.isfinite(ratio), rate_rps * ratio, rate_rps)


def mixed(experts: FloatArray, loss: FloatArray) -> FloatArray:
    """Return the experts' mean, weighted by their losses; before any, the level.

    Parameters
    ----------
    experts : array, shape (M, EXPERTS)
        What each said. [requests/s]
    loss : array, shape (M, EXPERTS)
        Mean absolute error of each; NaN: not known. [requests/s]

    Notes
    -----
    Weights are (least loss / loss)^SHARPNESS.
    """
    scored = np.isfinite(loss).all(axis=1)
    best = np.min(np.where(np.isfinite(loss), loss, np.inf), axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(best > 0.0, best / loss, loss <= best) ** SHARPNESS
        mixed = (weight * experts).sum(axis=1) / weight.sum(axis=1)
    return np.where(scored & np.isfinite(mixed), mixed, experts[:, Expert.LEVEL])
