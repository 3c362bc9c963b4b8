"""The worst moments of the past: what happened, why, and what WVA would have had then. Pure."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapter.explain import BINDING_MEANINGS
from optimizer import FloatArray
from simulator.reference import variant_capacity_rps

from .past import Past
from .runs import AuditRun
from .windows import Windows

__all__ = ["Moment", "worst_moments"]

MOST = 10
# Two windows of the same trouble are one moment.
APART_S = 600.0
BEFORE_S = 300.0
RISE = 1.3
FULL_KV = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A window of a model in which a promise was broken."""

    at_unix_s: float
    model: str
    missed_requests: float
    met_ratio: float
    rate_rps: float
    capacity_rps: float
    replicas: int
    why: str
    wva_replicas: int
    wva_wanted: int
    wva_met_ratio: float
    wva_reason: str


def worst_moments(past: Past, recorded: Windows, wva: AuditRun) -> tuple[Moment, ...]:
    """Return the windows in which most requests missed their targets, the worst first."""
    missed = recorded.missed(past.promises)
    lost = np.where(missed, recorded.came * (1.0 - recorded.met_ratio), 0.0)
    length_s = past.history.span.length_s
    apart = max(round(min(APART_S, length_s / MOST) / recorded.width_s), 1)
    found: list[Moment] = []
    for _ in range(MOST):
        model, at = np.unravel_index(int(np.argmax(lost)), lost.shape)
        if lost[model, at] <= 0.0:
            break
        found.append(_moment(past, recorded, wva, int(model), int(at)))
        lost[model, max(int(at) - apart, 0) : int(at) + apart + 1] = 0.0
    return tuple(found)


def _moment(past: Past, recorded: Windows, wva: AuditRun, model: int, at: int) -> Moment:
    history, width_s = past.history, recorded.width_s
    steps = slice(
        round(at * width_s / history.span.step_s), round((at + 1) * width_s / history.span.step_s)
    )
    rows = np.flatnonzero(history.model_of == model)
    counts = history.by_variant(history.presence)[rows, steps].mean(axis=1)
    at_s = (at + 0.5) * width_s
    each = [variant_capacity_rps(past.scenario, int(row), at_s=at_s) for row in rows]
    sample = max(bisect_right(wva.summary.at_s, at_s) - 1, 0)
    rate = recorded.came[model] / width_s
    capacity = float(np.dot(counts, each))
    return Moment(
        at_unix_s=history.span.start_unix_s + at * width_s,
        model=history.models[model][1],
        missed_requests=float(recorded.came[model, at] * (1.0 - recorded.met_ratio[model, at])),
        met_ratio=float(recorded.met_ratio[model, at]),
        rate_rps=float(rate[at]),
        capacity_rps=capacity,
        replicas=round(float(counts.sum())),
        why=_why(past, rate, at, model, capacity, width_s),
        wva_replicas=sum(wva.summary.ready[row][sample] for row in rows),
        wva_wanted=sum(wva.summary.wanted[row][sample] for row in rows),
        wva_met_ratio=float(wva.windows.met_ratio[model, at]),
        wva_reason=_reason(wva, rows.tolist(), at_s),
    )


def _why(past: Past, rate: FloatArray, at: int, model: int, capacity: float, width_s: float) -> str:
    """Return what the numbers of the moment say."""
    history = past.history
    own = np.isin(history.variant_of, np.flatnonzero(history.model_of == model))
    steps = round(at * width_s / history.span.step_s)
    before = max(at - max(round(BEFORE_S / width_s), 1), 0)
    parts = []
    if rate[at] > capacity:
        parts.append(
            f"{rate[at]:.3g} requests/s on replicas that carry {capacity:.3g} within the targets"
        )
    waiting = _sum_at(history.signal("mean:waiting_requests")[own], steps)
    if waiting >= 1.0:
        parts.append(f"{waiting:.0f} waiting")
    kv = _max_at(history.signal("mean:kv_usage_ratio")[own], steps)
    if kv >= FULL_KV:
        parts.append(f"KV cache at {kv:.0%}")
    if at > 0 and rate[before] > 0 and rate[at] > RISE * rate[before]:
        minutes = (at - before) * width_s / 60.0
        parts.append(f"{rate[at] / rate[before]:.2g} times the load of {minutes:.2g} min before")
    if not parts:
        return "not explained by load: the replicas should have carried it"
    return ", ".join(parts)


def _sum_at(values: FloatArray, step: int) -> float:
    column = values[:, min(step, values.shape[1] - 1)]
    return float(np.nansum(column))


def _max_at(values: FloatArray, step: int) -> float:
    column = values[:, min(step, values.shape[1] - 1)]
    return float(np.nanmax(column)) if np.isfinite(column).any() else math.nan


def _reason(wva: AuditRun, rows: Sequence[int], at_s: float) -> str:
    """Return the reasons of WVA's last decision before the moment."""
    place = bisect_right([when for when, _ in wva.reasons], at_s) - 1
    if place < 0:
        return ""
    names = dict.fromkeys(wva.reasons[place][1][row] for row in rows)
    return "; ".join(BINDING_MEANINGS.get(name, name) for name in names)
