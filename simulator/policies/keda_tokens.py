"""The token-aware KEDA loop of llm-d (experimental, August 2026; after TokenScale, 2512.03416).

    replicas = max(ceil(uncached prompt tokens in flight / V / threshold),
                   ceil(sum of KV usage / 0.8))

V is one replica's prefill rate, chunk / median TTFT when idle; the threshold is the TTFT
target less one mean prompt at that rate, of which the guide takes 60 to 70 % for tails. HPA
as KEDA makes it, with the guide's windows against overshoot: 300 s both ways is its default
for slow starts; here up 0 s, down 300 s, which does better.
"""

import math
from dataclasses import dataclass

from ..hpa import Behavior
from ..hpa_spec import DEFAULT_UP, Policy, ScalingRules
from ..world import World
from .hpa_loop import SYNC_S, HpaLoop, hpa_specs
from .scrapes import Scrapes
from .timetable import Timetable

__all__ = ["TokenLoopSettings", "keda_tokens"]

WINDOW_S = 60.0
LEAST_THRESHOLD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLoopSettings:
    """The law's constants."""

    tail_ratio: float = 0.65
    kv_ratio: float = 0.8
    scrape_s: float = 5.0
    down_window_s: float = 300.0


def keda_tokens(world: World, settings: TokenLoopSettings) -> Timetable:
    """Return the loop."""
    scrapes = Scrapes(WINDOW_S)
    down = ScalingRules(
        policies=(Policy("Percent", 100, 15.0),), stabilization_s=settings.down_window_s
    )

    def signal(now: World) -> list[float | None]:
        kv = [0.0] * len(now.variants)
        for reading in scrapes.latest(now):
            kv[reading.variant] += reading.kv_usage_ratio / settings.kv_ratio
        return [max(_prefill(now, row, settings), kv[row]) for row in range(len(kv))]

    hpa = HpaLoop(
        specs=hpa_specs(world, Behavior(scale_up=DEFAULT_UP, scale_down=down)), signal=signal
    )
    timetable = Timetable()
    timetable.every(settings.scrape_s, scrapes.take)
    timetable.every(SYNC_S, hpa.sync, first_s=SYNC_S)
    return timetable


def _prefill(world: World, row: int, settings: TokenLoopSettings) -> float:
    """Return the replicas that the prompts in flight ask for."""
    model = world.scenario.models[world.model_of[row]]
    engine = world.variants[row].engine(queue_timeout_s=math.inf)
    chunk = engine.max_num_batched_tokens
    rate_tps = chunk / (engine.iteration_base_s + chunk * engine.prefill_slope_s)
    prompt = model.workload.phases[0].prompt.mean
    threshold_s = settings.tail_ratio * max(model.ttft_s - prompt / rate_tps, LEAST_THRESHOLD_S)
    waiting = world.services[world.model_of[row]].tokens_before_first()
    return waiting / rate_tps / threshold_s
