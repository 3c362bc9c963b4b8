"""How far forecasts were off, and quantiles of that without a word about its distribution. Pure."""

from dataclasses import replace

import numpy as np

from .domain import FloatArray
from .forecast_state import EXPERTS, QUANTILES, ForecastState

__all__ = ["QUANTILE_STEP", "error_quantile_rps", "scored"]

# Scores and spreads follow about so many buckets: an hour.
MEMORY_BUCKETS = 120.0
# A quantile moves by this share of the spread when a forecast was wrong about it.
QUANTILE_STEP = 0.1
MEDIAN = 0.5


def scored(state: ForecastState, came_rps: FloatArray) -> ForecastState:
    """Return the state with what was said of the bucket that ends compared to what came.

    Parameters
    ----------
    state : ForecastState, M rows
    came_rps : array, shape (M,)
        The bucket's mean; NaN: nothing was read. [requests/s]
    """
    said = state.said_rps[:, state.turn]
    miss = came_rps[:, None] - said
    error = miss[:, EXPERTS]
    scores = state.scores + np.isfinite(error)
    gain = 1.0 / np.clip(scores, 1.0, MEMORY_BUCKETS)
    loss = _followed(state.loss, np.abs(miss[:, :EXPERTS]), gain[:, None])
    spread = _followed(state.spread_rps, np.abs(error), gain)
    above = error[:, None] > state.offset_ratio * state.spread_rps[:, None]
    # Online quantiles: the step balances where the quantile's share of errors is above.
    wanted = 1.0 - np.array(QUANTILES)
    # The middle is the experts' own affair: shifting it would chase the last burst.
    move = QUANTILE_STEP * (above - wanted) * (wanted != MEDIAN)
    offset = state.offset_ratio + np.where(np.isfinite(error)[:, None], move, 0.0)
    return replace(state, scores=scores, loss=loss, spread_rps=spread, offset_ratio=offset)


def _followed(mean: FloatArray, value: FloatArray, gain: FloatArray) -> FloatArray:
    moved = np.where(np.isnan(mean), value, mean + gain * (value - mean))
    return np.where(np.isnan(value), mean, moved)


def error_quantile_rps(state: ForecastState, ratio: FloatArray) -> FloatArray:
    """Return the quantile of the mix's error, between those that are followed.

    Parameters
    ----------
    state : ForecastState, M rows
    ratio : array, shape (M,), in [0, 1]

    Returns
    -------
    ndarray, shape (M,)
        0 before anything was scored. [requests/s]
    """
    rising = np.maximum.accumulate(state.offset_ratio, axis=1)
    rising = rising * np.nan_to_num(state.spread_rps)[:, None]
    grid = np.array(QUANTILES)
    upper = np.clip(np.searchsorted(grid, ratio), 1, len(grid) - 1)
    part = np.clip((ratio - grid[upper - 1]) / (grid[upper] - grid[upper - 1]), 0.0, 1.0)
    row = np.arange(len(rising))
    return np.asarray((1.0 - part) * rising[row, upper - 1] + part * rising[row, upper])
