"""What has to be carried, per model, and what one replica of each variant carries.

Two bounds (design 4.6): compute is a rate, from the queueing model; memory and queues
are a stock, from what the engines say of themselves. The stock bound decides alone while
no profile is trusted, and overrules a trusted one only where engines really are full.
"""

from dataclasses import dataclass, replace

import numpy as np

from .ahead import Ahead
from .backlog import DRAIN_S, backlog_ahead_requests, drained_within_s, starting_replicas
from .decision import PlanRequest
from .domain import BoolArray, FloatArray, IntArray, Trust
from .measured import served_bound_rps
from .overload import Overload, overload
from .recall import Recalled, inputs_of, recalled
from .saturation import Headroom, Stock, headroom
from .sizing import Sizing, SizingStatus, largest_arrival_rate
from .spot import reserve_rps
from .stabilization import DemandMemory, remember_demand
from .tables import ModelTable

__all__ = [
    "TRICKLE_RPS",
    "Capacity",
    "Need",
    "all_of",
    "any_of",
    "replica_capacity",
    "required",
    "sized",
    "with_energy_priced",
]

# A model that may not go to zero needs one replica even without demand.
TRICKLE_RPS = 1e-6
# Engines' state is projected by at most this factor.
LARGEST_RISE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Capacity:
    """What one replica of each variant carries, and whether that holds the SLO."""

    own_rps: FloatArray  # sent as much as it can carry
    rate_rps: FloatArray  # beside the others, as requests are routed
    most_rps: FloatArray  # served by a full batch; 0: not known
    known: BoolArray  # False: the rate is a stand-in
    slo_feasible: BoolArray
    memory_bound: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Need:
    """Arrival rate to plan for, per model, and what each consideration asks per variant."""

    known: BoolArray
    now_rps: FloatArray
    kept_rps: FloatArray  # that fewer replicas must still carry
    memory: DemandMemory
    demand_replicas: FloatArray
    saturation_replicas: FloatArray
    hot_replicas: IntArray
    by_saturation: BoolArray  # models whose need the engines' state decided
    removable: IntArray  # replicas that may go at once, per variant
    overload: Overload


def sized(request: PlanRequest, ahead: Ahead) -> tuple[Sizing, Recalled[Sizing]]:
    """Size one replica of each variant whose inputs are new; the others are recalled.

    Of arrivals with index of dispersion I, split over n replicas at random, one replica
    sees 1 + (I - 1) / n. n is what the demand needs, not what is there: or capacity would
    move with the count that it decides.
    """
    margin = request.policy.stability_margin_ratio

    def compute(rows: IntArray) -> Sizing:
        """Size the replicas of these rows."""
        return largest_arrival_rate(
            request.profiles.take(rows),
            request.workloads.take(rows),
            request.limits.take(rows),
            request.slo.take(rows),
            stability_margin_ratio=margin,
            dispersion=ahead.dispersion[rows],
        )

    inputs = inputs_of(
        request.profiles, request.workloads, request.limits, request.slo, ahead.dispersion, margin
    )
    return recalled(request.recall.sizing, request.variant_names, inputs, compute)


def replica_capacity(request: PlanRequest, sizing: Sizing) -> Capacity:
    """Return what a replica of each variant carries; for stability where none holds the SLO."""
    feasible = sizing.status == SizingStatus.OK
    model, count = request.variants.model, len(request.model_names)
    anyone = any_of(model, feasible, count)
    rate = np.where(anyone[model], np.where(feasible, sizing.rate_rps, 0.0), sizing.stable_rps)
    known = np.isfinite(sizing.stable_rps)
    own = np.where(known, rate, _nominal_rate(model, rate, known, count))
    return Capacity(
        own_rps=own,
        rate_rps=own,
        most_rps=np.where(known, sizing.stable_rps, 0.0)
        / (1.0 - request.policy.stability_margin_ratio),
        known=known,
        slo_feasible=feasible,
        memory_bound=sizing.memory_bound,
    )


def with_energy_priced(request: PlanRequest, sizing: Sizing) -> PlanRequest:
    """Return the request in which a replica's price holds the energy that it draws.

    At the rate that it is planned with, power being linear between idle and full:
    idle + (full - idle) rate / full service rate. Where that isn't known it draws all it can;
    where power isn't, nothing is added.
    """
    price = request.policy.energy_price_per_kwh
    if price == 0.0:
        return request
    variants = request.variants
    margin = 1.0 - request.policy.stability_margin_ratio
    with np.errstate(invalid="ignore", divide="ignore"):
        busy = margin * sizing.rate_rps / sizing.stable_rps
    busy = np.where(np.isfinite(busy), busy, 1.0)
    drawn_w = variants.power_idle_w + busy * (variants.power_full_w - variants.power_idle_w)
    cost = variants.cost_per_hour + price * np.nan_to_num(drawn_w) / 1e3
    return replace(request, variants=replace(variants, cost_per_hour=cost))


