"""Stock HPA on what the engines show: GPU use, waiting requests, KV cache.

Sources and settings:

* `hpa-gpu`: `DCGM_FI_DEV_GPU_UTIL`, average 80 %, stock behavior. The counter says that a
  kernel ran, so it is near 100 % with one request: what most clusters have.
* `hpa-queue`: `vllm:num_requests_waiting`, average 5 per pod (vLLM production-stack's KEDA
  sample), stock behavior.
* `hpa-kv`: KV usage 0.5 and waiting requests 3, the larger counts (the baseline of the WVA
  paper, arXiv 2603.09730, section V), stock behavior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray

from ..hpa import Behavior
from ..hpa_spec import DEFAULT_UP, Policy, ScalingRules
from ..world import World
from .hpa_loop import SYNC_S, HpaLoop, hpa_specs
from .scrapes import PodReading, Scrapes
from .timetable import Timetable

__all__ = ["HpaSettings", "hpa_on_engines"]

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSettings:
    """Targets per pod, None for a metric that isn't used, and the wait before going down."""

    gpu_ratio: float | None = None
    waiting: float | None = None
    kv_ratio: float | None = None
    down_window_s: float = 300.0
    scrape_s: float = 15.0


def hpa_on_engines(world: World, settings: HpaSettings) -> Timetable:
    """Return the HPA on these metrics."""
    scrapes = Scrapes(WINDOW_S)
    down = ScalingRules(
        policies=(Policy("Percent", 100, 15.0),), stabilization_s=settings.down_window_s
    )
    loop = HpaLoop(
        specs=hpa_specs(world, Behavior(scale_up=DEFAULT_UP, scale_down=down)),
        signal=lambda now: _signal(now, scrapes, settings),
    )
    timetable = Timetable()
    timetable.every(settings.scrape_s, scrapes.take)
    timetable.every(SYNC_S, loop.sync, first_s=SYNC_S)
    return timetable


def _signal(world: World, scrapes: Scrapes, settings: HpaSettings) -> Sequence[float | None]:
    """Return the largest of each variant's metrics, summed over its pods, over its target."""
    usages: dict[int, list[FloatArray]] = {}
    for readings in scrapes.by_pod(world, WINDOW_S):
        usages.setdefault(readings[-1].variant, []).append(_usages(readings, settings))
    return [
        float(np.sum(usages[row], axis=0).max()) if row in usages else None
        for row in range(len(world.variants))
    ]


def _usages(readings: list[PodReading], settings: HpaSettings) -> FloatArray:
    """Return one pod's metrics over their targets; 0 where a metric isn't used."""
    newest, before = readings[-1], readings[max(len(readings) - 2, 0)]
    passed_s = newest.at_s - before.at_s
    busy = min((newest.busy_s - before.busy_s) / passed_s, 1.0) if passed_s > 0 else 0.0
    return np.array(
        [
            busy / (settings.gpu_ratio or math.inf),
            newest.waiting / (settings.waiting or math.inf),
            newest.kv_usage_ratio / (settings.kv_ratio or math.inf),
        ]
    )
