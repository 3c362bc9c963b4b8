"""Knative's concurrency law (KPA), with its defaults.

Every 2 s: the average concurrency over 60 s divided by the target, 70 % of what a replica is
meant to hold; when the average over 6 s asks for twice of what is there, panic: that window
decides, and nothing goes down for 60 s. Up at most 1,000 times, down at most by half, and
down only after `scale_down_delay_s`. Source: Knative Serving, autoscaler documentation.
`concurrency` None takes what the engine holds at its measured capacity.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ..pod import PodState
from ..reference import variant_capacity_rps
from ..world import World
from .timetable import Timetable

__all__ = ["KnativeSettings", "knative"]

TICK_S = 2.0
STABLE_S = 60.0
PANIC_S = 6.0
PANIC_RATIO = 2.0
UTILIZATION = 0.7
LARGEST_FALL = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnativeSettings:
    """What a replica is meant to hold; Knative's own default for containers is 100."""

    concurrency: float | None = None
    scale_down_delay_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Autoscaler:
    row: int
    target: float
    delay_s: float
    seen: deque[tuple[float, float]] = field(default_factory=deque)
    asked: deque[tuple[float, int]] = field(default_factory=deque)
    panic_until_s: float = -math.inf
    panic_count: int = 0

    def tick(self, world: World) -> None:
        """Observe the concurrency and decide."""
        pods = world.ready_pods(self.row)
        service = world.services[world.model_of[self.row]]
        held = sum(pod.engine.in_flight for pod in pods if pod.engine is not None)
        self.seen.append((world.now_s, float(held + service.queued)))
        while self.seen[0][0] <= world.now_s - STABLE_S:
            self.seen.popleft()
        ready = max(world.count(self.row, PodState.READY), 1)
        stable, panic = self._wanted(world.now_s, STABLE_S), self._wanted(world.now_s, PANIC_S)
        if panic / ready >= PANIC_RATIO:
            self.panic_until_s = world.now_s + STABLE_S
        wanted = max(stable, math.floor(ready / LARGEST_FALL))
        if world.now_s < self.panic_until_s:
            self.panic_count = max(self.panic_count, panic, ready)
            wanted = max(wanted, self.panic_count)
        else:
            self.panic_count = 0
        self._scale(world, wanted)

    def _wanted(self, now_s: float, window_s: float) -> int:
        recent = [value for at_s, value in self.seen if at_s > now_s - window_s]
        return math.ceil(float(np.mean(recent)) / self.target)

    def _scale(self, world: World, wanted: int) -> None:
        spec = world.variants[self.row]
        self.asked.append((world.now_s, wanted))
        while self.asked[0][0] < world.now_s - self.delay_s:
            self.asked.popleft()
        wanted = max(count for _, count in self.asked)
        world.scale(self.row, min(max(wanted, spec.min_replicas), spec.max_replicas))


def knative(world: World, settings: KnativeSettings) -> Timetable:
    """Return one autoscaler per variant."""
    timetable = Timetable()
    for row in range(len(world.variants)):
        target = UTILIZATION * (settings.concurrency or _concurrency(world, row))
        scaler = _Autoscaler(row, target, settings.scale_down_delay_s)
        timetable.every(TICK_S, scaler.tick, first_s=TICK_S)
    return timetable


def _concurrency(world: World, row: int) -> float:
    """Return what a replica holds at its capacity, by Little's law at the ITL target."""
    spec, model = world.variants[row], world.scenario.models[world.model_of[row]]
    engine, phase = spec.engine(queue_timeout_s=math.inf), model.workload.phases[0]
    rate = variant_capacity_rps(world.scenario, row)
    context = phase.prompt.mean + phase.output.mean / 2.0
    work_s = phase.output.mean * (engine.decode_slope_s + engine.kv_slope_s * context)
    work_s += phase.prompt.mean * (1.0 - phase.prefix_hit_ratio) * engine.prefill_slope_s
    busy = min(rate * work_s, 0.95)
    held = rate * phase.output.mean * engine.iteration_base_s / (1.0 - busy)
    return max(held, 1.0)
