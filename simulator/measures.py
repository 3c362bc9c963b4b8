"""What a run is judged by: attainment, latencies, cost, and how restless it was."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import BoolArray, FloatArray

from .closed_loop import Run
from .demand_spec import ModelSpec
from .outcomes import Outcomes
from .reference import variant_capacity_rps

__all__ = ["INTERVAL_95", "MEASURES", "Interval", "interval", "measure", "met"]

HOUR_S = 3600.0
WORST_S = 300.0
REVERSAL_S = 600.0

# Student's t for a two-sided 95 % interval, by degrees of freedom; about 2 beyond.
T_95 = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
INTERVAL_95 = 1.96


def met(outcomes: Outcomes, model: ModelSpec) -> BoolArray:
    """Return which requests finished within both targets; offline ones by their deadline."""
    if model.kind == "offline":
        deadline_s = math.inf if model.deadline_s is None else model.deadline_s
        return outcomes.finished & (outcomes.finish_s - outcomes.arrival_s <= deadline_s)
    return outcomes.finished & (outcomes.ttft_s <= model.ttft_s) & (outcomes.itl_s <= model.itl_s)


def measure(run: Run) -> dict[str, float]:
    """Return a run's figures by name; NaN where there is nothing to measure."""
    scenario = run.scenario
    good = [met(o, m) for o, m in zip(run.outcomes, scenario.models, strict=True)]
    online = [m.kind == "online" for m in scenario.models]
    offered = sum(len(o.status) for o in run.outcomes)
    served = sum(int(g.sum()) for g in good)
    failed = sum(int((~o.finished).sum()) for o in run.outcomes)
    return {
        "attainment": served / offered if offered else math.nan,
        "worst_5_min": _worst(run, good),
        "goodput_rps": served / scenario.duration_s,
        "offered": float(offered),
        "failed": float(failed),
        **_latencies(run, online),
        **_spending(run),
        **_restlessness(run),
    }


def _worst(run: Run, good: Sequence[BoolArray]) -> float:
    """Return the least attainment over any five minutes of the clock."""
    count = math.ceil(run.scenario.duration_s / WORST_S)
    came, fine = np.zeros(count), np.zeros(count)
    for outcomes, well in zip(run.outcomes, good, strict=True):
        at = np.minimum((outcomes.arrival_s / WORST_S).astype(np.int64), count - 1)
        came += np.bincount(at, minlength=count)
        fine += np.bincount(at, weights=well, minlength=count)
    share = np.divide(fine, came, out=np.full(count, np.nan), where=came > 0)
    return float(np.nanmin(share)) if np.isfinite(share).any() else math.nan


def _latencies(run: Run, online: Sequence[bool]) -> dict[str, float]:
    """Return percentiles over the online requests that finished."""
    figures = {}
    for name in ("ttft_s", "itl_s"):
        values = [
            getattr(o, name)[o.finished] for o, own in zip(run.outcomes, online, strict=True) if own
        ]
        joined = np.concatenate(values) if values else np.empty(0)
        for part in (50, 95, 99):
            key = f"{name[:-2]}_p{part}_s"
            figures[key] = float(np.percentile(joined, part)) if len(joined) else math.nan
    return figures


def _spending(run: Run) -> dict[str, float]:
    scenario = run.scenario
    gpu_h = cost = energy_wh = replicas_s = 0.0
    for spec, usage in zip(scenario.variants, run.usage, strict=True):
        kind = scenario.accelerators[spec.accelerator]
        own_h = usage.held_s * spec.accelerators_per_replica / HOUR_S
        busy_h = usage.busy_s * spec.accelerators_per_replica / HOUR_S
        gpu_h += own_h
        cost += own_h * kind.cost_per_hour
        energy_wh += own_h * kind.idle_w + busy_h * (kind.full_w - kind.idle_w)
        replicas_s += usage.wanted_s
    return {
        "gpu_hours": gpu_h,
        "cost": cost,
        "energy_kwh": energy_wh / 1e3,
        "replicas_mean": replicas_s / scenario.duration_s,
        "replicas_max": float(max((sum(s.wanted) for s in run.samples), default=0)),
    }


