"""Latencies that one replica gives at an arrival rate: means and percentiles.

The chain of `occupancy` says how many requests share a step and how many wait;
`first_token` and `token_gap` turn that into the two latencies that an SLO is about.
Overload has an answer: a full queue, blocking, and the waits of those who get in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from .concurrency import mean_context_tokens
from .domain import (
    BoolArray,
    Columns,
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    Workloads,
)
from .first_token import FirstToken, Load, first_token
from .occupancy import States, build_replica, build_states, build_work, occupancy
from .queueing import Stationary
from .token_gap import TokenGap, token_gap
from .validate import check_bounds, check_percentile, check_rate, known_rows

__all__ = ["Block", "Latencies", "Prediction", "blocks", "latencies", "predict"]

# States of one block of variants (1 MiB per table in half width): tables stay in cache, and a
# block is large enough that the interpreter's share of the time is small.
_BLOCK_STATES = 1 << 18
# Rates below this share of the full rate have the latencies of an idle replica.
_LEAST_UTILIZATION = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction(Columns):
    """Predicted behavior of one replica per variant; NaN where an input is unknown.

    Attributes
    ----------
    ttft_mean_s, ttft_s : ndarray
        Time to first token: mean, and at the percentile that was asked for. [s]
    itl_mean_s, itl_s : ndarray
        Inter-token latency of a request (mean gap between its tokens): mean over
        requests, and percentile. 0 where all requests have one token. [s]
    throughput_rps : ndarray
        Requests served. [requests/s]
    utilization : ndarray
        Arrival rate over the service rate of a full batch.
    mean_in_service, mean_queue_length : ndarray
        Requests in the batch, and waiting for it.
    kv_usage_ratio : ndarray
        Share of the KV cache in use; 0 where its size is unlimited.
    blocking_ratio : ndarray
        Share of arrivals that find the queue full.
    overloaded : ndarray of bool
        Whether more arrives than a full batch serves.
    """

    ttft_mean_s: FloatArray
    ttft_s: FloatArray
    itl_mean_s: FloatArray
    itl_s: FloatArray
    throughput_rps: FloatArray
    utilization: FloatArray
    mean_in_service: FloatArray
    mean_queue_length: FloatArray
    kv_usage_ratio: FloatArray
    blocking_ratio: FloatArray
    overloaded: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some variants with their tables: what latencies are computed from.

    `rows` says which variants; the other columns are in that order.
    """

    rows: IntArray
    states: States
    batched_tokens: FloatArray
    context_tokens: FloatArray
    kv_capacity_tokens: FloatArray
    ttft_constant_s: FloatArray

    def take(self, index: IntArray) -> "Block":
        """Return the block of some of its variants."""
        return Block(
            rows=self.rows[index],
            states=self.states.take(index),
            batched_tokens=self.batched_tokens[index],
            context_tokens=self.context_tokens[index],
            kv_capacity_tokens=self.kv_capacity_tokens[index],
            ttft_constant_s=self.ttft_constant_s[index],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latencies:
    """What a block gives at one rate per variant; the TTFT constant is not in `ttft`."""

    stationary: Stationary
    ttft: FirstToken
    itl: TokenGap


def predict(
    profiles: ServiceProfiles,
    workloads: Workloads,
    limits: EngineLimits,
    arrival_rate_rps: FloatArray,
    *,
    percentile_ratio: FloatArray,
    dispersion: FloatArray | None = None,
) -> Prediction:
    """Return the latencies of one replica of each variant.

    Parameters
    ----------
    profiles : ServiceProfiles, V rows
    workloads : Workloads, V rows
    limits : EngineLimits, V rows
    arrival_rate_rps : array, shape (V,), >= 0 or NaN for unknown
        What arrives at one replica. [requests/s]
    percentile_ratio : array, shape (V,), in [0, 1)
        Percentile of `ttft_s` and `itl_s`; 0 gives their means.
    dispersion : array, shape (V,), >= 1, optional
        Index of dispersion of what arrives at one replica; absent: 1, Poisson.

    Returns
    -------
    Prediction

    Raises
    ------
    InvalidInputError
        If a known number is out of its bounds.
    """
    check_bounds(profiles, workloads, limits)
    check_rate("arrival_rate_rps", arrival_rate_rps, len(profiles))
    check_percentile(percentile_ratio, len(profiles))
    known = known_rows(profiles, workloads, limits)
    known &= ~np.isnan(arrival_rate_rps) & ~np.isnan(percentile_ratio)
    columns = {f.name: np.full(len(profiles), np.nan) for f in fields(Prediction)}
    columns["overloaded"] = np.zeros(len(profiles), dtype=np.bool_)
    for block in blocks(profiles, workloads, limits, known, dispersion=dispersion):
        part = _predict(block, arrival_rate_rps[block.rows], percentile_ratio[block.rows])
        for name, column in columns.items():
            column[block.rows] = getattr(part, name)
    return Prediction(**columns)


def blocks(
    profiles: ServiceProfiles,
    workloads: Workloads,
    limits: EngineLimits,
    chosen: BoolArray,
    *,
    dispersion: FloatArray | None = None,
) -> Iterator[Block]:
    """Yield the chosen variants in blocks of alike sizes, with their tables."""
    index = np.flatnonzero(chosen)
    workloads, limits, profiles = workloads.take(index), limits.take(index), profiles.take(index)
    work = build_work(profiles, workloads, limits)
    scattered = None if dispersion is None else dispersion[index]
    replica = build_replica(work, workloads, limits, dispersion=scattered)
    context = mean_context_tokens(workloads, work)
    order = np.lexsort((replica.last, replica.felt))
    start = 0
    while start < len(order):
        width = np.maximum.accumulate(replica.last[order[start:]]) + 1
        count = np.arange(1, len(width) + 1)
        end = start + max(1, int(np.searchsorted(count * width, _BLOCK_STATES)))
        rows = order[start:end]
        yield Block(
            rows=index[rows],
            states=build_states(replica.take(rows), work.take(rows)),
            batched_tokens=limits.max_batched_tokens[rows],
            context_tokens=context[rows],
            kv_capacity_tokens=limits.kv_capacity_tokens[rows],
            ttft_constant_s=profiles.ttft_constant_s[rows],
        )
        start = end


def latencies(block: Block, arrival_rate_rps: FloatArray) -> Latencies:
    """Return what a block's variants give at these rates, shape (V,), >= 0. [requests/s]"""
    states = block.states
    least = _LEAST_UTILIZATION * states.replica.full_rate_rps
    stationary = occupancy(states, np.maximum(arrival_rate_rps, least))
    load = _load(block, stationary)
    return Latencies(
        stationary=stationary,
        ttft=first_token(states.work, load, stationary),
        itl=token_gap(states.work, load, stationary),
    )


def _load(block: Block, stationary: Stationary) -> Load:
    work, replica = block.states.work, block.states.replica
    steps = work.prefill_steps + work.decode_steps
    slope = work.decode_s / steps
    left = np.maximum(block.batched_tokens - stationary.mean_in_service, 1.0)
    costs = work.prompt_token_s > 0.0
    return Load(
        prompt_share=stationary.throughput_rps * work.prefill_s,
        step_floor_s=work.iteration_base_s + slope * stationary.mean_in_service,
        step_floor_variance_s2=slope**2 * stationary.in_service_variance,
        step_floor_third_s3=slope**3 * stationary.in_service_third,
        budget_s=np.where(costs, left, np.inf) * np.where(costs, work.prompt_token_s, 1.0),
        full_step_s=replica.full_batch / (replica.full_rate_rps * steps),
        full_prompt_share=replica.full_rate_rps * work.prefill_s,
        arrivals=replica.arrivals,
        rate_rps=stationary.throughput_rps,
    )


def _predict(
    block: Block, arrival_rate_rps: FloatArray, percentile_ratio: FloatArray
) -> Prediction:
    found = latencies(block, arrival_rate_rps)
    stationary, replica = found.stationary, block.states.replica
    means = percentile_ratio == 0.0
    # Where means are asked for, the percentile is worked out for the median and dropped.
    ratio = np.where(means, 0.5, percentile_ratio)
    decodes = block.states.work.decode_steps > 0.0
    ttft = np.where(means, found.ttft.mean_s, found.ttft.quantile(ratio))
    itl_mean = found.itl.mean_s
    itl = np.where(means, itl_mean, found.itl.quantile(ratio))
    held = stationary.mean_in_service * block.context_tokens
    utilization = arrival_rate_rps / replica.full_rate_rps
    return Prediction(
        ttft_mean_s=found.ttft.mean_s + block.ttft_constant_s,
        ttft_s=ttft + block.ttft_constant_s,
        itl_mean_s=np.where(decodes, itl_mean, 0.0),
        itl_s=np.where(decodes, itl, 0.0),
        throughput_rps=np.minimum(stationary.throughput_rps, arrival_rate_rps),
        utilization=utilization,
        mean_in_service=stationary.mean_in_service,
        mean_queue_length=stationary.mean_queue_length,
        kv_usage_ratio=np.minimum(held / block.kv_capacity_tokens, 1.0),
        blocking_ratio=stationary.blocking_ratio,
        overloaded=utilization >= 1.0,
    )
