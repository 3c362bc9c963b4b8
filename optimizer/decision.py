"""What goes into a decision and what comes out: PlanRequest, Plan, PlanState.

All memory of the decision (demand history, last counts) is in PlanState, which comes out
of one plan and goes into the next; rows are matched by name, so variants and models may
come, go and change their order between two plans.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from .cold_start import ColdStartState
from .correction import CorrectionState
from .domain import (
    BoolArray,
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    SloTargets,
    Workloads,
    aligned,
    rows_of,
)
from .estimator_state import EstimatorState, Observations
from .forecast_state import ForecastState
from .recall import Recall
from .rises import RiseState
from .router import RouterState, RoutingTable
from .supply import Supply
from .tables import ModelTable, ReplicaTable, SpotTable, VariantTable

__all__ = [
    "Binding",
    "Plan",
    "PlanRequest",
    "PlanState",
    "Policy",
]


class Binding(IntEnum):
    """The constraint that decided a variant's count."""

    STEADY = 0  # what is there carries the demand and nothing cheaper does
    DEMAND = 1  # the queueing model needs this many for the SLO
    SATURATION = 2  # the engines' KV cache or queues need this many
    MIN_REPLICAS = 3
    MAX_REPLICAS = 4
    SCALE_DOWN_WINDOW = 5  # the recent peak still needs what is there
    COST = 6  # a cheaper mix carries the demand
    HELD_NO_DATA = 7  # no usable reading: frozen
    HELD_PARTIAL = 8  # some ready replicas are silent: never down
    SLO_INFEASIBLE = 9  # no replica count meets the SLO: sized for stability alone
    HANDOVER = 10  # kept until its replacement is ready
    IDLE = 11  # no demand
    CAPACITY = 12  # accelerators, quota or budget run out: what is short, or moved elsewhere
    PRIORITY = 13  # given up to a higher class, or not given because of one
    STURDY = 14  # bears 20 % of error, for little more


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Scalars that shape a decision.

    Attributes
    ----------
    stability_margin_ratio : float
        Share of the largest stable arrival rate that is never planned with.
    down_window_s : float
        A count falls only below what the peak demand of this many seconds needs. [s]
    down_hysteresis_ratio : float
        Demand is taken this much larger when a smaller plan is considered, on top of
        what isn't known of it.
    patience_ratio : float
        A replica goes only once it hasn't been needed for so many cold starts: at 1, it has
        cost what starting it again would.
    change_price_ratio : float
        A cheaper mix must save at least this share of the model's cost.
    zero_after_s : float
        A variant with a minimum of zero goes there after this long without demand, or sooner:
        once that has lasted as long as a start, where a start fits into the target for TTFT. [s]
    observation_window_s : float
        Length of the window that the readings are means over. [s]
    upper_need_ratio : float
        Quantile of demand over a cold start that counts are bought for: with c the cost
        of a replica that isn't needed and m that of one that is missing, m / (m + c).
    expected_after_rises : int
        Rises within three cold starts after which another one is bought for; 0: never.
    energy_price_per_kwh : float
        What a replica draws is paid for beside its price. [currency/kWh]
    default_cold_start_s : float
        Of variants whose own is neither declared nor learned. [s]
    fragmentation_check : bool
        A replica goes only where the others have room for each of its requests as a whole;
        off: where they have room on average.
    global_allocation : bool
        A model's demand goes to whichever variants carry it cheapest; off: each variant is
        decided alone, for the share that it carries now.
    profile_learning : bool
        Profiles that nobody gave are learned; off: they stay what they were presumed to be.
    """

    stability_margin_ratio: float = 0.1
    down_window_s: float = 60.0
    down_hysteresis_ratio: float = 0.02
    patience_ratio: float = 1.0
    change_price_ratio: float = 0.05
    zero_after_s: float = 600.0
    observation_window_s: float = 60.0
    upper_need_ratio: float = 0.9
    expected_after_rises: int = 0
    energy_price_per_kwh: float = 0.0
    default_cold_start_s: float = 120.0
    fragmentation_check: bool = True
    global_allocation: bool = True
    profile_learning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanState:
    """What one plan hands to the next.

    Attributes
    ----------
    model_names : tuple of str
        Names of the rows of `peaks_rps`.
    bucket_start_s : float
        Start of the newest bucket of demand history. [s]
    peaks_rps : ndarray, shape (models, buckets)
        Largest demand seen in each bucket of the window, newest last; NaN: none.
    seen_demand_s : ndarray, shape (models,)
        When each model last had demand. [s]
    offered_rps : ndarray, shape (models,)
        Demand at the last plan; NaN: unknown. [requests/s]
    planned_s : float
        When that was. [s]
    variant_names : tuple of str
    desired : ndarray of int, shape (variants,)
        The last plan's counts.
    estimator : EstimatorState
        What profiles were learned from.
    correction : CorrectionState
        How far given profiles are off.
    forecast : ForecastState
        What demand is forecast from.
    starts : ColdStartState
        What cold starts were learned from.
    full_since_s : ndarray, shape (variants,)
        Since when a variant's engines have been full; NaN: they aren't. [s]
    sized_dispersion : ndarray, shape (variants,)
        Index of dispersion that a variant's capacity was last sized with.
    router : RouterState
        What the variants' shares have shown of the routers' laws.
    """

    model_names: tuple[str, ...]
    bucket_start_s: float
    peaks_rps: FloatArray
    seen_demand_s: FloatArray
    offered_rps: FloatArray
    planned_s: float
    variant_names: tuple[str, ...]
    desired: IntArray
    estimator: EstimatorState
    correction: CorrectionState = field(default_factory=CorrectionState.empty)
    forecast: ForecastState = field(default_factory=ForecastState.empty)
    starts: ColdStartState = field(default_factory=ColdStartState.empty)
    rises: RiseState = field(default_factory=RiseState.empty)
    full_since_s: FloatArray = field(default_factory=lambda: np.empty(0))
    full_requests: FloatArray = field(default_factory=lambda: np.empty(0))
    sized_dispersion: FloatArray = field(default_factory=lambda: np.empty(0))
    router: RouterState = field(default_factory=RouterState.empty)

    def recalled(self, column: FloatArray, variant_names: tuple[str, ...]) -> FloatArray:
        """Return a column over variants in the order of `variant_names`; NaN: new ones."""
        if len(column) != len(self.variant_names):
            return np.full(len(variant_names), np.nan)
        return aligned(column, rows_of(variant_names, self.variant_names))

    @classmethod
    def empty(cls) -> "PlanState":
        """Return the memory of a decision maker that has just started."""
        return cls(
            model_names=(),
            bucket_start_s=-np.inf,
            peaks_rps=np.empty((0, 1)),
            seen_demand_s=np.empty(0),
            offered_rps=np.empty(0),
            planned_s=-np.inf,
            variant_names=(),
            desired=np.empty(0, dtype=np.int64),
            estimator=EstimatorState.empty(),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanRequest:
    """Everything a decision depends on, the time included.

    `profiles`, `limits`, `workloads`, `slo` and `observations` have one row per variant;
    `profiles` are given ones, or priors that learning starts from. `shown_cold_start_s` is
    what the replicas that are there took to start, where nobody watched them: NaN, or None,
    where nothing shows it.
    """

    variant_names: tuple[str, ...]
    model_names: tuple[str, ...]
    variants: VariantTable
    models: ModelTable
    profiles: ServiceProfiles
    limits: EngineLimits
    workloads: Workloads
    slo: SloTargets
    observations: Observations
    policy: Policy
    replicas: ReplicaTable = field(default_factory=ReplicaTable.none)
    state: PlanState = field(default_factory=PlanState.empty)
    now_s: float = 0.0
    now_unix_s: float = np.nan  # on the wall, for daily and weekly seasons
    supply: Supply | None = None  # None: nothing runs out, and nobody comes first
    routing: RoutingTable | None = None  # None: requests go where there is capacity
    spot: SpotTable | None = None  # None: no replica is taken away
    recall: Recall = field(default_factory=Recall)  # of the last plan
    shown_cold_start_s: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The decision: a count per variant, the bounds it came from, and what it predicts.

    Counts of bounds are what each consideration alone would ask for. Predictions are at
    the desired counts. NaN: not known.
    """

    desired: IntArray
    binding: IntArray
    demand_replicas: FloatArray
    saturation_replicas: FloatArray
    hot_replicas: IntArray  # full beside others with room, see saturation.Headroom
    capacity_rps: FloatArray  # of one replica within the SLO
    routed_rps: FloatArray  # ... that is planned with, as requests are routed; 0: left out
    law: IntArray  # by which they are, see router.Law
    law_basis: IntArray  # what that is taken for, see router.Basis
    share_rps: FloatArray  # arrival rate that the plan gives to the variant
    utilization_ratio: FloatArray  # demand / capacity of the current replicas
    ttft_mean_s: FloatArray
    ttft_s: FloatArray
    itl_mean_s: FloatArray
    itl_s: FloatArray
    power_w: FloatArray
    slo_feasible: BoolArray
    memory_bound: BoolArray
    trust: IntArray  # of the profiles that were used
    profiles: ServiceProfiles  # those
    profile_ratio: FloatArray  # of their times and the given ones; 1: as given, or learned
    traffic_ratio: FloatArray
    cold_start_s: FloatArray  # planned with
    level_rps: FloatArray  # of the variant's model: the steady rate now
    expected_rps: FloatArray  # ... a cold start from now
    upper_rps: FloatArray  # ... the quantile of that which counts are bought for
    dispersion: FloatArray  # ... index of dispersion of arrivals
    scarce: BoolArray  # decided together with others, for what runs out
    unmet_ratio: FloatArray  # of the model's demand, not carried within its SLO
    withstood_error_ratio: FloatArray  # of demand or capacity, before the model misses its SLO
    scarcity_price_per_hour: FloatArray  # what a replica's resources would save elsewhere
    method: IntArray  # what allocated the variant, see scarcity.Method
    gap_ratio: FloatArray  # how far from the least possible the shared parts may be
    state: PlanState
    recall: Recall
