"""Upstream WVA's saturation analyzers behind the chain that they ran in.

vLLM scraped every 15 s, peaks over 1 min, a tick every 30 s, the gauge scraped every 10 s and
read through Prometheus Adapter, HPA every 15 s with the benchmarks' behavior (up at once,
down after 240 s, 10 pods per 150 s). `wva-v1` is the percentage law, `wva-v2` the token law:
`optimizer.saturation_paper` and `optimizer.saturation_tokens` as published.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np

from optimizer import FloatArray, IntArray, ReplicaTable, VariantTable
from optimizer.saturation import DEFAULT_LIMITS, SaturationLimits
from optimizer.saturation_paper import paper_targets
from optimizer.saturation_tokens import (
    DEFAULT_THRESHOLDS,
    CapacityHistory,
    Role,
    TokenReadings,
    TokenThresholds,
    median_tokens,
    replica_capacity,
    slots_bound_tokens,
)
from optimizer.saturation_tokens_plan import replica_instances, token_signals, token_targets

from ..hpa import Behavior
from ..hpa_spec import Policy, ScalingRules
from ..pod import PodState
from ..world import World
from .hpa_loop import SYNC_S, HpaLoop, hpa_specs
from .scrapes import PodReading, Scrapes
from .timetable import Timetable

__all__ = ["TICK_S", "wva_v1", "wva_v2"]

SCRAPE_S = 15.0
TICK_S = 30.0
GAUGE_SCRAPE_S = 10.0
PEAK_S = 60.0
LENGTHS_S = 300.0

POLICIES = (Policy("Pods", 10, 150.0),)
BEHAVIOR = Behavior(
    scale_up=ScalingRules(policies=POLICIES),
    scale_down=ScalingRules(policies=POLICIES, stabilization_s=240.0),
)

Law: TypeAlias = Callable[[World, Scrapes, VariantTable, IntArray], IntArray]


@dataclass(slots=True, eq=False)
class _Chain:
    """From a tick to what HPA reads: the gauge as it was last scraped."""

    law: Law
    scrapes: Scrapes = field(default_factory=lambda: Scrapes(LENGTHS_S))
    asked: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    shown: list[float | None] = field(default_factory=list)

    def tick(self, world: World) -> None:
        previous = self.asked if len(self.asked) else np.zeros_like(world.wanted)
        wanted = self.law(world, self.scrapes, variant_table(world), previous)
        bounds = [(spec.min_replicas, spec.max_replicas) for spec in world.variants]
        self.asked = np.array(
            [min(max(int(n), low), high) for n, (low, high) in zip(wanted, bounds, strict=True)]
        )

    def show(self, world: World) -> None:
        self.shown = [float(n) for n in self.asked] or [None] * len(world.variants)


def _policy(world: World, law: Law) -> Timetable:
    chain = _Chain(law)
    hpa = HpaLoop(
        specs=hpa_specs(world, BEHAVIOR),
        signal=lambda now: chain.shown or [None] * len(now.variants),
    )
    timetable = Timetable()
    timetable.every(SCRAPE_S, chain.scrapes.take)
    timetable.every(TICK_S, chain.tick, first_s=TICK_S)
    timetable.every(GAUGE_SCRAPE_S, chain.show, first_s=GAUGE_SCRAPE_S / 2.0)
    timetable.every(SYNC_S, hpa.sync, first_s=SYNC_S)
    return timetable


def wva_v1(world: World, limits: SaturationLimits = DEFAULT_LIMITS) -> Timetable:
    """Return upstream WVA with its percentage-based analyzer."""
    return _policy(world, partial(_percentage_law, limits=limits))


def wva_v2(world: World, thresholds: TokenThresholds = DEFAULT_THRESHOLDS) -> Timetable:
    """Return upstream WVA with its token-based analyzer."""
    state = _TokenState(CapacityHistory.empty(len(world.variants)), thresholds)
    return _policy(world, state.law)


def variant_table(world: World) -> VariantTable:
    """Return the variants as the laws read them."""
    specs, count = world.variants, len(world.variants)
    kinds = world.scenario.accelerators
    ready = [world.count(row, PodState.READY) for row in range(count)]

    def column(values: Sequence[float]) -> FloatArray:
        return np.array(values, dtype=np.float64)

    flags = np.zeros(count, dtype=np.bool_)
    return VariantTable(
        model=np.array(world.model_of, dtype=np.int64),
        cost_per_hour=column(
            [s.accelerators_per_replica * kinds[s.accelerator].cost_per_hour for s in specs]
        ),
        power_idle_w=np.full(count, np.nan),
        power_full_w=np.full(count, np.nan),
        min_replicas=np.array([s.min_replicas for s in specs], dtype=np.int64),
        max_replicas=np.array([s.max_replicas for s in specs], dtype=np.int64),
        current_replicas=world.wanted.copy(),
        ready_replicas=np.array(ready, dtype=np.int64),
        partial=flags,
        blind=flags,
        paper_law=~flags,
        trust=np.zeros(count, dtype=np.int64),
        cold_start_s=np.full(count, np.nan),
    )


def _percentage_law(
    world: World,
    scrapes: Scrapes,
    variants: VariantTable,
    previous: IntArray,
    *,
    limits: SaturationLimits,
) -> IntArray:
    readings = list(scrapes.by_pod(world, PEAK_S))
    table = ReplicaTable(
        variant=np.array([r[-1].variant for r in readings], dtype=np.int64),
        running_requests=np.array([float(r[-1].running) for r in readings]),
        waiting_requests=np.array([float(max(x.waiting for x in r)) for r in readings]),
        kv_usage_ratio=np.array([max(x.kv_usage_ratio for x in r) for r in readings]),
        kv_capacity_tokens=np.full(len(readings), np.nan),
        first_token_rate_rps=np.full(len(readings), np.nan),
        output_rate_tps=np.full(len(readings), np.nan),
    )
    models = len(world.services)
    return paper_targets(table, variants, models=models, previous=previous, limits=limits).replicas


@dataclass(slots=True, eq=False)
class _TokenState:
    history: CapacityHistory
    thresholds: TokenThresholds
    prompt_tokens: float = 1.0
    output_tokens: float = 1.0

    def law(
        self, world: World, scrapes: Scrapes, variants: VariantTable, previous: IntArray
    ) -> IntArray:
        del previous  # the law looks at what is there, not at what it asked for
        readings = list(scrapes.by_pod(world, LENGTHS_S))
        variant = np.array([r[-1].variant for r in readings], dtype=np.int64)
        capacity, self.history = replica_capacity(
            self._token_readings(world, readings, variant), self.history, thresholds=self.thresholds
        )
        count = len(world.variants)
        each = median_tokens(capacity.capacity_tokens, variant, count)
        running, pending = replica_instances(
            instances=np.bincount(variant, minlength=count),
            ready_replicas=variants.ready_replicas,
            current_replicas=variants.current_replicas,
        )
        signals = token_signals(
            model=variants.model,
            models=len(world.services),
            capacity_tokens=each,
            running=running,
            pending=pending,
            demand_tokens=np.bincount(
                variant, weights=capacity.demand_tokens, minlength=count
            ).astype(np.float64),
            queue_tokens=np.zeros(len(world.services)),
            thresholds=self.thresholds,
        )
        return token_targets(signals, variants, capacity_tokens=each)

    def _token_readings(
        self, world: World, readings: list[list[PodReading]], variant: IntArray
    ) -> TokenReadings:
        recent = [[x for x in r if x.at_s > world.now_s - PEAK_S] or r[-1:] for r in readings]
        engines = [world.variants[row].engine(queue_timeout_s=math.inf) for row in variant]
        lengths = np.array([self._lengths(r) for r in readings]).reshape(-1, 2)
        batch = np.array([float(e.max_num_seqs) for e in engines])
        batched = np.array([float(e.max_num_batched_tokens) for e in engines])
        cache = np.array([float(e.usable_blocks * e.block_size) for e in engines])
        return TokenReadings(
            kv_usage_ratio=np.array([max(x.kv_usage_ratio for x in r) for r in recent]),
            waiting_requests=np.array([float(max(x.waiting for x in r)) for r in recent]),
            kv_capacity_tokens=cache,
            stored_capacity_tokens=np.full(len(readings), np.nan),
            prompt_tokens=lengths[:, 0],
            output_tokens=lengths[:, 1],
            derived_tokens=slots_bound_tokens(
                max_batched_tokens=batched,
                max_batch_size=batch,
                prompt_tokens=lengths[:, 0],
                output_tokens=lengths[:, 1],
            ),
            role=np.full(len(readings), int(Role.BOTH)),
            key=variant,
        )

    def _lengths(self, readings: list[PodReading]) -> tuple[float, float]:
        """Return the mean lengths over the window; the last known where nothing ended."""
        first, last = readings[0], readings[-1]
        ended = last.finished - first.finished
        if ended > 0:
            self.prompt_tokens = (last.prompt_tokens - first.prompt_tokens) / ended
            self.output_tokens = (last.output_tokens - first.output_tokens) / ended
        return self.prompt_tokens, self.output_tokens
