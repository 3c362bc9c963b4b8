"""An audit's result as a document for scripts, and as figures for tables and charts. Pure."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from adapter.collect.histogram import percentile
from optimizer import FloatArray
from simulator.summary import Summary

from ..replay_table import intervals
from .history import History
from .moments import Moment
from .past import Past
from .runs import Runs
from .verdict import Verdict
from .windows import Windows

__all__ = ["RECORDED", "Audit", "as_document", "recorded_summary"]

RECORDED = "recorded"
FIGURES = (
    *("gpu_hours", "cost", "energy_kwh", "replicas_mean", "replicas_max", "attainment"),
    *("offered", "failed", "ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "itl_p50_s", "itl_p95_s"),
    *("itl_p99_s", "actions"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Everything that an audit found."""

    past: Past
    recorded: Windows
    runs: Runs
    verdict: Verdict
    moments: tuple[Moment, ...]
    assumptions: tuple[str, ...]

    def missed_minutes(self) -> dict[str, float]:
        """Return the minutes of broken promises: recorded, and of each run."""
        promises = self.past.promises
        return {
            RECORDED: self.recorded.missed_minutes(promises),
            **{
                name: float(np.mean([run.windows.missed_minutes(promises) for run in runs]))
                for name, runs in self.runs.items()
            },
        }

    def summaries(self) -> dict[str, list[Summary]]:
        """Return what tables and charts of a replay show, the recorded past first."""
        return {
            RECORDED: [recorded_summary(self.past, self.recorded)],
            **{name: [run.summary for run in runs] for name, runs in self.runs.items()},
        }

    def figure(self, policy: str, name: str) -> float:
        """Return a figure's mean over the runs of a policy; NaN where it isn't known."""
        return intervals(self.summaries()[policy])[name].mean


def recorded_summary(past: Past, windows: Windows) -> Summary:
    """Return the recorded past in the form of a run; NaN for what nothing recorded."""
    history = past.history
    counts = history.counts
    scrape_s = history.span.step_s / history.scrapes_per_step
    end_s = [(at + 1) * scrape_s for at in range(counts.shape[1])]
    return Summary(
        policy=RECORDED,
        seed=0,
        figures={
            **_unknown(),
            **_spending(past),
            **_latencies(history),
            **_served(history, windows),
        },
        at_s=[0.0, *end_s],
        wanted=[[int(row[0]), *row.tolist()] for row in counts],
        ready=[[int(row[0]), *row.tolist()] for row in counts],
        queued=[[0] * (counts.shape[1] + 1) for _ in history.models],
        window_s=windows.width_s,
        rate_rps=[(row / windows.width_s).tolist() for row in windows.came],
        ttft_p95_s=_quantiles(history, "ttft_s", windows.width_s),
        itl_p95_s=_quantiles(history, _itl(history), windows.width_s),
    )


def _unknown() -> dict[str, float]:
    names = (
        "worst_5_min",
        "goodput_rps",
        "energy_kwh",
        "reversals",
        "ready_after_s",
        "covered_after_s",
        "failed",
    )
    return dict.fromkeys(names, math.nan)


def _spending(past: Past) -> dict[str, float]:
    history = past.history
    hours = history.replica_hours
    gpus = np.array([s.accelerators_per_replica for s in past.supplies])
    prices = np.array([s.cost_per_hour for s in past.supplies])
    total = history.counts.sum(axis=0)
    return {
        "gpu_hours": float(hours @ gpus),
        "cost": float(hours @ (gpus * prices)),
        "replicas_mean": float(total.mean()),
        "replicas_max": float(total.max()),
        "actions": float(np.count_nonzero(np.diff(history.counts, axis=1))),
    }


def _served(history: History, windows: Windows) -> dict[str, float]:
    refused = history.signal("rate:rejections")
    failed = float(np.nansum(refused)) * history.span.step_s
    return {
        "attainment": windows.attainment,
        "offered": float(windows.came.sum()),
        "failed": failed if np.isfinite(refused).any() else math.nan,
    }


def _itl(history: History) -> str:
    return "tpot_s" if "tpot_s" in history.buckets else "itl_s"


def _latencies(history: History) -> dict[str, float]:
    figures = {}
    for name, histogram in (("ttft", "ttft_s"), ("itl", _itl(history))):
        found = history.buckets.get(histogram)
        for part in (50, 95, 99):
            value = math.nan
            if found is not None:
                whole = found.counts.sum(axis=(0, 1))[None, :]
                value = float(percentile(found.bounds, whole, part / 100.0)[0])
            figures[f"{name}_p{part}_s"] = value
    return figures


def _quantiles(history: History, histogram: str, width_s: float) -> list[list[float]]:
    found = history.buckets.get(histogram)
    steps = round(width_s / history.span.step_s)
    if found is None:
        return [[math.nan] * math.ceil(history.span.count / steps) for _ in history.models]
    starts = np.arange(0, history.span.count, steps)
    whole: FloatArray = np.add.reduceat(found.counts, starts, axis=1)
    return [percentile(found.bounds, row, 0.95).tolist() for row in whole]


def as_document(audit: Audit) -> dict[str, Any]:
    """Return the audit for scripts; what isn't known is null."""
    past, history = audit.past, audit.past.history
    minutes = audit.missed_minutes()
    return {
        "start": _instant(history.span.start_unix_s),
        "end": _instant(history.span.end_unix_s),
        "step_s": history.span.step_s,
        "scrape_interval_s": history.scrape_s,
        "workloads": [_workload(past, row) for row in range(len(history.variants))],
        "assumptions": list(audit.assumptions),
        "faults": list(history.faults),
        "reproduction": [_known(asdict(c)) | {"good": c.good} for c in audit.verdict.checks],
        "verdict": {
            "given": audit.verdict.given,
            "why_not": audit.verdict.why_not or None,
            "compared_with": audit.verdict.base,
        },
        "policies": {
            name: {
                **_known({figure: audit.figure(name, figure) for figure in FIGURES}),
                "slo_minutes_missed": minutes[name],
            }
            for name in minutes
        },
        "worst_moments": [
            _known(asdict(moment)) | {"at": _instant(moment.at_unix_s)} for moment in audit.moments
        ],
    }


def _workload(past: Past, row: int) -> dict[str, Any]:
    variant, fit = past.history.variants[row], past.fits[row]
    counts = past.history.counts[row]
    return {
        "namespace": variant.namespace,
        "workload": variant.name,
        "model": variant.model,
        "accelerator": past.supplies[row].accelerator,
        "replicas_least": int(counts.min()),
        "replicas_most": int(counts.max()),
        "autoscaler": past.hpas[row] is not None,
        "profile": None if fit.profile is None else fit.profile.model_dump(exclude_none=True),
        "profile_rests_on": fit.rests_on,
        "profile_points": fit.points,
        "profile_errors": _known({"itl": fit.itl_error_ratio, "ttft": fit.ttft_error_ratio}),
    }


def _instant(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, null for a number that isn't one."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
