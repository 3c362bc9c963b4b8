"""Policies of an audit: the counts that were recorded, and the autoscalers of today."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray, IntArray
from simulator.hpa_spec import HpaSpec
from simulator.policies.hpa_loop import SYNC_S, HpaLoop
from simulator.policies.scrapes import PodReading, Scrapes
from simulator.policies.timetable import Timetable
from simulator.world import World

from .own_hpa import OwnHpa

__all__ = ["own_autoscalers", "recorded_counts"]

WINDOW_S = 60.0


def recorded_counts(counts: IntArray, step_s: float) -> Timetable:
    """Return the policy that has the recorded count (variants, steps) at every step."""
    timetable = Timetable()
    timetable.every(step_s, _Follow(counts, step_s, tuple(range(len(counts)))).act)
    return timetable


@dataclass(frozen=True, slots=True)
class _Follow:
    counts: IntArray
    step_s: float
    rows: tuple[int, ...]

    def act(self, world: World) -> None:
        step = min(int(world.now_s / self.step_s + 0.5), self.counts.shape[1] - 1)
        for row in self.rows:
            world.scale(row, int(self.counts[row, step]))


def own_autoscalers(
    hpas: Sequence[OwnHpa | None],
    counts: IntArray,
    *,
    step_s: float,
    scrape_s: float,
) -> Timetable:
    """Return today's autoscaler of each variant; one without has what was recorded."""
    scrapes = Scrapes(WINDOW_S)
    specs = [
        hpa.spec if hpa is not None else HpaSpec(min_replicas=0, max_replicas=2**31 - 1)
        for hpa in hpas
    ]
    loop = HpaLoop(specs=specs, signal=lambda now: _signals(now, scrapes, hpas))
    timetable = Timetable()
    timetable.every(scrape_s, scrapes.take)
    timetable.every(SYNC_S, loop.sync, first_s=SYNC_S)
    without = tuple(row for row, hpa in enumerate(hpas) if hpa is None)
    timetable.every(step_s, _Follow(counts, step_s, without).act)
    return timetable


def _signals(world: World, scrapes: Scrapes, hpas: Sequence[OwnHpa | None]) -> list[float | None]:
    """Return the largest of each variant's metrics over its target, in replicas."""
    found: list[list[FloatArray]] = [[] for _ in hpas]
    for readings in scrapes.by_pod(world, WINDOW_S):
        hpa = hpas[readings[-1].variant]
        if hpa is not None:
            found[readings[-1].variant].append(_usages(readings, hpa))
    return [
        None if hpa is None or not usages else _largest(np.sum(usages, axis=0), hpa, len(usages))
        for hpa, usages in zip(hpas, found, strict=True)
    ]


def _largest(usages: FloatArray, hpa: OwnHpa, replicas: int) -> float:
    each = np.array([trigger.per_replica for trigger in hpa.triggers])
    return float(np.max(np.where(each, usages, usages * replicas)))


def _usages(readings: list[PodReading], hpa: OwnHpa) -> FloatArray:
    newest, before = readings[-1], readings[max(len(readings) - 2, 0)]
    passed_s = newest.at_s - before.at_s
    values = {
        "waiting": float(newest.waiting),
        "running": float(newest.running),
        "kv": newest.kv_usage_ratio,
        "gpu": min((newest.busy_s - before.busy_s) / passed_s, 1.0) if passed_s > 0 else 0.0,
    }
    return np.array([values[trigger.signal] / trigger.target for trigger in hpa.triggers])
