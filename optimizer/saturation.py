"""What the engines' own state asks for: a guard that needs no profile. Pure columns.

Two stocks are watched (design 4.6): KV-cache memory, in tokens, and slots, seen through
the requests that wait. Both are turned into a replica count in one step, so a surge is
answered with what it needs and not with one more. A replica is safe to remove only if
every request in flight on it fits somewhere else as a whole: free memory that is spread
over many replicas in pieces smaller than a request is no room.

The guard knows nothing of latencies, rates or costs, and never decides a count alone.
Its thresholds are those of arXiv 2603.09730 (section V-A); the law built on them there
(one replica up or down at a time) is in `saturation_paper`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray
from .errors import InvalidInputError
from .tables import ReplicaTable, VariantTable

__all__ = ["DEFAULT_LIMITS", "Headroom", "SaturationLimits", "Stock", "headroom"]

# Stands for "no limit" where infinities would turn differences into NaN.
_PLENTY = 1e12
_ROUNDING = 1e-9


class Stock(IntEnum):
    """The stock that decided how many replicas a variant needs."""

    UNKNOWN = 0  # neither KV usage nor queues were read
    IDLE = 1  # nothing is in flight
    MEMORY = 2  # KV cache
    SLOTS = 3  # requests wait although memory may be free


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturationLimits:
    """When a replica is full, and how much of it stays free.

    Attributes
    ----------
    full_kv_ratio : float
        KV usage at which a replica is full, in (0, 1].
    spare_kv_ratio : float
        Share of the cache that stays free below that, in [0, full_kv_ratio).
    full_queue_requests : float
        Waiting requests at which a replica is full, > 0.
    spare_queue_requests : float
        Places of that queue that stay free, in [0, full_queue_requests).
    """

    full_kv_ratio: float = 0.80
    spare_kv_ratio: float = 0.10
    full_queue_requests: float = 5.0
    spare_queue_requests: float = 3.0

    def __post_init__(self) -> None:
        """Refuse limits that leave no room or contradict each other."""
        if not 0.0 <= self.spare_kv_ratio < self.full_kv_ratio <= 1.0:
            raise InvalidInputError(
                f"KV limits must have 0 <= spare < full <= 1, got spare "
                f"{self.spare_kv_ratio}, full {self.full_kv_ratio}"
            )
        if not 0.0 <= self.spare_queue_requests < self.full_queue_requests:
            raise InvalidInputError(
                f"queue limits must have 0 <= spare < full, got spare "
                f"{self.spare_queue_requests}, full {self.full_queue_requests}"
            )

    @property
    def usable_kv_ratio(self) -> float:
        """Share of the cache that is planned with."""
        return self.full_kv_ratio - self.spare_kv_ratio

    @property
    def usable_slots_ratio(self) -> float:
        """Share of the slots that is planned with: the same share as of usable memory."""
        return self.usable_kv_ratio / self.full_kv_ratio

    @property
    def tolerated_queue_requests(self) -> float:
        """Waiting requests per replica that are taken for passing."""
        return self.full_queue_requests - self.spare_queue_requests


DEFAULT_LIMITS = SaturationLimits()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Headroom(Columns):
    """What the engines' state asks for, one row per variant.

    Attributes
    ----------
    reporting : ndarray of int
        Replicas that the row was made from.
    needed_replicas : ndarray
        Replicas that hold what is in flight with the headroom left free; NaN: unknown.
    whole_replicas : ndarray of int
        The same, rounded up; 0 where unknown.
    saturated : ndarray of bool
        A replica is full, and all of them together are too few.
    safe_to_remove : ndarray of bool
        Whichever replica goes, its requests fit into the others, each as a whole.
    stock : ndarray of int
        Which stock decided, see `Stock`.
    hot_replicas : ndarray of int
        Full replicas of a variant that has room enough on the whole: load is uneven.
    full_replicas : ndarray of int
        All that are full.
    full_prefilled_rps, full_output_tps : ndarray
        Requests that one of them prefills and tokens that it makes, on average; NaN: none is
        full, or it isn't known.
    """

    reporting: IntArray
    needed_replicas: FloatArray
    whole_replicas: IntArray
    saturated: BoolArray
    safe_to_remove: BoolArray
    stock: IntArray
    hot_replicas: IntArray
    full_replicas: IntArray
    full_prefilled_rps: FloatArray
    full_output_tps: FloatArray


def headroom(
    replicas: ReplicaTable,
    variants: VariantTable,
    *,
    request_tokens: FloatArray | None = None,
    max_batch_size: FloatArray | None = None,
    final_tokens: FloatArray | None = None,
    limits: SaturationLimits = DEFAULT_LIMITS,
) -> Headroom:
    """Return how many replicas each variant's engines need, and whether one may go.

    Parameters
    ----------
    replicas : ReplicaTable, R rows
        Readings of the replicas that reported; NaN for what an engine doesn't export.
        Unknown capacities make the variant count in caches instead of tokens.
    variants : VariantTable, V rows
    request_tokens : array, shape (V,), optional
        Mean KV tokens that a request holds while it runs; NaN or absent: taken from
        what runs now. [tokens]
    max_batch_size : array, shape (V,), optional
        Slots of one replica; NaN, inf or absent: learned from replicas that are full.
    final_tokens : array, shape (V,), optional
        KV tokens that a request found running ends with: what it has to fit with where it
        is served on; NaN or absent: what it holds now. [tokens]
    limits : SaturationLimits

    Returns
    -------
    Headroom

    Notes
    -----
    With used tokens u_r, capacity C, waiting requests w_r of m tokens each and slots S,

        memory = sum_r (u_r + w_r m) / (C (full - spare))
        slots  = sum_r (running_r + w_r) / (S (full - spare) / full)

    and needed = max(memory, slots). S without a declaration is the largest batch among
    replicas whose queue is longer than what is tolerated; while nobody waits, slots ask
    for nothing.
    """
    count = len(variants)
    known = np.full(count, np.nan)
    cache = _Cache.of(replicas, count, known if request_tokens is None else request_tokens)
    slots = _slots(replicas, count, known if max_batch_size is None else max_batch_size, limits)
    reporting = np.bincount(replicas.variant, minlength=count)
    in_flight = _in_flight(replicas)

    flying = _total(in_flight, replicas.variant, count)
    by_memory = cache.stock_tokens(replicas) / (cache.mean_capacity * limits.usable_kv_ratio)
    # Slots that nobody knows ask for nothing beside memory, and say nothing without it.
    by_slots = np.where(np.isfinite(slots) | (flying == 0), flying / slots, np.nan)
    by_slots = by_slots / limits.usable_slots_ratio
    heard = _total(np.isfinite(in_flight), replicas.variant, count) > 0
    needed = np.fmax(by_memory, np.where(heard, by_slots, np.nan))
    full = (replicas.kv_usage_ratio >= limits.full_kv_ratio) | (
        replicas.waiting_requests >= limits.full_queue_requests
    )
    number_full = _total(full, replicas.variant, count).astype(np.int64)
    stock = np.select(
        [np.isnan(needed), needed <= 0, np.nan_to_num(by_slots) > np.nan_to_num(by_memory)],
        [Stock.UNKNOWN, Stock.IDLE, Stock.SLOTS],
        Stock.MEMORY,
    )
    saturated = (number_full > 0) & (needed > reporting)
    grown = known if final_tokens is None else final_tokens
    return Headroom(
        reporting=reporting,
        needed_replicas=needed,
        whole_replicas=np.ceil(np.nan_to_num(needed) - _ROUNDING).astype(np.int64),
        saturated=saturated,
        safe_to_remove=_safe_to_remove(replicas, cache.grown_to(grown), slots, in_flight, limits),
        stock=stock.astype(np.int64),
        hot_replicas=np.where(saturated, 0, number_full),
        full_replicas=number_full,
        full_prefilled_rps=_mean(replicas.first_token_rate_rps, full, replicas.variant, count),
        full_output_tps=_mean(replicas.output_rate_tps, full, replicas.variant, count),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cache:
    """KV memory in one unit per variant: tokens, or caches where capacities are unknown."""

    capacity: FloatArray  # (R,)
    used: FloatArray  # (R,); NaN: unknown
    mean_capacity: FloatArray  # (V,); NaN: no usage known
    mean_size: FloatArray  # (V,) of a request; 0: unknown
    largest_size: FloatArray  # (V,) mean of the replica with the largest requests

    @classmethod
    def of(cls, replicas: ReplicaTable, count: int, request_tokens: FloatArray) -> "_Cache":
        """Put together what the replicas say of each of `count` variants' memory."""
        variant = replicas.variant
        read = np.isfinite(replicas.kv_usage_ratio)
        tokens = np.isfinite(replicas.kv_capacity_tokens) & (replicas.kv_capacity_tokens > 0)
        in_tokens = _total(read & ~tokens, variant, count) == 0
        capacity = np.where(in_tokens[variant] & tokens, replicas.kv_capacity_tokens, 1.0)
        used = replicas.kv_usage_ratio * capacity
        running = np.where(read, np.nan_to_num(replicas.running_requests), 0.0)
        size = np.divide(used, running, out=np.zeros_like(used), where=running > 0)
        largest = np.zeros(count)
        np.maximum.at(largest, variant, size)
        given = np.where(in_tokens & (request_tokens > 0), request_tokens, np.nan)
        total = _total(np.where(running > 0, used, 0.0), variant, count)
        seen = _ratio(total, _total(running, variant, count))
        return cls(
            capacity=capacity,
            used=used,
            mean_capacity=_ratio(
                _total(np.where(read, capacity, 0.0), variant, count),
                _total(read, variant, count),
            ),
            mean_size=np.nan_to_num(np.where(np.isfinite(given), given, seen)),
            largest_size=np.fmax(given, largest),
        )

    def grown_to(self, final_tokens: FloatArray) -> "_Cache":
        """Return the same with requests as large as they will become, where that is known."""
        tokens = self.mean_capacity > 1.0
        final = np.where(tokens & (final_tokens > 0), final_tokens, np.nan)
        return replace(self, largest_size=np.fmax(self.largest_size, final))

    def stock_tokens(self, replicas: ReplicaTable) -> FloatArray:
        """Return what is held and what the waiting requests will hold, per variant."""
        waiting = np.nan_to_num(replicas.waiting_requests) * self.mean_size[replicas.variant]
        held = np.nan_to_num(self.used) + waiting
        return _total(held, replicas.variant, len(self.mean_size))