def _restlessness(run: Run) -> dict[str, float]:
    """Return how often counts changed, and how often a change was taken back soon."""
    reversals = 0
    last: dict[int, tuple[float, bool]] = {}
    for action in run.actions:
        up = action.after > action.before
        before = last.get(action.variant)
        if before is not None and before[1] != up and action.at_s - before[0] <= REVERSAL_S:
            reversals += 1
        last[action.variant] = (action.at_s, up)
    return {
        "actions": float(len(run.actions)),
        "reversals": float(reversals),
        "ready_after_s": _ready_after_s(run),
        "covered_after_s": _covered_after_s(run),
    }


def _ready_after_s(run: Run) -> float:
    """Return the mean time from asking for more to having it, over all increases."""
    waits = []
    for action in run.actions:
        if action.after <= action.before:
            continue
        for sample in run.samples:
            if sample.at_s >= action.at_s and sample.ready[action.variant] >= action.after:
                waits.append(sample.at_s - action.at_s)
                break
    return float(np.mean(waits)) if waits else math.nan


def _covered_after_s(run: Run) -> float:
    """Return the mean time from a demand that ready replicas can't carry to one that they can.

    Over all spells of all models; NaN where the demand was always covered.
    """
    at_s = np.array([sample.at_s for sample in run.samples])
    if len(at_s) < 2:
        return math.nan
    ready = np.array([sample.ready for sample in run.samples], dtype=np.float64)
    spells: list[float] = []
    for model, demand in enumerate(run.demand):
        rows = [r for r, m in enumerate(run.scenario.model_of) if m == model]
        carried = sum(ready[:, r] * _capacity_rps(run, r, at_s) for r in rows)
        second = np.minimum(at_s.astype(np.int64), len(demand.rate_rps) - 1)
        spells += _spells_s(at_s, demand.rate_rps[second] > carried)
    return float(np.mean(spells)) if spells else math.nan


def _capacity_rps(run: Run, variant: int, at_s: FloatArray) -> FloatArray:
    """Return what one replica carries of the lengths of each moment."""
    scenario = run.scenario
    phases = scenario.models[scenario.model_of[variant]].workload.phases
    starts_s = np.array([phase.at_s for phase in phases])
    each = [variant_capacity_rps(scenario, variant, at_s=float(start)) for start in starts_s]
    return np.array(each)[np.searchsorted(starts_s, at_s, side="right") - 1]


def _spells_s(at_s: FloatArray, short: BoolArray) -> list[float]:
    """Return how long each run of `short` moments lasts, up to the first that isn't."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], short, [False]]).astype(np.int8)))
    last = len(at_s) - 1
    return [float(at_s[min(b, last)] - at_s[a]) for a, b in edges.reshape(-1, 2)]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds and the half-width of its 95 % interval; NaN for one seed."""

    mean: float
    half_width: float


def interval(values: FloatArray) -> Interval:
    """Return the mean of the finite `values` and its 95 % interval."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(math.nan, math.nan)
    freedom = len(known) - 1
    if freedom == 0:
        return Interval(float(known[0]), math.nan)
    t = T_95[freedom] if freedom < len(T_95) else INTERVAL_95 + 2.5 / freedom
    return Interval(float(known.mean()), t * float(known.std(ddof=1)) / math.sqrt(len(known)))


# What a table shows: heading, format, and whether its interval is shown, too.
MEASURES: Mapping[str, tuple[str, str, bool]] = {
    "attainment": ("attained", ".1%", True),
    "worst_5_min": ("worst 5'", ".0%", False),
    "failed": ("failed", ".0f", False),
    "ttft_p95_s": ("TTFT p95", ".2f s", False),
    "itl_p95_s": ("ITL p95", ".3f s", False),
    "replicas_mean": ("replicas", ".2f", True),
    "gpu_hours": ("GPU h", ".1f", False),
    "cost": ("cost", ".2f", True),
    "actions": ("acts", ".0f", False),
}