def _nominal_rate(
    model: IntArray, rate_rps: FloatArray, known: BoolArray, count: int
) -> FloatArray:
    """Return a rate for variants of which nothing is known: that of their siblings, else 1.

    Their need comes from the engines' state, in replicas; any rate converts it to demand
    and back, as long as one model's variants are measured alike.
    """
    total = np.bincount(model[known], weights=rate_rps[known], minlength=count)
    number = np.bincount(model[known], minlength=count)
    mean = np.divide(total, number, out=np.ones(count), where=number > 0)
    return np.where(mean > 0, mean, 1.0)[model]


def required(request: PlanRequest, capacity: Capacity, ahead: Ahead) -> Need:
    """Combine demand (a rate bound) and the engines' state (a stock bound)."""
    variants, models = request.variants, request.models
    model, count = variants.model, len(request.model_names)
    rate = capacity.rate_rps
    asked_for = (models.arrival_rate_rps > 0) | (models.router_queue_requests > 0)
    stock = _stock(request)
    asked = np.where(np.isfinite(stock.needed_replicas), stock.needed_replicas, 0.0)
    by_stock = np.bincount(model, weights=asked * rate, minlength=count)
    trusted = all_of(model, variants.trust >= Trust.LEARNED, count)
    # A trusted model is overruled only by engines that stay full, an untrusted one always.
    cold_start_s, since_s = ahead.cold_start_s, ahead.starts.since_s
    starting = starting_replicas(request, cold_start_s=cold_start_s, since_s=since_s)
    full = overload(
        request,
        stock,
        rate_rps=rate,
        cold_start_s=cold_start_s,
        helped=any_of(model, starting > 0, count)[model],
    )
    offered = ahead.offered_rps + models.router_queue_requests / _drain_s(request)
    offered += np.where(trusted, _draining_rps(request, capacity, ahead, full), 0.0)
    known = np.isfinite(offered)
    backlog = np.bincount(model, weights=full.backlog_requests, minlength=count)
    by_memory = any_of(model, full.by_memory, count)
    lasting = np.where(by_memory, by_stock, np.nan_to_num(offered) + backlog / DRAIN_S)
    shown = served_bound_rps(request, ahead, stock, rate_rps=rate, late_requests=full.late_requests)
    by_stock = np.where(trusted, lasting, np.minimum(by_stock * _rise(ahead), shown))
    measured = np.bincount(model[np.isfinite(stock.needed_replicas)], minlength=count) > 0
    there = np.bincount(model, weights=variants.current_replicas, minlength=count) > 0
    # Replicas of which neither speed nor state is known: what they carry may be anything.
    known &= any_of(model, capacity.known, count) | measured | ~there
    overruled = any_of(model, full.lasting, count) & (by_stock > offered)
    use_stock = measured & (~trusted | overruled)
    now = np.where(use_stock, by_stock, np.nan_to_num(offered))
    memory = remember_demand(
        request.state,
        model_names=request.model_names,
        demand_rps=np.where(known, np.where(asked_for, now, 0.0), np.nan),
        now_s=request.now_s,
        policy=request.policy,
        patience_s=ahead.patience_s,
    )
    idle = request.now_s - memory.seen_demand_s >= ahead.zero_after_s
    # Nobody who asks for a model that has no replica: nothing wakes it, a restart least of all.
    idle |= ~there & ~asked_for
    # A count of zero has an error too, but nobody who asks needs no replica.
    now = np.where(idle & known, np.where(asked_for, now, 0.0), np.maximum(now, TRICKLE_RPS))
    # While a load settles, a dip of its mean takes back nothing of what was just asked for.
    now = np.where(ahead.settled | idle | ~known, now, np.fmax(now, memory.peak_rps))
    # What may come is no demand: it isn't remembered, and falls away once it isn't expected.
    now = np.where(known & asked_for, np.fmax(now, ahead.coming_rps), now)
    kept = np.fmax(np.nan_to_num(ahead.kept_rps), np.fmax(memory.lasting_rps, now))
    kept = np.where(idle & known, now, kept)
    now, kept = (_with_standby(models, value, model, rate) for value in (now, kept))
    spare = np.where(now > TRICKLE_RPS, reserve_rps(request, rate, cold_start_s), 0.0)
    now, kept = now + spare, kept + spare
    # Until as much has been seen as a replica is kept for, what is there stays.
    carried = np.bincount(model, weights=variants.current_replicas * rate, minlength=count)
    kept = np.where(ahead.watched | idle, kept, np.maximum(kept, carried))
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.ceil(np.where(known, offered, np.nan)[model] / capacity.own_rps)
        alone = np.where((capacity.own_rps > 0) & capacity.known, alone, np.nan)
    return Need(
        known=known,
        now_rps=now,
        kept_rps=kept,
        memory=memory,
        demand_replicas=alone,
        saturation_replicas=stock.needed_replicas,
        hot_replicas=stock.hot_replicas,
        by_saturation=use_stock,
        removable=_removable(request, stock, asked_for),
        overload=full,
    )


