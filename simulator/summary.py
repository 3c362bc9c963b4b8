"""What is kept of a run for tables and plots: figures, and series over time."""

from dataclasses import dataclass, field

import numpy as np

from optimizer import FloatArray

from .closed_loop import Run
from .measures import measure

__all__ = ["Summary", "summarize"]

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """One run: figures by name, counts per variant at each sample, latencies per minute."""

    policy: str
    seed: int
    figures: dict[str, float]
    at_s: list[float]
    wanted: list[list[int]]  # per variant
    ready: list[list[int]]
    queued: list[list[int]]  # per model
    window_s: float = WINDOW_S
    rate_rps: list[list[float]] = field(default_factory=list)  # per model and window
    ttft_p95_s: list[list[float]] = field(default_factory=list)
    itl_p95_s: list[list[float]] = field(default_factory=list)


def summarize(run: Run) -> Summary:
    """Return the summary of a run."""
    samples, end_s = run.samples, run.scenario.duration_s
    return Summary(
        policy=run.policy,
        seed=run.seed,
        figures=measure(run),
        at_s=[sample.at_s for sample in samples],
        wanted=[list(column) for column in zip(*(s.wanted for s in samples), strict=True)],
        ready=[list(column) for column in zip(*(s.ready for s in samples), strict=True)],
        queued=[list(column) for column in zip(*(s.queued for s in samples), strict=True)],
        rate_rps=[_rates(o.arrival_s, end_s) for o in run.outcomes],
        ttft_p95_s=[_p95(o.arrival_s, o.ttft_s, end_s) for o in run.outcomes],
        itl_p95_s=[_p95(o.arrival_s, o.itl_s, end_s) for o in run.outcomes],
    )


def _windows(arrival_s: FloatArray) -> FloatArray:
    return np.floor(arrival_s / WINDOW_S)


def _count(end_s: float) -> int:
    return int(np.ceil(end_s / WINDOW_S))


def _rates(arrival_s: FloatArray, end_s: float) -> list[float]:
    count = _count(end_s)
    came = np.bincount(_windows(arrival_s).astype(np.int64), minlength=count)[:count]
    return [float(n) / WINDOW_S for n in came]


def _p95(arrival_s: FloatArray, values: FloatArray, end_s: float) -> list[float]:
    """Return the 95th percentile of each window; NaN where nothing finished."""
    known = np.isfinite(values)
    window, values = _windows(arrival_s)[known], values[known]
    order = np.lexsort((values, window))
    window, values = window[order], values[order]
    result = []
    for at in range(_count(end_s)):
        first, last = np.searchsorted(window, [at, at + 1])
        own = values[first:last]
        result.append(float(own[int(0.95 * (len(own) - 1))]) if len(own) else float("nan"))
    return result
