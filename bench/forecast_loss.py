"""Forecasts of demand against the last value: pinball loss, on a trace and on made-up days.

Each series is read as the adapter reads it, a mean over a window every few seconds; the
forecast is of the mean over 30 s, a cold start from now. The baseline says that it will be
what it was in the last 30 s. Quantiles are what counts are bought at: the median, and the
upper ones that a scale-up plans for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optimizer.domain import FloatArray
from optimizer.forecast import observe
from optimizer.forecast_errors import error_quantile_rps
from optimizer.forecast_state import BUCKET_S, EXPERTS, STEPS, Expert, ForecastState

from .report import Row, run_bench

COMMAND = "python -m bench forecast_loss"
TRACE = Path(__file__).parents[1].parent / "shared" / "traces" / "azure-2023-code.csv"
TICK_S = 5.0
WINDOW_S = 20.0
HORIZONS_S = (60.0, 120.0, 300.0)
JUDGED = (0.5, 0.9, 0.95)
# Copies of each made-up series, drawn with different seeds, side by side as models.
COPIES = 8
DAY_S = 86400.0
# Weekday shape of the coding trace of 2024, requests per minute by hour (published plots).
CODING = (
    400, 380, 360, 350, 380, 500, 1000, 2200, 3600, 4600, 5200, 5400,
    4600, 5200, 5600, 5500, 5000, 4000, 2800, 1800, 1200, 900, 700, 500,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Arrivals per tick of some models, shape (ticks, M), from `start_unix_s` on."""

    name: str
    counts: FloatArray
    start_unix_s: float = 4.0 * DAY_S
    judged_from_s: float = 600.0


def measure() -> list[Row]:
    """Return pinball losses over the last value's, by series and horizon."""
    print(f"  {'series':22} {'ahead':>6} " + " ".join(f"{f'q{q:g}':>16}" for q in JUDGED))
    rows, worst = [], 0.0
    for series in _all_series():
        for horizon_s in HORIZONS_S:
            ours, last = losses(series, horizon_s)
            ratio = ours / last
            worst = max(worst, float(ratio.max()))
            told = " ".join(f"{o:8.4f} ({r:5.2f})" for o, r in zip(ours, ratio, strict=True))
            print(f"  {series.name:22} {horizon_s:4.0f} s {told}", flush=True)
            rows.append(
                Row(
                    name=f"forecast_{series.name}_{horizon_s:.0f}s",
                    value=float(ours.mean()),
                    unit="requests/s, mean pinball loss",
                    baseline=f"last value {last.mean():.4g}",
                    ratio=float(ours.mean() / last.mean()),
                    command=COMMAND,
                )
            )
    rows.append(
        Row(
            name="forecast_worst_quantile",
            value=worst,
            unit="pinball loss over the last value's",
            baseline="goal: at most 1.05",
            ratio=worst,
            command=COMMAND,
        )
    )
    return rows


def losses(series: Series, horizon_s: float) -> tuple[FloatArray, FloatArray]:
    """Return mean pinball losses per judged quantile: ours, and the last value's."""
    count = series.counts.shape[1]
    names = tuple(f"m{i}" for i in range(count))
    state = ForecastState.empty(names)
    window = int(WINDOW_S / TICK_S)
    totals = np.cumsum(np.concatenate([np.zeros((window, count)), series.counts]), axis=0)
    rates = (totals[window:] - totals[:-window]) / WINDOW_S
    steady, horizon = np.ones(count, dtype=np.bool_), np.full(count, horizon_s)
    steps = int(np.ceil(horizon_s / BUCKET_S))
    ours, last = (np.full((STEPS, count, k), np.nan) for k in (len(JUDGED), 1))
    sums, number = np.zeros((2, len(JUDGED))), 0
    for tick, rate in enumerate(rates):
        now_s = tick * TICK_S
        before = state
        state = observe(
            state,
            names=names,
            rate_rps=rate,
            now_s=now_s,
            now_unix_s=series.start_unix_s + now_s,
            window_s=WINDOW_S,
            horizon_s=horizon,
            steady=steady,
        )
        if state.turn == before.turn or not np.isfinite(before.bucket_start_s):
            continue
        came = before.bucket_sum / before.bucket_weight_s
        if now_s > series.judged_from_s and np.isfinite(ours[before.turn]).all():
            for row, said in enumerate((ours[before.turn], last[before.turn])):
                miss = came[:, None] - said
                quantile = np.array(JUDGED)
                sums[row] += np.maximum(quantile * miss, (quantile - 1.0) * miss).mean(axis=0)
            number += 1
        place = (before.turn + steps) % STEPS
        said = state.said_rps[:, place]
        offsets = [error_quantile_rps(state, np.full(count, q)) for q in JUDGED]
        ours[place] = said[:, EXPERTS, None] + np.stack(offsets, axis=1)
        last[place] = said[:, Expert.LAST, None]
    return sums[0] / number, sums[1] / number


def _all_series() -> Iterator[Series]:
    random = np.random.default_rng(11)
    yield Series(name="steady", counts=_poisson(random, np.full(_ticks(4 * 3600.0), 10.0)))
    yield Series(name="steady_slow", counts=_poisson(random, np.full(_ticks(4 * 3600.0), 0.5)))
    steps = np.repeat(random.uniform(2.0, 20.0, 24), _ticks(600.0))
    yield Series(name="steps", counts=_poisson(random, steps))
    ramps = np.interp(
        np.arange(_ticks(14400.0)) * TICK_S % 3600.0, [0, 1200, 2400, 3600], [4, 4, 40, 4]
    )
    yield Series(name="ramps", counts=_poisson(random, ramps))
    bursts = np.where(np.arange(_ticks(14400.0)) * TICK_S % 1800.0 < 120.0, 40.0, 8.0)
    yield Series(name="bursts", counts=_poisson(random, bursts))
    yield Series(name="coding_days", counts=_days(random, days=3), judged_from_s=DAY_S)
    if TRACE.exists():
        yield Series(name="azure_2023_code", counts=_trace())
    else:
        print(f"  azure_2023_code left out: {TRACE} isn't there")


def _ticks(seconds: float) -> int:
    return int(seconds / TICK_S)


def _poisson(random: np.random.Generator, rate_rps: FloatArray) -> FloatArray:
    return random.poisson(rate_rps[:, None] * TICK_S, (len(rate_rps), COPIES)).astype(np.float64)


def _days(random: np.random.Generator, *, days: int) -> FloatArray:
    """Return weekdays of the coding shape, each day and each few minutes of its own height."""
    at_s = np.arange(_ticks(days * DAY_S)) * TICK_S
    shape = np.interp(at_s % DAY_S / 3600.0 - 0.5, np.arange(24), CODING, period=24) / 60.0
    level = np.repeat(random.lognormal(0.0, 0.1, (days, COPIES)), _ticks(DAY_S), axis=0)
    swing = np.repeat(random.lognormal(0.0, 0.05, (_ticks(days * DAY_S) // 24, COPIES)), 24, axis=0)
    return random.poisson(shape[:, None] * level * swing * TICK_S).astype(np.float64)


def _trace() -> FloatArray:
    from simulator.trace import read_trace

    arrivals = read_trace(TRACE).arrival_s
    edges = np.arange(0.0, arrivals[-1] + TICK_S, TICK_S)
    return np.histogram(arrivals, edges)[0].astype(np.float64)[:, None]


if __name__ == "__main__":
    run_bench(measure)
