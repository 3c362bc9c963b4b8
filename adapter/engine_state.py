"""What engines say of themselves: limits, state, and what profiles are learned from. Pure."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from optimizer import (
    EngineLimits,
    FloatArray,
    IntArray,
    Observations,
    ReplicaTable,
    RoutingTable,
)

from .catalog import Catalog
from .question import queue_limit
from .records import Readings, Snapshot
from .reporting import Reporting

__all__ = ["engine_limits", "observations", "replica_table", "routing_table"]

# Memory per request is told by its use where prompts share little of it, and several run.
SHARED_RATIO = 0.05
FEWEST_RUNNING = 2.0


def engine_limits(
    snapshot: Snapshot, replicas: Reporting, declared: EngineLimits, catalog: Catalog
) -> EngineLimits:
    """Return the declared limits, with what engines say of themselves in their place."""

    def first_known(signal: str, otherwise: FloatArray | IntArray) -> FloatArray:
        read = replicas.mean(snapshot.replica[signal], replicas.fresh)
        return np.where(np.isfinite(read) & (read > 0), read, otherwise)

    batch = np.maximum(np.round(first_known("max_batch_size", declared.max_batch_size)), 1)
    return EngineLimits(
        max_batch_size=batch.astype(np.int64),
        max_queue_size=queue_limit(catalog, batch),
        kv_capacity_tokens=first_known("kv_capacity_tokens", declared.kv_capacity_tokens),
        max_batched_tokens=first_known("max_batched_tokens", declared.max_batched_tokens),
    )


def replica_table(snapshot: Snapshot, replicas: Reporting) -> ReplicaTable:
    """Return the state of the ready replicas that report."""
    use = replicas.ready & replicas.fresh
    signal = snapshot.replica
    return ReplicaTable(
        variant=replicas.variant[use],
        running_requests=signal["running_requests"].values[use],
        waiting_requests=signal["waiting_requests"].values[use],
        kv_usage_ratio=signal["kv_usage_ratio"].values[use],
        kv_capacity_tokens=signal["kv_capacity_tokens"].values[use],
        first_token_rate_rps=signal["first_token_rate_rps"].values[use],
        output_rate_tps=signal["output_token_rate_tps"].values[use],
    )


def routing_table(
    declared: RoutingTable,
    snapshot: Snapshot,
    replicas: Reporting,
    rate: Readings,
    model: IntArray,
) -> RoutingTable:
    """Return the declared laws with what arrives at each variant, by its replicas' rates.

    `rate` is each replica's part of what came in the window, `model` each variant's.
    """
    counted = rate.present
    heard = np.bincount(replicas.variant[counted], minlength=replicas.count) > 0
    arriving = np.where(heard, replicas.total(rate.values, counted), np.nan)
    # A replica that came in mid-window counts for the part of it that it was there.
    use = counted & replicas.ready & replicas.heard
    watched_s = snapshot.replica["observed_s"].values
    longest_s = np.zeros(int(model.max(initial=-1)) + 1)
    np.fmax.at(longest_s, model[replicas.variant], watched_s)
    longest_s = longest_s[model[replicas.variant]]
    part = np.divide(watched_s, longest_s, out=np.ones_like(watched_s), where=longest_s > 0)
    number = replicas.total(np.where(np.isnan(part), 1.0, part), use)
    total = replicas.total(rate.values, use)
    each = np.divide(total, number, out=np.full(replicas.count, np.nan), where=number > 0)
    return replace(declared, arriving_rps=arriving, arriving_each_rps=each)


def observations(snapshot: Snapshot, replicas: Reporting, window_s: float) -> Observations:
    """Return what each variant's replicas did on average, for learning its profile."""
    signal = snapshot.replica
    use = replicas.ready & replicas.heard

    def mean(name: str) -> FloatArray:
        return replicas.mean(signal[name], use)

    # Of n output tokens of a request the first is its prefill's: the others are decoded.
    decoded_tps = signal["output_token_rate_tps"].values - signal["first_token_rate_rps"].values
    decoding = Readings.of(np.maximum(decoded_tps, 0.0) * signal["itl_mean_s"].values)
    return Observations(
        requests=replicas.total(np.nan_to_num(signal["completion_rate_rps"].values), use)
        * window_s,
        arrival_rate_rps=mean("first_token_rate_rps"),
        decoding_requests=replicas.mean(decoding, use),
        waiting_requests=mean("mean_waiting_requests"),
        itl_s=mean("itl_mean_s"),
        ttft_s=mean("ttft_mean_s"),
        prompt_tokens=replicas.mean(_computed_prompt_tokens(signal), use),
        context_tokens=replicas.mean(_context_tokens(signal), use),
    )


def _computed_prompt_tokens(signal: Mapping[str, Readings]) -> Readings:
    """Return the mean prompt that each replica computed in the window, cached tokens left out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        each = signal["prompt_token_rate_tps"].values / signal["first_token_rate_rps"].values
    cached = np.nan_to_num(signal["prefix_hit_ratio"].values)
    return Readings.of(each * (1.0 - np.clip(cached, 0.0, 1.0)))


def _context_tokens(signal: Mapping[str, Readings]) -> Readings:
    """Return the mean KV tokens under each replica's running requests.

    Memory that is shared through the prefix cache is read once per request and counted
    once in all, so that nothing is said where much of it is.
    """
    held = signal["mean_kv_usage_ratio"].values * signal["kv_capacity_tokens"].values
    running = signal["mean_running_requests"].values
    private = np.nan_to_num(signal["prefix_hit_ratio"].values) < SHARED_RATIO
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(private & (running >= FEWEST_RUNNING), held / running, np.nan)
    return Readings.of(each)
