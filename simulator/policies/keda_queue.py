"""KEDA on waiting requests, as vLLM production-stack's sample has it, with a gateway's queue.

`vllm:num_requests_waiting` over a target of 5 per pod, polled every 15 s, 360 s of cooldown,
stock behavior. Where a variant may go to zero no engine is left to ask, so that requests which
wait at the gateway count as well: they wake it. A second trigger, on running requests and with a
target that never asks for more, keeps awake who serves without a queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..hpa import Behavior
from ..hpa_spec import DEFAULT_UP, Policy, ScalingRules
from ..keda import Fallback, ScaledObject
from ..world import World
from .keda_loop import KedaLoop
from .scrapes import Scrapes
from .timetable import Timetable

__all__ = ["QueueSettings", "keda_queue"]

WINDOW_S = 60.0
NEVER_MORE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The trigger's target and the object's periods."""

    waiting: float = 5.0
    polling_s: float = 15.0
    cooldown_s: float = 360.0
    down_window_s: float = 300.0
    scrape_s: float = 15.0


def keda_queue(world: World, settings: QueueSettings) -> Timetable:
    """Return KEDA and its HPA on the queue."""
    scrapes = Scrapes(WINDOW_S)
    specs = [
        ScaledObject(
            min_replicas=variant.min_replicas,
            polling_s=settings.polling_s,
            cooldown_s=settings.cooldown_s,
            fallback=Fallback(behavior="currentReplicasIfHigher"),
        )
        for variant in world.variants
    ]
    keda = KedaLoop(specs, lambda now: _signal(now, scrapes, settings.waiting))
    down = ScalingRules(
        policies=(Policy("Percent", 100, 15.0),), stabilization_s=settings.down_window_s
    )
    timetable = Timetable()
    timetable.every(settings.scrape_s, scrapes.take)
    keda.on(timetable, world, Behavior(scale_up=DEFAULT_UP, scale_down=down))
    return timetable


def _signal(world: World, scrapes: Scrapes, target: float) -> Sequence[float | None]:
    """Return the larger of both triggers over its target; None without readings."""
    latest = scrapes.latest(world)
    shown: list[float | None] = []
    for row, model in enumerate(world.model_of):
        own = [reading for reading in latest if reading.variant == row]
        waiting = world.services[model].queued + sum(reading.waiting for reading in own)
        running = sum(reading.running for reading in own)
        silent = not own and bool(world.ready_pods(row))
        shown.append(None if silent else max(waiting / target, running / NEVER_MORE))
    return shown
