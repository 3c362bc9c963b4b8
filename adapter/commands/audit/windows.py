"""What requests got, window by window: of the history, and of a run that imitates it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import BoolArray, FloatArray
from simulator.closed_loop import Run
from simulator.measures import met

from .declared import Promise
from .history import History

__all__ = ["Windows", "recorded_windows", "run_windows", "window_steps"]

WINDOW_S = 60.0
SHORT_WINDOW_S = 10.0
SHORT_S = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Columns over models and windows; NaN: nothing to say it by.

    `met_ratio` is the share that met both targets. Recorded, no request's two latencies are
    known together: there it is the smaller of the two shares, which is an upper bound.
    """

    width_s: float
    came: FloatArray
    met_ratio: FloatArray
    ttft_mean_s: FloatArray
    itl_mean_s: FloatArray

    def missed(self, promises: Sequence[Promise]) -> BoolArray:
        """Return in which windows fewer than the promised share met the targets."""
        wanted = np.array([promise.percentile / 100.0 for promise in promises])
        return np.asarray((self.came > 0) & (self.met_ratio < wanted[:, None]))

    def missed_minutes(self, promises: Sequence[Promise]) -> float:
        """Return the time in which a promise was broken, of all models together. [min]"""
        return float(self.missed(promises).sum()) * self.width_s / 60.0

    @property
    def attainment(self) -> float:
        """Share of all requests."""
        known = np.isfinite(self.met_ratio) & (self.came > 0)
        if not known.any():
            return math.nan
        return float(np.average(self.met_ratio[known], weights=self.came[known]))


def window_steps(length_s: float, step_s: float) -> int:
    """Return how many steps make a window."""
    wanted_s = WINDOW_S if length_s >= SHORT_S else SHORT_WINDOW_S
    return max(math.ceil(wanted_s / step_s), 1)


def recorded_windows(history: History, promises: Sequence[Promise]) -> Windows:
    """Return the history's windows."""
    span = history.span
    steps = window_steps(span.length_s, span.step_s)
    came = _added(np.nan_to_num(history.offered_rps) * span.step_s, steps)
    itl = "tpot_s" if "tpot_s" in history.buckets else "itl_s"
    shares = [
        _share(history, "ttft_s", [p.ttft_s for p in promises], steps),
        _share(history, itl, [p.itl_s for p in promises], steps),
    ]
    return Windows(
        width_s=steps * span.step_s,
        came=came,
        met_ratio=np.fmin(*shares),
        ttft_mean_s=_mean(history, "ttft_s", steps),
        itl_mean_s=_mean(history, "itl_s", steps),
    )


def run_windows(run: Run, width_s: float) -> Windows:
    """Return a run's windows, requests by when they arrived."""
    count = math.ceil(run.scenario.duration_s / width_s - 1e-9)
    shape = (len(run.outcomes), count)
    came, good, ttft, itl, finished, gaps = (np.zeros(shape) for _ in range(6))
    for row, (outcomes, model) in enumerate(zip(run.outcomes, run.scenario.models, strict=True)):
        at = np.minimum((outcomes.arrival_s / width_s).astype(np.int64), count - 1)
        done = outcomes.finished
        # An engine's own mean is over gaps, of which long outputs have more.
        between = np.maximum(outcomes.output_tokens[done] - 1, 0).astype(np.float64)
        came[row] = np.bincount(at, minlength=count)
        good[row] = np.bincount(at, weights=met(outcomes, model), minlength=count)
        finished[row] = np.bincount(at[done], minlength=count)
        ttft[row] = np.bincount(at[done], weights=outcomes.ttft_s[done], minlength=count)
        gaps[row] = np.bincount(at[done], weights=between, minlength=count)
        itl[row] = np.bincount(at[done], weights=outcomes.itl_s[done] * between, minlength=count)
    return Windows(
        width_s=width_s,
        came=came,
        met_ratio=_ratio(good, came),
        ttft_mean_s=_ratio(ttft, finished),
        itl_mean_s=_ratio(itl, gaps),
    )


def _added(values: FloatArray, steps: int) -> FloatArray:
    """Add up the steps of each window; the last may have fewer."""
    starts = np.arange(0, values.shape[1], steps)
    return np.asarray(np.add.reduceat(values, starts, axis=1), dtype=np.float64)


def _ratio(amount: FloatArray, count: FloatArray) -> FloatArray:
    return np.divide(amount, count, out=np.full_like(amount, np.nan), where=count > 0)


def _mean(history: History, histogram: str, steps: int) -> FloatArray:
    amount, count = (
        _added(
            history.by_model(history.by_variant(np.nan_to_num(history.signal(f"{p}:{histogram}")))),
            steps,
        )
        for p in ("sum", "count")
    )
    return _ratio(amount, count)


def _share(history: History, histogram: str, limits: Sequence[float], steps: int) -> FloatArray:
    """Return the share within each model's limit; NaN where no bucket tells."""
    found = history.buckets.get(histogram)
    windows = math.ceil(history.span.count / steps)
    if found is None:
        return np.full((len(limits), windows), np.nan)
    starts = np.arange(0, history.span.count, steps)
    whole = np.add.reduceat(found.counts, starts, axis=1)
    rows = [
        type(found)(found.bounds, whole[[row]]).within(limit)[0] for row, limit in enumerate(limits)
    ]
    return np.array(rows)
