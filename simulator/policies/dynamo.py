"""The law of NVIDIA Dynamo's planner: a floor from a forecast, and single steps on latency.

Every 180 s the request rate of the coming interval is predicted by a local linear trend
(Kalman filter, process noise 1 and 0.1, observation noise 10, from 5 readings on; the last
rate before), and the floor is what carries it by the replica's profiled capacity. Every 5 s
latencies are estimated from the engines' state: above a target one replica is added; where
those that stay would hold N / (N - 1) of the load within them, one is taken, not below the
floor. While a change is under way nothing is decided. Source: Dynamo planner documentation
and source, as read in the project's notes; the regression is replaced by the engine's law.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from optimizer import FloatArray

from ..pod import PodState
from ..reference import variant_capacity_rps
from ..state import ROWS
from ..world import World
from .timetable import Timetable

__all__ = ["dynamo_planner"]

FLOOR_S = 180.0
STEP_S = 5.0
LEVEL_NOISE, TREND_NOISE, READING_NOISE = 1.0, 0.1, 10.0
LEAST_READINGS = 5


@dataclass(slots=True, eq=False)
class _Trend:
    """A local linear trend, filtered."""

    mean: FloatArray = field(default_factory=lambda: np.zeros(2))
    spread: FloatArray = field(default_factory=lambda: 1e6 * np.eye(2))
    readings: int = 0

    def next_value(self, value: float) -> float:
        """Take a reading and return what comes next."""
        move = np.array([[1.0, 1.0], [0.0, 1.0]])
        mean = move @ self.mean
        spread = move @ self.spread @ move.T + np.diag([LEVEL_NOISE, TREND_NOISE])
        gain = spread[:, 0] / (spread[0, 0] + READING_NOISE)
        self.mean = mean + gain * (value - mean[0])
        self.spread = spread - np.outer(gain, spread[0])
        self.readings += 1
        return value if self.readings < LEAST_READINGS else float((move @ self.mean)[0])


@dataclass(slots=True, eq=False)
class _Planner:
    row: int
    capacity_rps: float
    interval_s: float
    trend: _Trend = field(default_factory=_Trend)
    arrived: int = 0
    floor: int = 1

    def plan(self, world: World) -> None:
        """Set the floor for the coming interval."""
        spec = world.variants[self.row]
        service = world.services[world.model_of[self.row]]
        came, self.arrived = service.arrived - self.arrived, service.arrived
        requests = max(self.trend.next_value(float(came)), 0.0)
        needed = math.ceil(requests / self.interval_s / self.capacity_rps)
        self.floor = min(max(needed, spec.min_replicas, 1), spec.max_replicas)
        if int(world.wanted[self.row]) < self.floor:
            world.scale(self.row, self.floor)

    def step(self, world: World) -> None:
        """Add or take one replica."""
        spec, wanted = world.variants[self.row], int(world.wanted[self.row])
        if world.count(self.row, PodState.READY) != wanted or wanted == 0:
            return
        if self._strained(world, 1.0):
            world.scale(self.row, min(wanted + 1, spec.max_replicas))
        elif wanted > max(self.floor, spec.min_replicas) and not self._strained(
            world, wanted / (wanted - 1)
        ):
            world.scale(self.row, wanted - 1)

    def _strained(self, world: World, factor: float) -> bool:
        """Tell whether some replica would miss a target with `factor` times its load."""
        spec, model = world.variants[self.row], world.scenario.models[world.model_of[self.row]]
        law = spec.engine(queue_timeout_s=math.inf)
        prompt = model.workload.phases[0].prompt.mean
        for pod in world.ready_pods(self.row):
            if pod.engine is None:
                continue
            rows = int(pod.engine.engine.n[ROWS])
            waiting = pod.engine.waiting
            tokens = pod.engine.kv_cache_usage_ratio * law.usable_blocks * law.block_size
            itl_s = law.iteration_base_s + factor * (
                rows * law.decode_slope_s + tokens * law.kv_slope_s
            )
            ttft_s = law.ttft_constant_s + (1.0 + factor * waiting) * (
                law.iteration_base_s + prompt * law.prefill_slope_s
            )
            full = factor * pod.engine.kv_cache_usage_ratio > 1.0
            if full or itl_s > model.itl_s or ttft_s > model.ttft_s:
                return True
        return False


def dynamo_planner(world: World, interval_s: float = FLOOR_S) -> Timetable:
    """Return one planner per variant; the rate is the model's over its variants' share."""
    timetable = Timetable()
    for row in range(len(world.variants)):
        siblings = sum(model == world.model_of[row] for model in world.model_of)
        planner = _Planner(row, siblings * variant_capacity_rps(world.scenario, row), interval_s)
        timetable.every(interval_s, planner.plan, first_s=interval_s)
        timetable.every(STEP_S, planner.step, first_s=STEP_S)
    return timetable
