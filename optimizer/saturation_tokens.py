"""The published token-based saturation law ("V2"), as it stands. Pure columns.

Capacity of a replica is a number of KV tokens, the smaller of a memory bound and of a
"compute bound" that is observed while the queue is full, remembered, or derived from the
engine's arguments. A model grows when its demand in tokens exceeds 0.85 of what is there
and coming, shrinks when it is under 0.70 of what is there. Source: the project's notes on
the published analyzer ("token-based"), with its known faults: the compute bound is a
stock that stands for a rate, and history is never corrected upward.

This module must not improve the law: it exists for comparison. What memory means to our
own decision is in `saturation`.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray

__all__ = [
    "CapacityHistory",
    "Role",
    "TokenCapacity",
    "TokenReadings",
    "TokenThresholds",
    "idle_capacity_tokens",
    "median_tokens",
    "queue_demand_tokens",
    "replica_capacity",
    "slots_bound_tokens",
    "waiting_tokens",
]

BYTES_PER_TOKEN = 4.0
_HISTORY = 10
# Mean output lengths at which one bucket of the history ends and the next begins.
_BUCKET_ENDS = np.array([100.0, 500.0])
_LARGEST_TOKENS = float(1 << 62)


class Role(IntEnum):
    """What a replica does of a request. Unknown roles count as BOTH."""

    BOTH = 0
    PREFILL = 1
    DECODE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenThresholds:
    """Thresholds of the law, with their published defaults."""

    full_kv_ratio: float = 0.80
    full_queue_requests: float = 5.0
    scale_up_ratio: float = 0.85
    scale_down_ratio: float = 0.70


DEFAULT_THRESHOLDS = TokenThresholds()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityHistory:
    """The last ten capacities observed under a full queue, per key and length bucket.

    A key is one (model, accelerator, accelerators per replica); `values` has shape
    (keys, 3, 10), filled in a ring; `seen` counts all that was ever observed.
    """

    values: FloatArray
    seen: IntArray

    @classmethod
    def empty(cls, keys: int) -> "CapacityHistory":
        """Return the history of `keys` keys that were never full."""
        return cls(
            values=np.full((keys, len(_BUCKET_ENDS) + 1, _HISTORY), np.nan),
            seen=np.zeros((keys, len(_BUCKET_ENDS) + 1), dtype=np.int64),
        )

    def mean_tokens(self, key: IntArray, bucket: IntArray) -> FloatArray:
        """Return the mean of what is remembered; NaN where nothing is."""
        kept = self.values[key, bucket]
        number = np.isfinite(kept).sum(axis=-1)
        total: FloatArray = np.nansum(kept, axis=-1)
        mean: FloatArray = np.divide(total, number, out=np.full(len(key), np.nan), where=number > 0)
        return mean

    def with_observed(
        self, key: IntArray, bucket: IntArray, tokens: FloatArray
    ) -> "CapacityHistory":
        """Return the history with `tokens` appended in the order given."""
        values, seen = self.values.copy(), self.seen.copy()
        group = key * seen.shape[1] + bucket
        order = np.argsort(group, kind="stable")
        first = np.searchsorted(group[order], group[order])
        place = np.empty(len(group), dtype=np.int64)
        place[order] = np.arange(len(group)) - first
        values[key, bucket, (seen[key, bucket] + place) % _HISTORY] = tokens
        np.add.at(seen, (key, bucket), 1)
        return CapacityHistory(values=values, seen=seen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenCapacity(Columns):
    """Capacity and demand of each replica. [tokens]"""

    used_tokens: FloatArray
    capacity_tokens: FloatArray
    demand_tokens: FloatArray

    @property
    def saturated(self) -> BoolArray:
        """Where demand has reached the capacity."""
        return self.demand_tokens >= self.capacity_tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenReadings(Columns):
    """What the law reads of each replica.

    Attributes
    ----------
    kv_usage_ratio, waiting_requests : ndarray
    kv_capacity_tokens : ndarray
        NaN: the engine doesn't tell. [tokens]
    stored_capacity_tokens : ndarray
        The cache as last known, used where the engine doesn't tell; NaN there as well:
        the replica has neither capacity nor demand. [tokens]
    prompt_tokens, output_tokens : ndarray
        Mean lengths. [tokens]
    derived_tokens : ndarray
        From `slots_bound_tokens`; 0: unknown. [tokens]
    role, key : ndarray of int
        `Role`, and the row of the replica's key in the history.
    """

    kv_usage_ratio: FloatArray
    waiting_requests: FloatArray
    kv_capacity_tokens: FloatArray
    stored_capacity_tokens: FloatArray
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    derived_tokens: FloatArray
    role: IntArray
    key: IntArray


def slots_bound_tokens(
    *,
    max_batched_tokens: FloatArray,
    max_batch_size: FloatArray,
    prompt_tokens: FloatArray,
    output_tokens: FloatArray,
) -> FloatArray:
    """Return the compute bound derived from an engine's arguments; 0 where unknown.

    int(N (I + O/2)) with N = min(B O / (I + O), S). [tokens]
    """
    given = np.isfinite(max_batched_tokens) & np.isfinite(max_batch_size)
    given &= (prompt_tokens > 0) & (output_tokens > 0)
    length = np.where(given, prompt_tokens + output_tokens, 1.0)
    running = np.minimum(max_batched_tokens * output_tokens / length, max_batch_size)
    return np.where(given, np.floor(running * (prompt_tokens + output_tokens / 2.0)), 0.0)


def waiting_tokens(
    waiting_requests: FloatArray,
    prompt_tokens: FloatArray,
    output_tokens: FloatArray,
    role: IntArray,
) -> FloatArray:
    """Return the tokens that waiting requests stand for; 0 for readings that make no sense."""
    prompt, output = np.nan_to_num(prompt_tokens), np.nan_to_num(output_tokens)
    length = np.where(role == Role.PREFILL, prompt, prompt + output)
    with np.errstate(over="ignore", invalid="ignore"):
        tokens = waiting_requests * length
    sensible = np.isfinite(tokens) & (waiting_requests >= 0) & (tokens < _LARGEST_TOKENS)
    return np.where(sensible, tokens, 0.0)


def replica_capacity(
    readings: TokenReadings,
    history: CapacityHistory,
    *,
    thresholds: TokenThresholds = DEFAULT_THRESHOLDS,
) -> tuple[TokenCapacity, CapacityHistory]:
    """Return each replica's capacity and demand, and the history that they leave.

    capacity = min(k1, k2), k1 = int(full C). k2 is the tokens in use if the queue is
    full, else the mean of its history, else the derived bound, else k1.
    """
    reported = np.isfinite(readings.kv_capacity_tokens)
    cache = np.where(reported, readings.kv_capacity_tokens, readings.stored_capacity_tokens)
    cache = np.nan_to_num(cache)
    memory = np.floor(cache * thresholds.full_kv_ratio)
    in_use = np.clip(np.round(readings.kv_usage_ratio * cache), 0.0, cache)
    # Without the engine's word on its cache, usage is counted against the memory bound.
    used = np.where(reported, in_use, np.floor(readings.kv_usage_ratio * memory))
    bucket = np.searchsorted(_BUCKET_ENDS, readings.output_tokens, side="right")
    full = readings.waiting_requests >= np.floor(thresholds.full_queue_requests)
    observed = reported & full & (used > 0)
    remembered = history.mean_tokens(readings.key, bucket)
    derived = readings.derived_tokens
    compute = np.select(
        [observed, reported & np.isfinite(remembered), reported & (derived > 0)],
        [used, remembered, derived],
        memory,
    )
    waiting = waiting_tokens(
        readings.waiting_requests, readings.prompt_tokens, readings.output_tokens, readings.role
    )
    capacity = TokenCapacity(
        used_tokens=used,
        capacity_tokens=np.minimum(memory, compute),
        demand_tokens=np.where(cache > 0, used + waiting, 0.0),
    )
    return capacity, history.with_observed(readings.key[observed], bucket[observed], used[observed])


def median_tokens(capacity_tokens: FloatArray, variant: IntArray, variants: int) -> FloatArray:
    """Return the median capacity of each variant's replicas; 0 for a variant without any.

    The middle two of an even number give their mean, cut to whole tokens.
    """
    order = np.lexsort((capacity_tokens, variant))
    number = np.bincount(variant, minlength=variants)
    start = np.concatenate([[0], np.cumsum(number)[:-1]]).astype(np.int64)
    values = np.append(capacity_tokens[order], 0.0)
    low = values[np.minimum(start + (number - 1) // 2, len(order))]
    high = values[np.minimum(start + number // 2, len(order))]
    return np.where(number > 0, np.floor((low + high) / 2.0), 0.0)


def idle_capacity_tokens(
    *,
    live_record: FloatArray,
    derived_tokens: FloatArray,
    own_cache_tokens: FloatArray,
    compatible_tokens: FloatArray,
    max_batched_tokens: FloatArray,
    thresholds: TokenThresholds = DEFAULT_THRESHOLDS,
) -> FloatArray:
    """Return what one replica of a variant that has none would hold. [tokens]

    Its own last live capacity; else the derived bound, cut to its own memory bound and to
    what a compatible variant really holds; without lengths to derive from, the batched
    tokens. NaN: not known.
    """
    bounds = np.stack(
        [
            np.where(derived_tokens > 0, derived_tokens, np.inf),
            np.floor(own_cache_tokens * thresholds.full_kv_ratio),
            compatible_tokens,
        ]
    )
    derived = np.fmin.reduce(bounds, axis=0)
    estimate = np.where(derived_tokens > 0, derived, max_batched_tokens)
    return np.where(np.isfinite(live_record), live_record, estimate)


def queue_demand_tokens(
    *,
    queued_requests: FloatArray,
    queued_bytes: FloatArray,
    prompt_tokens: FloatArray,
    output_tokens: FloatArray,
    prefix_hit_ratio: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the router queue's demand on prefill, on decode and in all. [tokens]

    Replicas that do both carry both, as decode does.
    """
    size = np.maximum(queued_bytes / BYTES_PER_TOKEN, queued_requests * prompt_tokens)
    prefill = size * (1.0 - prefix_hit_ratio)
    total = prefill + queued_requests * output_tokens
    return prefill, total, total
