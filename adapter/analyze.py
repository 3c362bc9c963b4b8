"""Snapshot and settings -> PlanRequest: what the readings mean. Pure.

Policy for what is missing (design 4.3): which replicas count is in reporting.py, what arrives
in model_demand.py, how long requests are in lengths.py. Here:

* A variant with a silent ready replica is *partial*; one with replicas and no reading
  at all is *blind*. Neither may lose replicas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from optimizer import (
    BoolArray,
    FloatArray,
    IntArray,
    ModelTable,
    PlanRequest,
    Policy,
    VariantTable,
    Workloads,
)

from .analysis_memory import LENGTHS, Memory
from .catalog import Catalog
from .engine_state import engine_limits, observations, replica_table, routing_table
from .lengths import request_lengths
from .model_demand import CountedDemand, counted_demand, model_signal, offered_rate
from .question import build_question
from .records import Readings, Snapshot
from .reporting import Reporting, unseen
from .schedule import Standby, standby

__all__ = ["Analysis", "Memory", "analyze", "unseen"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """The request to the optimizer, the next memory, and the inputs as people read them."""

    request: PlanRequest
    memory: Memory
    inputs: Mapping[str, FloatArray]  # per variant
    reading_age_s: FloatArray  # per variant: its last reading; who is silent is told apart
    lengths_assumed: BoolArray  # per variant
    doubt: NDArray[np.uint8]  # per replica: the Reason why it isn't believed, or PRESENT


def analyze(snapshot: Snapshot, catalog: Catalog, memory: Memory, *, policy: Policy) -> Analysis:
    """Return what the optimizer is asked, given what was read."""
    replicas = Reporting.of(snapshot, catalog.settings.max_decision_age_s)
    of_replica = catalog.variant_model[snapshot.replica_variant]
    rate_rps = offered_rate(snapshot, of_replica, len(catalog.models))
    demand = counted_demand(
        snapshot,
        replicas,
        rate_rps,
        memory,
        catalog,
        window_s=policy.observation_window_s,
    )
    lengths, assumed = request_lengths(snapshot, replicas, memory, catalog)
    each = lengths[catalog.variant_model]
    ready = standby(catalog.model_classes, snapshot.taken_unix_s)
    question = build_question(
        catalog,
        models=_model_table(snapshot, demand, ready),
        workloads=Workloads(
            **{name: each[:, i] for i, name in enumerate(LENGTHS)},
            prefix_hit_ratio=each[:, len(LENGTHS)],
        ),
        policy=policy,
    )
    request = _as_read(question, snapshot, replicas, catalog, ready)
    routing = question.routing
    if routing is not None:
        routing = routing_table(routing, snapshot, replicas, demand.counted, catalog.variant_model)
    return Analysis(
        request=replace(request, state=memory.plan, routing=routing),
        memory=Memory(
            plan=memory.plan,
            replica_rate_rps=demand.replica_rate_rps,
            model_names=catalog.model_names,
            complete_rps=demand.complete_rps,
            lengths=np.where(assumed[:, None], np.nan, lengths),
            replica_model=demand.replica_model,
            read_s=snapshot.taken_s,
            moved=demand.moved,
        ),
        inputs=_inputs(snapshot, replicas, demand.counted, each),
        reading_age_s=_reading_age_s(snapshot, replicas, request.variants),
        lengths_assumed=assumed[catalog.variant_model],
        doubt=replicas.doubt,
    )


def _model_table(snapshot: Snapshot, demand: CountedDemand, ready: Standby) -> ModelTable:
    return ModelTable(
        arrival_rate_rps=demand.total_rps,
        router_queue_requests=np.nan_to_num(model_signal(snapshot, "router_queue_requests")),
        warm_replicas=ready.replicas,
        warm_ratio=ready.ratio,
    )


def _as_read(
    question: PlanRequest,
    snapshot: Snapshot,
    replicas: Reporting,
    catalog: Catalog,
    ready: Standby,
) -> PlanRequest:
    """Return the question with what was read in the place of what was declared."""
    around = snapshot.circumstances
    return replace(
        question,
        now_s=snapshot.taken_s,
        now_unix_s=snapshot.taken_unix_s,
        variants=_variant_table(question.variants, snapshot, replicas, catalog, ready),
        replicas=replica_table(snapshot, replicas),
        limits=engine_limits(snapshot, replicas, question.limits, catalog),
        observations=observations(snapshot, replicas, question.policy.observation_window_s),
        shown_cold_start_s=around.cold_start_s if around is not None else None,
    )


def _variant_table(
    declared: VariantTable,
    snapshot: Snapshot,
    replicas: Reporting,
    catalog: Catalog,
    ready_for: Standby,
) -> VariantTable:
    number_ready = np.bincount(replicas.variant[replicas.ready], minlength=replicas.count)
    silent = replicas.ready & ~replicas.fresh
    heard = np.bincount(replicas.variant[replicas.fresh], minlength=replicas.count) > 0
    current = snapshot.current_replicas
    listed = np.bincount(replicas.variant, minlength=replicas.count)
    current = np.where(current >= 0, current, listed)
    ready = np.where(snapshot.ready_replicas >= 0, snapshot.ready_replicas, number_ready)
    quiet = ready_for.quiet[declared.model]
    return replace(
        declared,
        min_replicas=np.where(quiet, 0, declared.min_replicas).astype(np.int64),
        max_replicas=_reachable(snapshot, catalog),
        current_replicas=current.astype(np.int64),
        ready_replicas=np.minimum(ready, current).astype(np.int64),
        partial=np.bincount(replicas.variant[silent], minlength=replicas.count) > 0,
        blind=~heard & (ready > 0),
    )


def _reachable(snapshot: Snapshot, catalog: Catalog) -> IntArray:
    """Return the most replicas that can be had now, for what is left goes to other variants.

    Where pods can't start, more of them would only wait (design 4.4); the one above those
    that serve is what finds out when they can again.
    """
    circumstances = snapshot.circumstances
    if circumstances is None:
        return catalog.max_replicas
    reachable = circumstances.reachable_replicas
    bounded = np.clip(reachable, catalog.min_replicas, catalog.max_replicas)
    return np.where(reachable >= 0, bounded, catalog.max_replicas)


def _inputs(
    snapshot: Snapshot, replicas: Reporting, rate: Readings, lengths: FloatArray
) -> dict[str, FloatArray]:
    """Return the numbers that people see as a variant's inputs; NaN where nobody reports."""

    def total(readings: Readings, among: BoolArray) -> FloatArray:
        use = among & readings.present
        number = np.bincount(replicas.variant[use], minlength=replicas.count)
        return np.where(number > 0, replicas.total(readings.values, use), np.nan)

    signal = snapshot.replica
    return {
        # What stands in for a replica that is silent is a part of what was decided with.
        "input.arrival_rate_rps": total(rate, rate.present),
        "input.running_requests": total(signal["running_requests"], replicas.fresh),
        "input.waiting_requests": total(signal["waiting_requests"], replicas.fresh),
        "input.kv_usage_ratio": replicas.mean(signal["kv_usage_ratio"], replicas.fresh),
        "input.prompt_tokens_mean": lengths[:, 0],
        "input.output_tokens_mean": lengths[:, 2],
        "input.prefix_hit_ratio": lengths[:, 4],
    }


def _reading_age_s(snapshot: Snapshot, replicas: Reporting, variants: VariantTable) -> FloatArray:
    """Return the age of each variant's freshest replica; +inf where none was ever read.

    A replica that is silent makes its variant partial, not old: what the others report
    is still fresh, and the guard against scaling down is the flag. A variant without
    replicas needs no engine reading; one of which nobody knows whether it has any is no
    such variant.
    """
    age = np.full(replicas.count, np.inf)
    read = np.isfinite(snapshot.replica_age_s)
    np.minimum.at(age, replicas.variant[read], snapshot.replica_age_s[read])
    without = (variants.ready_replicas == 0) & ~unseen(snapshot)
    return np.where(without, np.where(np.isinf(age), 0.0, age), age)