def _draining_rps(
    request: PlanRequest, capacity: Capacity, ahead: Ahead, full: Overload
) -> FloatArray:
    """Return what has to be carried on top for a queue that will be there, or is growing."""
    model, count = request.variants.model, len(request.model_names)
    if not np.isfinite(request.state.planned_s):
        return np.zeros(count)  # a first look doesn't know what is on its way
    carried, most = (
        np.bincount(model, weights=request.variants.current_replicas * each, minlength=count)
        for each in (capacity.rate_rps, capacity.most_rps)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        needed_rps = ahead.offered_rps * most / carried
    late = np.bincount(model, weights=full.late_requests, minlength=count)
    backlog = backlog_ahead_requests(
        request,
        waiting=np.asarray(late, dtype=np.float64),
        rate_rps=ahead.now_rps,
        needed_rps=np.nan_to_num(needed_rps),
        most_rps=capacity.most_rps,
        cold_start_s=ahead.cold_start_s,
        since_s=ahead.starts.since_s,
        horizon_s=ahead.horizon_s,
    )
    # A queue that nobody sees yet is no reason: rates may be wrong.
    return np.where(late > 0.0, backlog / drained_within_s(ahead.horizon_s), 0.0)


def _with_standby(
    models: ModelTable, need_rps: FloatArray, model: IntArray, rate_rps: FloatArray
) -> FloatArray:
    """Return the need with what is to be ready without work: a share, and whole replicas.

    A replica is one of the model's largest, so that none is missing whichever is chosen.
    """
    largest = np.zeros(len(need_rps))
    np.maximum.at(largest, model, np.nan_to_num(rate_rps))
    return need_rps * (1.0 + models.warm_ratio) + models.warm_replicas * largest


def _rise(ahead: Ahead) -> FloatArray:
    """Return by how much demand may grow over a cold start: stocks grow with it.

    Without a profile, this is what lets replicas be asked for before engines are full.
    """
    seen = ahead.outlook
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = seen.upper_rps / seen.level_rps
    return np.where(np.isfinite(rise), np.clip(rise, 1.0, LARGEST_RISE), 1.0)


def _stock(request: PlanRequest) -> Headroom:
    """Ask the guard, telling it what a request holds on average while it runs."""
    work = request.workloads
    # Half of the output exists, on average over a request's life.
    request_tokens = work.prompt_tokens_mean + work.output_tokens_mean / 2.0
    # What is found running is found the oftener the longer it runs.
    output = work.output_tokens_second_moment / np.maximum(work.output_tokens_mean, 1.0)
    return headroom(
        request.replicas,
        request.variants,
        request_tokens=request_tokens,
        max_batch_size=request.limits.max_batch_size.astype(np.float64),
        final_tokens=work.prompt_tokens_mean + output,
    )


def _removable(request: PlanRequest, stock: Headroom, asked_for: BoolArray) -> IntArray:
    """Return how many replicas may go at once without stranding what runs.

    The guard has checked one removal. A trusted model may take several: it knows the
    rate that the rest carries. Without anything in flight nothing can be stranded.
    Where nobody is heard nothing is known to be safe: starting or failing, they stay.
    """
    variants = request.variants
    nothing = (stock.stock == Stock.IDLE) & ~asked_for[variants.model]
    several = np.where(variants.trust >= Trust.LEARNED, variants.current_replicas, 1)
    safe = stock.safe_to_remove | nothing
    if not request.policy.fragmentation_check:
        on_average = np.maximum(stock.reporting - stock.whole_replicas, 0)
        several = np.where(safe, several, np.minimum(several, on_average))
        safe = safe | (on_average > 0)
    return np.where(safe, np.where(nothing, variants.current_replicas, several), 0)


def _drain_s(request: PlanRequest) -> FloatArray | float:
    """Return within what time queued requests are to be served: offline work has its own."""
    supply = request.supply
    if supply is None:
        return DRAIN_S
    return np.where(supply.offline, np.fmax(supply.deadline_s, DRAIN_S), DRAIN_S)


def any_of(model: IntArray, flags: BoolArray, count: int) -> BoolArray:
    """Return which of `count` models have a variant with its flag set."""
    return np.bincount(model[flags], minlength=count) > 0


def all_of(model: IntArray, flags: BoolArray, count: int) -> BoolArray:
    """Return which of `count` models have every variant's flag set."""
    return np.asarray(np.bincount(model[~flags], minlength=count) == 0)
