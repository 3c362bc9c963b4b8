"""The SLO-aware KEDA loop of llm-d (guides/workload-autoscaling, July to September 2026).

    s = average over 45 s of min(max(P90 TTFT / SLO, P90 TPOT / SLO), 2)
    d = n + ceil(n (s c / 0.55 - 1))   if s > 0.55, c = ready / provisioned
    d = n - floor(n (1 - s / 0.40))    if s < 0.40
    d = n                              otherwise

evaluated every 15 s by a recording rule; HPA up at most 100 % or 4 pods a minute after 30 s,
down one pod per 120 s after 180 s. Predicted latencies, which the guide prefers, are taken
for what they are meant to be: what requests that arrive now will see. TTFT is that of the
requests of the last minute, those that still wait counted with the time they have waited,
TPOT the pods' present step time. `mean_signal` takes means for percentiles.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from optimizer import FloatArray

from ..hpa import Behavior
from ..hpa_spec import Policy, ScalingRules
from ..pod import PodState
from ..world import World
from .hpa_loop import SYNC_S, HpaLoop, hpa_specs
from .scrapes import Scrapes
from .timetable import Timetable

__all__ = ["SloLoopSettings", "keda_slo"]

RULE_S = 15.0
WINDOW_S = 60.0

BEHAVIOR = Behavior(
    scale_up=ScalingRules(
        policies=(Policy("Percent", 100, 60.0), Policy("Pods", 4, 60.0)), stabilization_s=30.0
    ),
    scale_down=ScalingRules(policies=(Policy("Pods", 1, 120.0),), stabilization_s=180.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SloLoopSettings:
    """The law's constants."""

    up: float = 0.55
    down: float = 0.40
    clamp: float = 2.0
    smooth_s: float = 45.0
    scrape_s: float = 5.0
    mean_signal: bool = False


@dataclass(slots=True, eq=False)
class _Loop:
    settings: SloLoopSettings
    scrapes: Scrapes
    signals: list[deque[tuple[float, float]]]
    desired: list[float | None] = field(default_factory=list)

    def evaluate(self, world: World) -> None:
        """Do what the recording rule and the formula do."""
        self.desired = [None] * len(world.variants)
        for row in range(len(world.variants)):
            raw = min(self._pressure(world, row), self.settings.clamp)
            kept = self.signals[row]
            kept.append((world.now_s, raw))
            while kept[0][0] <= world.now_s - self.settings.smooth_s:
                kept.popleft()
            smooth = float(np.mean([value for _, value in kept]))
            self.desired[row] = float(self._count(world, row, smooth))

    def _pressure(self, world: World, row: int) -> float:
        """Return the larger of both latencies over its target; 0 without traffic."""
        model = world.scenario.models[world.model_of[row]]
        service = world.services[world.model_of[row]]
        ttft_s = service.recent_ttft_s(world.now_s, WINDOW_S)
        tpot_s = self._step_times_s(world, row)
        take = np.mean if self.settings.mean_signal else _p90
        parts = [
            float(take(values)) / target_s
            for values, target_s in ((ttft_s, model.ttft_s), (tpot_s, model.itl_s))
            if len(values)
        ]
        return max(parts, default=0.0)

    def _step_times_s(self, world: World, row: int) -> FloatArray:
        times = []
        for readings in self.scrapes.by_pod(world, 2.5 * self.settings.scrape_s):
            first, last = readings[0], readings[-1]
            if last.variant == row and last.steps > first.steps:
                times.append((last.busy_s - first.busy_s) / (last.steps - first.steps))
        return np.array(times)

    def _count(self, world: World, row: int, signal: float) -> int:
        there = world.count(row, PodState.PENDING, PodState.STARTING, PodState.READY)
        ready = world.count(row, PodState.READY)
        credit = ready / there if 0 < ready < there else 1.0
        if signal > self.settings.up:
            return there + math.ceil(there * (signal * credit / self.settings.up - 1.0))
        if signal < self.settings.down:
            return there - math.floor(there * (1.0 - signal / self.settings.down))
        return there


def _p90(values: FloatArray) -> float:
    return float(np.percentile(values, 90))


def keda_slo(world: World, settings: SloLoopSettings) -> Timetable:
    """Return the loop."""
    loop = _Loop(settings, Scrapes(WINDOW_S), [deque() for _ in world.variants])
    hpa = HpaLoop(
        specs=hpa_specs(world, BEHAVIOR),
        signal=lambda _: loop.desired or [None] * len(world.variants),
    )
    timetable = Timetable()
    timetable.every(settings.scrape_s, loop.scrapes.take)
    timetable.every(RULE_S, loop.evaluate, first_s=RULE_S)
    timetable.every(SYNC_S, hpa.sync, first_s=1.5 * SYNC_S)
    return timetable
