"""What flows through the adapter: Snapshot, and Publication. Frozen, in base units.

A reading is a number or missing with a reason; absent is never zero. Anything that
scales with variants or replicas is a column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MODEL_SIGNALS",
    "PERCENTILES",
    "REPLICA_SIGNALS",
    "VARIANT_SIGNALS",
    "Circumstances",
    "Freshness",
    "Missing",
    "ModelKey",
    "Publication",
    "Readings",
    "Reason",
    "ReplicaState",
    "Snapshot",
    "SourceFault",
    "TickReport",
    "VariantKey",
]


class Reason(IntEnum):
    """Why a reading is missing; PRESENT says that it isn't."""

    PRESENT = 0
    NOT_READ_YET = 1  # no scrape of this replica has succeeded yet
    TIMEOUT = 2
    UNREACHABLE = 3  # refused, reset, name not resolved, TLS
    HTTP_STATUS = 4
    MALFORMED = 5  # the body is cut, too large, or not an exposition
    WRONG_MODEL = 6  # the engine serves another model
    NOT_EXPORTED = 7  # this engine doesn't export the signal
    NOT_FINITE = 8  # exported as NaN or infinite
    ONE_SCRAPE = 9  # a rate needs two scrapes
    NO_EVENTS = 10  # nothing happened in the window: no traffic
    STALE = 11  # last read longer ago than allowed
    UNKNOWN = 12  # no dialect fits the body
    RESET = 13  # the connection was there and broke: somebody listens
    IMPLAUSIBLE = 14  # a rate that what is in flight can't explain


class Missing(NamedTuple):
    """A reading that isn't there, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """A column of readings: `values` is NaN exactly where `reasons` isn't PRESENT."""

    values: NDArray[np.float64]
    reasons: NDArray[np.uint8]

    @classmethod
    def missing(cls, count: int, reason: Reason) -> Self:
        """Return `count` readings that are all missing for `reason`."""
        return cls(np.full(count, np.nan), np.full(count, reason, dtype=np.uint8))

    @classmethod
    def of(cls, values: NDArray[np.float64], absent: Reason = Reason.NOT_EXPORTED) -> Self:
        """Return readings of `values`; whatever isn't finite is missing for `absent`."""
        finite = np.isfinite(values)
        reasons = np.where(finite, Reason.PRESENT, absent).astype(np.uint8)
        return cls(np.where(finite, values, np.nan), reasons)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return where there is a value."""
        return np.asarray(self.reasons == Reason.PRESENT)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> float | Missing:
        """Return one reading."""
        reason = Reason(int(self.reasons[row]))
        return float(self.values[row]) if reason is Reason.PRESENT else Missing(reason)


class VariantKey(NamedTuple):
    """A variant's identity."""

    namespace: str
    name: str


class ModelKey(NamedTuple):
    """A model's identity: demand belongs to it."""

    namespace: str
    model: str


class ReplicaState(IntEnum):
    """A replica as its scale target sees it, apart from what its engine reports."""

    STARTING = 0
    READY = 1
    DRAINING = 2


# One entry per replica. Gauges are the latest value (engines of one pod summed, except
# KV usage: the worst); rates and means are over the source's window.
REPLICA_SIGNALS = (
    "running_requests",
    "waiting_requests",
    "kv_usage_ratio",
    "kv_capacity_tokens",
    "max_batch_size",
    "max_batched_tokens",
    "awake",
    "mean_running_requests",
    "mean_waiting_requests",
    "mean_kv_usage_ratio",
    "arrival_rate_rps",  # the engine's own arrival counter, where it has one
    "completion_rate_rps",
    "inflight_slope_rps",  # change of running + waiting per second over the window
    "first_token_rate_rps",
    "rejection_rate_rps",  # rejected, timed out or aborted by the engine
    "prompt_token_rate_tps",
    "output_token_rate_tps",
    "preemption_rate_rps",
    "prompt_tokens_mean",
    "prompt_tokens_second_moment",
    "output_tokens_mean",
    "output_tokens_second_moment",
    "prefix_hit_ratio",
    "ttft_mean_s",
    "itl_mean_s",
    "queue_time_mean_s",
    "observed_s",  # how much of the window this replica was watched for
)

PERCENTILES = (0.50, 0.90, 0.95, 0.99)

# One entry per variant: distributions, which can't be averaged over replicas.
VARIANT_SIGNALS = (
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p90_s",
    "ttft_p95_s",
    "ttft_p99_s",
    "itl_mean_s",
    "itl_p50_s",
    "itl_p90_s",
    "itl_p95_s",
    "itl_p99_s",
    "power_w",  # measured (DCGM), summed over the variant's accelerators
)