def _slots(
    replicas: ReplicaTable, count: int, declared: FloatArray, limits: SaturationLimits
) -> FloatArray:
    """Return the slots of one replica per variant; inf where nothing tells."""
    queued = replicas.waiting_requests > limits.tolerated_queue_requests
    seen = np.zeros(count)
    batch = np.where(queued, np.nan_to_num(replicas.running_requests), 0.0)
    np.maximum.at(seen, replicas.variant, batch)
    learned = np.where(seen > 0, seen, np.inf)
    return np.where(np.isfinite(declared) & (declared > 0), declared, learned)


def _safe_to_remove(
    replicas: ReplicaTable,
    cache: _Cache,
    slots: FloatArray,
    in_flight: FloatArray,
    limits: SaturationLimits,
) -> BoolArray:
    """Return whether the requests of any one replica fit whole into those that stay.

    Which replica goes is the cluster's choice, so the worst one has to be safe. The
    request that is placed has the size of the largest ones seen, and grows until it ends:
    free memory in pieces smaller than that is no room, however much it is in all.
    """
    variant, count = replicas.variant, len(slots)
    room = np.maximum(cache.capacity * limits.usable_kv_ratio - cache.used, 0.0)
    size = np.maximum(cache.largest_size[variant], cache.capacity / _PLENTY)
    by_memory = room / size
    by_slots = np.minimum(slots[variant] * limits.usable_slots_ratio, _PLENTY) - in_flight
    places = np.floor(np.clip(np.minimum(by_memory, by_slots), 0.0, _PLENTY) + _ROUNDING)
    blocked = replicas.waiting_requests > limits.tolerated_queue_requests
    places = np.where(np.isnan(cache.used) | np.isnan(in_flight) | blocked, 0.0, places)
    left = _total(places, variant, count)[variant] - places - in_flight
    worst = np.full(count, np.inf)
    np.minimum.at(worst, variant, np.where(np.isnan(left), -np.inf, left))
    return (np.bincount(variant, minlength=count) >= 2) & (worst >= 0.0)


def _in_flight(replicas: ReplicaTable) -> FloatArray:
    """Return running + waiting requests; NaN only where neither was read."""
    running, waiting = replicas.running_requests, replicas.waiting_requests
    total = np.nan_to_num(running) + np.nan_to_num(waiting)
    return np.where(np.isnan(running) & np.isnan(waiting), np.nan, total)


def _total(values: FloatArray | BoolArray, variant: IntArray, count: int) -> FloatArray:
    weights = np.nan_to_num(values.astype(np.float64))
    return np.bincount(variant, weights=weights, minlength=count).astype(np.float64)


def _mean(values: FloatArray, where: BoolArray, variant: IntArray, count: int) -> FloatArray:
    """Return the mean of what is known of the replicas chosen; NaN where that is nothing."""
    use = where & np.isfinite(values)
    return _ratio(_total(np.where(use, values, 0.0), variant, count), _total(use, variant, count))


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
