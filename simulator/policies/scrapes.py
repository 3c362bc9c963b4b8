"""A Prometheus for policies: what pods showed at each scrape, for as long as a window needs."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import state
from ..world import World

__all__ = ["PodReading", "Scrapes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReading:
    """One pod at one scrape: gauges, and totals since it started."""

    at_s: float
    pod: int
    variant: int
    running: int
    waiting: int
    kv_usage_ratio: float
    busy_s: float
    steps: int
    finished: int
    prompt_tokens: float
    output_tokens: float


class Scrapes:
    """Readings of the last `keep_s` seconds; a scrape that fails leaves no reading.

    Where metrics are late, a reading is dated when it can be seen, as by a Prometheus that
    scrapes something in between.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._coming: deque[PodReading] = deque()
        self._readings: deque[PodReading] = deque()

    def take(self, world: World) -> None:
        """Scrape every pod that takes requests."""
        for variant in range(len(world.variants)):
            for pod in world.ready_pods(variant):
                if pod.engine is None or world.scrape_fails():
                    continue
                engine, seen = pod.engine, pod.engine.requests
                self._coming.append(
                    PodReading(
                        at_s=world.now_s + world.metrics_late_s,
                        pod=pod.number,
                        variant=variant,
                        running=engine.running,
                        waiting=engine.waiting,
                        kv_usage_ratio=engine.kv_cache_usage_ratio,
                        busy_s=float(engine.meters.sums[state.BUSY_S]),
                        steps=int(engine.meters.totals[state.STEPS]),
                        finished=seen.finished,
                        prompt_tokens=seen.prompt_tokens.total,
                        output_tokens=seen.output_tokens.total,
                    )
                )
        while self._coming and self._coming[0].at_s <= world.now_s:
            self._readings.append(self._coming.popleft())
        while self._readings and self._readings[0].at_s <= world.now_s - self._keep_s:
            self._readings.popleft()

    def latest(self, world: World) -> list[PodReading]:
        """Return the newest reading of each pod that takes requests."""
        return [readings[-1] for readings in self.by_pod(world, math.inf)]

    def by_pod(self, world: World, window_s: float) -> Iterator[list[PodReading]]:
        """Yield the readings of each pod that takes requests, in order of time."""
        there = {pod.number for row in range(len(world.variants)) for pod in world.ready_pods(row)}
        own: dict[int, list[PodReading]] = {}
        for reading in self._readings:
            if reading.pod in there and reading.at_s > world.now_s - window_s:
                own.setdefault(reading.pod, []).append(reading)
        yield from own.values()

    def peak(
        self, world: World, window_s: float, value: Callable[[PodReading], float]
    ) -> dict[int, tuple[int, float]]:
        """Return `max_over_time` per pod, with its variant."""
        return {
            readings[-1].pod: (readings[-1].variant, max(map(value, readings)))
            for readings in self.by_pod(world, window_s)
        }