# One entry per model: what a router or gateway knows of demand.
MODEL_SIGNALS = (
    "offered_rate_rps",  # arrivals at the router, or `demand.arrivals_query`
    "router_rejection_rate_rps",  # rejected, evicted, timed out before an engine saw them
    "router_queue_requests",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFault:
    """One source that failed in this tick."""

    source: str  # URL of the endpoint, or "prometheus"
    reason: Reason
    message: str
    since_s: float  # monotonic time of the first failure in a row


def _frozen() -> Mapping[str, Readings]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Circumstances:
    """What a cluster says of variants, beside their replicas. Columns are per variant."""

    reachable_replicas: NDArray[np.int64]  # most that can be had now; -1: nothing says
    rolling: NDArray[np.bool_]  # its pods are being replaced by a new version
    tolerance_ratio: NDArray[np.float64]  # of the HPA that follows it, up; NaN: not known
    texts: Mapping[str, tuple[str, ...]]  # in words: who declares it, what holds it back
    cold_start_s: NDArray[np.float64] | None = None  # that its pods took; NaN: none shows it
    absent: NDArray[np.bool_] | None = None  # its scale target isn't there
    followed: NDArray[np.bool_] | None = None  # whether an HPA is known that reads its metric
    tolerance_down_ratio: NDArray[np.float64] | None = None  # that HPA's; NaN: not known
    departing: NDArray[np.int64] | None = None  # replicas on nodes that take no more pods


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """Everything that was read in one tick, the same whatever it was read from.

    `replica_variant` maps each replica to its row in `variants`, `variant_model` each
    variant to its row in `models`. `replica_age_s` is the age of the replica's last
    good reading at `taken_s` (NaN: never read). Replica counts are the scale
    target's; -1 where they aren't known. `replica_missed` says whose last reading failed in
    this tick, so that its rates are those of an earlier one; None: nobody's.
    """

    taken_s: float  # monotonic
    taken_unix_s: float
    variants: tuple[VariantKey, ...]
    models: tuple[ModelKey, ...]
    variant_model: NDArray[np.int64]
    replica_id: tuple[str, ...]
    replica_variant: NDArray[np.int64]
    replica_state: NDArray[np.int8]
    replica_age_s: NDArray[np.float64]
    replica: Mapping[str, Readings]
    variant: Mapping[str, Readings]
    model: Mapping[str, Readings] = field(default_factory=_frozen)
    current_replicas: NDArray[np.int64]
    ready_replicas: NDArray[np.int64]
    dialect: tuple[str, ...]  # per variant: name of the dialect found, "" if none
    faults: tuple[SourceFault, ...] = ()
    replica_missed: NDArray[np.bool_] | None = None
    circumstances: Circumstances | None = None


class Freshness(IntEnum):
    """How far a decision may be obeyed."""

    FRESH = 0
    HELD = 1
    REFUSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """What a tick cost and met, for the adapter's own metrics."""

    collect_s: float
    decide_s: float
    encode_s: float
    faults: tuple[SourceFault, ...] = ()
    settings_error: str = ""  # why the last reload was refused
    scrapes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Publication:
    """One decision about all variants, as served. Columns are per variant.

    `values` holds the served metrics by name, NaN where one has no value (`message`
    says why). `held_values` is what `wva_desired_replicas` becomes while held:
    max(last decision, current). `reading_age_s` is the age of the last reading that the
    decision needs, when it was published; with the time since receipt it gives the
    age, so no two machines' clocks are ever compared. `details` are the numbers behind
    the decision (inputs, bounds, predictions), for our own /metrics and /explain;
    `binding` indexes `binding_names`, the constraint that decided.
    """

    sequence: int
    published_unix_s: float
    variants: tuple[VariantKey, ...]
    labels: tuple[Mapping[str, str], ...]
    values: Mapping[str, NDArray[np.float64]]
    held_values: NDArray[np.float64]
    reading_age_s: NDArray[np.float64]
    read_unix_s: NDArray[np.float64]
    message: tuple[str, ...]
    details: Mapping[str, NDArray[np.float64]]
    binding: NDArray[np.int8]
    binding_names: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]  # per variant words: dialect, profile trust, mode
    max_decision_age_s: float
    hold_s: float
    report: TickReport

    def set_back(self, ahead_s: float) -> Self:
        """Return it with its instants on a clock that is `ahead_s` behind the sender's."""
        faults = tuple(replace(f, since_s=f.since_s - ahead_s) for f in self.report.faults)
        return replace(self, report=replace(self.report, faults=faults))
