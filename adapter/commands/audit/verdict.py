"""Whether the simulated past is like the recorded one, and what WVA would have changed. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray

from .past import Past
from .runs import OWN, REPLAYED, AuditRun, Runs
from .windows import Windows

__all__ = ["Check", "Verdict", "judge"]

# How far the simulated past may be from the recorded one before nothing is claimed.
ALLOWED = {
    "requests": 0.05,
    "ITL mean": 0.15,
    "TTFT mean": 0.30,
    "attainment": 0.05,
    "replicas": 0.20,
}
# A count that swings is compared by its mean over each of so many parts of the time.
PARTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A figure of the past, recorded and simulated; `error` is what `allowed` bounds."""

    name: str
    of: str  # which run
    unit: str
    recorded: float
    simulated: float
    error: float
    allowed: float

    @property
    def good(self) -> bool:
        """Whether the simulation is close enough; what can't be compared isn't."""
        return self.error <= self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The checks; `given` if there is a verdict, `why_not` otherwise."""

    checks: tuple[Check, ...]
    base: str  # the run that WVA's is compared with

    @property
    def given(self) -> bool:
        """Whether the past was reproduced."""
        return all(check.good for check in self.checks)

    @property
    def why_not(self) -> str:
        """What wasn't reproduced, in words."""
        return "; ".join(_told(check) for check in self.checks if not check.good)


def _told(check: Check) -> str:
    if math.isnan(check.error):
        return f"{check.name} of {check.of} can't be compared: nothing was recorded or served"
    return f"{check.name} of {check.of} is off by {check.error:.0%} (at most {check.allowed:.0%})"


def judge(past: Past, recorded: Windows, runs: Runs) -> Verdict:
    """Return how well the past was reproduced."""
    checks = _latencies(recorded, [run.windows for run in runs[REPLAYED]])
    if OWN in runs:
        checks += _counts(past, runs[OWN])
    return Verdict(checks=tuple(checks), base=OWN if OWN in runs else REPLAYED)


def _latencies(recorded: Windows, simulated: Sequence[Windows]) -> list[Check]:
    came = float(recorded.came.sum())
    again = float(np.mean([one.came.sum() for one in simulated]))
    pairs = {
        "ITL mean": (recorded.itl_mean_s, _mean([one.itl_mean_s for one in simulated])),
        "TTFT mean": (recorded.ttft_mean_s, _mean([one.ttft_mean_s for one in simulated])),
    }
    checks = [_check("requests", "requests", came, again, _off(came, again))]
    for name, (was, is_now) in pairs.items():
        weight = recorded.came
        checks.append(
            _check(
                name,
                "s",
                _average(was, weight),
                _average(is_now, weight),
                _typical(was, is_now, weight),
            )
        )
    share = recorded.attainment
    shown = float(np.mean([one.attainment for one in simulated]))
    checks.append(_check("attainment", "ratio", share, shown, abs(share - shown)))
    return checks


def _counts(past: Past, runs: Sequence[AuditRun]) -> list[Check]:
    history = past.history
    was = history.counts.sum(axis=0).astype(np.float64)
    at_s = (np.arange(len(was)) + 0.5) * history.span.step_s / history.scrapes_per_step
    again = np.mean([_ready(run, at_s) for run in runs], axis=0)
    mean = float(was.mean())
    parts = [np.array([part.mean() for part in np.array_split(x, PARTS)]) for x in (was, again)]
    error = float(np.abs(parts[1] - parts[0]).mean()) / mean if mean > 0 else math.nan
    return [_check("replicas", "replicas", mean, float(again.mean()), error, of=OWN)]


def _ready(run: AuditRun, at_s: FloatArray) -> FloatArray:
    """Return how many replicas a run had at each moment."""
    samples = np.searchsorted(run.summary.at_s, at_s, side="right") - 1
    ready: FloatArray = np.array(run.summary.ready, dtype=np.float64).sum(axis=0)
    return ready[np.maximum(samples, 0)]


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    """Return the mean of each window over the runs that have one."""
    stacked = np.array(values)
    known = np.isfinite(stacked)
    total, count = np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0)
    mean: FloatArray = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _check(
    name: str, unit: str, recorded: float, simulated: float, error: float, *, of: str = REPLAYED
) -> Check:
    return Check(
        name=name,
        of=of,
        unit=unit,
        recorded=recorded,
        simulated=simulated,
        error=error,
        allowed=ALLOWED[name],
    )


def _off(was: float, simulated: float) -> float:
    return abs(simulated / was - 1.0) if was > 0 else math.nan


def _average(values: FloatArray, weight: FloatArray) -> float:
    known = np.isfinite(values) & (weight > 0)
    return float(np.average(values[known], weights=weight[known])) if known.any() else math.nan


def _typical(was: FloatArray, simulated: FloatArray, weight: FloatArray) -> float:
    """Return the median relative error over the windows, by their requests.

    A mean would be all of the worst queue, which no simulation hits to the second.
    """
    known = np.isfinite(was) & np.isfinite(simulated) & (weight > 0) & (was > 0)
    if not known.any():
        return math.nan
    error: FloatArray = np.abs(simulated[known] / was[known] - 1.0)
    order = np.argsort(error)
    passed: FloatArray = np.cumsum(weight[known][order])
    middle = int(np.searchsorted(passed, passed.max() / 2.0))
    return float(error[order][middle])
