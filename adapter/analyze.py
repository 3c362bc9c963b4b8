"""Snapshot and settings -> PlanRequest: what the readings mean. Pure.

Policy for what is missing (design 4.3), all in this file:

* Demand belongs to a model. It is the router's or gateway's count where there is one,
  else the sum over replicas that report.
* A ready replica that has fallen silent counts with its last rate; one that never
  reported counts with nothing. Imputing never lifts the total above the last complete
  one (or above what is reported, if that is more).
* A replica whose last reading failed counts with its last rate at once: the window goes on
  sliding over what it did, so its own rate would fall towards nothing. Its gauges stand
  until they are too old.
* A replica whose page can't be true (see belief.py) is silent.
* A variant with a silent ready replica is *partial*; one with replicas and no reading
  at all is *blind*. Neither may lose replicas.
* A model without any replica has no engine that admits requests: its rate is 0, and what
  the router holds back for it counts as its queue.
* Lengths that nobody observed in the window are the last ones observed; before the
  first, an assumption that is shown as such.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer import (
    BoolArray,
    EngineLimits,
    FloatArray,
    IntArray,
    ModelTable,
    Observations,
    PlanRequest,
    PlanState,
    Policy,
    ReplicaTable,
    VariantTable,
    Workloads,
)

from .belief import doubts
from .catalog import Catalog
from .demand import replica_offered_rate_rps
from .records import Readings, Reason, ReplicaState, Snapshot
from .schedule import Standby, standby

__all__ = ["Analysis", "Memory", "analyze", "unseen"]

# vLLM's own defaults, for engines that don't export theirs.
DEFAULT_MAX_BATCH_SIZE = 256.0
DEFAULT_MAX_BATCHED_TOKENS = 8192.0
QUEUE_PER_SLOT = 10.0
# Memory per request is told by its use where prompts share little of it, and several run.
SHARED_RATIO = 0.05
# A hit ratio that has risen is counted on after about this time.
HIT_RATIO_MEMORY_S = 1800.0
FEWEST_RUNNING = 2.0
# Assumed until the first request has been seen: a middling chat turn with CV 1.
ASSUMED_LENGTHS = (512.0, 2.0 * 512.0**2, 256.0, 2.0 * 256.0**2)

_LENGTHS = (
    "prompt_tokens_mean",
    "prompt_tokens_second_moment",
    "output_tokens_mean",
    "output_tokens_second_moment",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """What the analysis remembers between ticks; rows are matched by name."""

    plan: PlanState
    replica_rate_rps: Mapping[str, float]
    model_names: tuple[str, ...]
    complete_rps: FloatArray  # (models,), the last total with every replica reporting
    lengths: FloatArray  # (models, 5): the four length moments and the hit ratio; NaN: none yet

    @classmethod
    def empty(cls) -> "Memory":
        """Return the memory of an adapter that has just started."""
        return cls(
            plan=PlanState.empty(),
            replica_rate_rps={},
            model_names=(),
            complete_rps=np.empty(0),
            lengths=np.empty((0, len(_LENGTHS) + 1)),
        )


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
    replicas = _Replicas.of(snapshot, catalog.settings.max_decision_age_s)
    of_replica = catalog.variant_model[snapshot.replica_variant]
    rate_rps = _offered(snapshot, of_replica, len(catalog.models))
    demand = _demand(snapshot, replicas, rate_rps, memory, catalog)
    lengths, assumed = _lengths(snapshot, replicas, memory, catalog)
    ready = standby(catalog.model_classes, snapshot.taken_unix_s)
    variants = _variant_table(snapshot, replicas, catalog, ready)
    model = catalog.variant_model
    request = PlanRequest(
        now_s=snapshot.taken_s,
        variant_names=catalog.variant_names,
        model_names=catalog.model_names,
        variants=variants,
        models=ModelTable(
            arrival_rate_rps=demand.total_rps,
            router_queue_requests=np.nan_to_num(_model_signal(snapshot, "router_queue_requests")),
            warm_replicas=ready.replicas,
            warm_ratio=ready.ratio,
        ),
        replicas=_replica_table(snapshot, replicas),
        profiles=catalog.profiles,
        limits=_limits(snapshot, replicas, catalog),
        workloads=Workloads(
            **{name: lengths[model, i] for i, name in enumerate(_LENGTHS)},
            prefix_hit_ratio=lengths[model, len(_LENGTHS)],
        ),
        slo=catalog.slo,
        observations=_observations(snapshot, replicas, policy.observation_window_s),
        policy=policy,
        state=memory.plan,
        now_unix_s=snapshot.taken_unix_s,
        supply=catalog.supply,
        shown_cold_start_s=(
            snapshot.circumstances.cold_start_s if snapshot.circumstances is not None else None
        ),
    )
    return Analysis(
        request=request,
        memory=Memory(
            plan=memory.plan,
            replica_rate_rps=demand.replica_rate_rps,
            model_names=catalog.model_names,
            complete_rps=demand.complete_rps,
            lengths=np.where(assumed[:, None], np.nan, lengths),
        ),
        inputs=_inputs(snapshot, replicas, demand.counted, lengths[model]),
        reading_age_s=_reading_age_s(snapshot, replicas, variants),
        lengths_assumed=assumed[model],
        doubt=replicas.doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Replicas:
    """Which replicas count, and for what."""

    variant: IntArray
    count: int  # of variants
    ready: BoolArray
    fresh: BoolArray  # its gauges count
    heard: BoolArray  # its rates do, too
    doubt: NDArray[np.uint8]  # the Reason why a replica that was read isn't believed

    @classmethod
    def of(cls, snapshot: Snapshot, max_age_s: float) -> "_Replicas":
        doubt = doubts(snapshot.replica)
        young = snapshot.replica_age_s <= max_age_s  # NaN, never read, compares false
        fresh = young & (doubt == Reason.PRESENT)
        missed = snapshot.replica_missed
        return cls(
            variant=snapshot.replica_variant,
            count=len(snapshot.variants),
            ready=snapshot.replica_state == ReplicaState.READY,
            fresh=fresh,
            heard=fresh if missed is None else fresh & ~missed,
            doubt=doubt,
        )

    def total(self, values: FloatArray, where: BoolArray) -> FloatArray:
        """Sum over the replicas `where` of each variant."""
        return np.bincount(self.variant[where], weights=values[where], minlength=self.count).astype(
            np.float64
        )

    def mean(self, readings: Readings, where: BoolArray) -> FloatArray:
        """Average the present readings of each variant; NaN where there is none."""
        use = where & readings.present
        number = np.bincount(self.variant[use], minlength=self.count)
        total = self.total(readings.values, use)
        mean = np.divide(total, number, out=np.full(self.count, np.nan), where=number > 0)
        return np.asarray(mean, dtype=np.float64)


def _offered(snapshot: Snapshot, model: IntArray, models: int) -> Readings:
    """Return each replica's part of the rate offered over the model's window. [requests/s]

    A replica that appeared in mid-window was watched for a part of it only: its own rate
    counts with that part, or requests that moved to it would be counted twice, here and
    in what the older replicas did before it came.
    """
    signals = snapshot.replica
    rate = replica_offered_rate_rps(
        arrivals=signals["arrival_rate_rps"],
        completions=signals["completion_rate_rps"],
        inflight_slope=signals["inflight_slope_rps"],
        rejections=signals["rejection_rate_rps"],
    )
    watched_s = signals["observed_s"].values
    longest_s = np.zeros(models)
    np.fmax.at(longest_s, model, watched_s)
    part = np.divide(
        watched_s, longest_s[model], out=np.ones_like(watched_s), where=longest_s[model] > 0
    )
    return Readings(rate.values * np.where(np.isnan(part), 1.0, part), rate.reasons)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Demand:
    total_rps: FloatArray
    complete_rps: FloatArray
    replica_rate_rps: Mapping[str, float]
    counted: Readings  # per replica: its own rate, or the last one in its place


def _demand(
    snapshot: Snapshot, replicas: _Replicas, rate: Readings, memory: Memory, catalog: Catalog
) -> _Demand:
    models = len(catalog.models)
    model_of_replica = catalog.variant_model[replicas.variant]
    reporting = replicas.heard & rate.present
    silent = replicas.ready & ~reporting
    last = memory.replica_rate_rps
    imputed = np.array(
        [
            last.get(name, 0.0) if out else 0.0
            for name, out in zip(snapshot.replica_id, silent, strict=True)
        ]
        if silent.any()
        else np.zeros(len(silent))
    )

    def per_model(values: FloatArray, where: BoolArray) -> FloatArray:
        index = model_of_replica[where]
        return np.bincount(index, weights=values[where], minlength=models).astype(np.float64)

    reported = per_model(rate.values, reporting)
    previous = _aligned(memory.complete_rps, memory.model_names, catalog.model_names)
    guess = np.minimum(reported + per_model(imputed, silent), np.fmax(previous, reported))
    partial = np.bincount(model_of_replica[silent], minlength=models) > 0
    total = np.where(partial, np.where(np.isnan(previous), reported, guess), reported)
    anyone = np.bincount(model_of_replica[reporting], minlength=models) > 0
    known = np.where(anyone | _at_zero(snapshot, catalog), total, np.nan)
    offered = _model_signal(snapshot, "offered_rate_rps")
    turned_away = np.nan_to_num(_model_signal(snapshot, "router_rejection_rate_rps"))
    # The router's count already holds what it turned away; without it, its refusals are added.
    total_rps = np.where(np.isfinite(offered), offered, known + turned_away)
    names = np.array(snapshot.replica_id, dtype=object)
    rates = {n: last[n] for n in names[silent] if n in last}
    rates.update(zip(names[reporting], rate.values[reporting].tolist(), strict=True))
    return _Demand(
        total_rps=total_rps,
        complete_rps=np.where(anyone & ~partial, reported, previous),
        replica_rate_rps=rates,
        counted=Readings.of(np.where(silent, imputed, np.where(reporting, rate.values, np.nan))),
    )


def _at_zero(snapshot: Snapshot, catalog: Catalog) -> BoolArray:
    """Return which models are known to have no replica: no engine admits anything for them.

    What waits for them is in the router's queue, which is counted beside the rate.
    """
    running = snapshot.current_replicas != 0  # -1: not known
    there = np.bincount(catalog.variant_model[running], minlength=len(catalog.models))
    return np.asarray(there == 0)


def _model_signal(snapshot: Snapshot, name: str) -> FloatArray:
    readings = snapshot.model.get(name)
    return readings.values if readings is not None else np.full(len(snapshot.models), np.nan)


def _aligned(values: FloatArray, names: tuple[str, ...], wanted: tuple[str, ...]) -> FloatArray:
    """Return the rows of `values` for the `wanted` names, NaN for new ones."""
    if names == wanted:
        return values
    row = {name: i for i, name in enumerate(names)}
    rows = np.array([row.get(name, -1) for name in wanted], dtype=np.int64)
    result = np.full((len(wanted), *values.shape[1:]), np.nan)
    result[rows >= 0] = values[rows[rows >= 0]]
    return result


def _lengths(
    snapshot: Snapshot, replicas: _Replicas, memory: Memory, catalog: Catalog
) -> tuple[FloatArray, BoolArray]:
    """Return length moments and hit ratio per model, and where they are assumed."""
    models = len(catalog.models)
    model = catalog.variant_model[replicas.variant]
    weight = np.nan_to_num(snapshot.replica["completion_rate_rps"].values)
    columns = []
    for name in (*_LENGTHS, "prefix_hit_ratio"):
        readings = snapshot.replica[name]
        use = replicas.heard & readings.present & (weight > 0)
        mass = np.bincount(model[use], weights=weight[use], minlength=models)
        total = np.bincount(model[use], weights=(weight * readings.values)[use], minlength=models)
        columns.append(np.divide(total, mass, out=np.full(models, np.nan), where=mass > 0))
    observed = np.stack(columns, axis=1)
    remembered = _aligned(memory.lengths, memory.model_names, catalog.model_names)
    lengths = np.where(np.isnan(observed), remembered, observed)
    elapsed_s = snapshot.taken_s - memory.plan.planned_s
    lengths[:, -1] = _recent_low(lengths[:, -1], remembered[:, -1], elapsed_s)
    assumed = np.asarray(np.isnan(lengths[:, : len(_LENGTHS)]).any(axis=1))
    lengths = np.where(assumed[:, None], np.array([*ASSUMED_LENGTHS, np.nan]), lengths)
    # An unknown hit ratio is none: capacity is never bought on a cache that nobody saw.
    lengths[:, -1] = np.clip(np.nan_to_num(lengths[:, -1]), 0.0, 0.99)
    lengths[:, :4] = np.maximum(lengths[:, :4], [0.0, 0.0, 1.0, 1.0])
    lengths[:, 1] = np.maximum(lengths[:, 1], lengths[:, 0] ** 2)
    lengths[:, 3] = np.maximum(lengths[:, 3], lengths[:, 2] ** 2)
    return lengths, assumed


def _recent_low(ratio: FloatArray, before: FloatArray, elapsed_s: float) -> FloatArray:
    """Return the hit ratio to size with: it falls at once, and rises over half an hour.

    A replica that goes takes its cache along, and one that comes has none: capacity that
    was counted on hits is missing just when counts change. Sized with what hits have been
    in bad times, a collapse after a removal isn't followed by another removal.
    """
    gain = -np.expm1(-elapsed_s / HIT_RATIO_MEMORY_S)
    risen = before + gain * (ratio - before)
    # 0: nothing was known of a cache yet.
    return np.where((before > 0.0) & (ratio > before), risen, ratio)


def _variant_table(
    snapshot: Snapshot, replicas: _Replicas, catalog: Catalog, ready_for: Standby
) -> VariantTable:
    number_ready = np.bincount(replicas.variant[replicas.ready], minlength=replicas.count)
    silent = replicas.ready & ~replicas.fresh
    heard = np.bincount(replicas.variant[replicas.fresh], minlength=replicas.count) > 0
    current = snapshot.current_replicas
    listed = np.bincount(replicas.variant, minlength=replicas.count)
    current = np.where(current >= 0, current, listed)
    ready = np.where(snapshot.ready_replicas >= 0, snapshot.ready_replicas, number_ready)
    return VariantTable(
        model=catalog.variant_model,
        cost_per_hour=catalog.cost_per_hour,
        power_idle_w=catalog.power_idle_w,
        power_full_w=catalog.power_full_w,
        min_replicas=np.where(
            ready_for.quiet[catalog.variant_model], 0, catalog.min_replicas
        ).astype(np.int64),
        max_replicas=_reachable(snapshot, catalog),
        current_replicas=current.astype(np.int64),
        ready_replicas=np.minimum(ready, current).astype(np.int64),
        partial=np.bincount(replicas.variant[silent], minlength=replicas.count) > 0,
        blind=~heard & (ready > 0),
        paper_law=catalog.paper_law,
        trust=catalog.profile_trust,
        cold_start_s=catalog.cold_start_s,
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


def _limits(snapshot: Snapshot, replicas: _Replicas, catalog: Catalog) -> EngineLimits:
    def first_known(signal: str, declared: FloatArray, default: float) -> FloatArray:
        read = replicas.mean(snapshot.replica[signal], replicas.fresh)
        known = np.where(np.isfinite(read) & (read > 0), read, declared)
        return np.where(np.isfinite(known), known, default)

    batch = first_known("max_batch_size", catalog.max_batch_size, DEFAULT_MAX_BATCH_SIZE)
    queue = np.where(
        np.isfinite(catalog.max_queue_size), catalog.max_queue_size, batch * QUEUE_PER_SLOT
    )
    return EngineLimits(
        max_batch_size=np.maximum(np.round(batch), 1).astype(np.int64),
        max_queue_size=np.round(queue).astype(np.int64),
        kv_capacity_tokens=first_known("kv_capacity_tokens", catalog.kv_capacity_tokens, np.inf),
        max_batched_tokens=first_known(
            "max_batched_tokens", catalog.max_batched_tokens, DEFAULT_MAX_BATCHED_TOKENS
        ),
    )


def _replica_table(snapshot: Snapshot, replicas: _Replicas) -> ReplicaTable:
    use = replicas.ready & replicas.fresh
    signal = snapshot.replica
    return ReplicaTable(
        variant=replicas.variant[use],
        running_requests=signal["running_requests"].values[use],
        waiting_requests=signal["waiting_requests"].values[use],
        kv_usage_ratio=signal["kv_usage_ratio"].values[use],
        kv_capacity_tokens=signal["kv_capacity_tokens"].values[use],
    )


def _observations(snapshot: Snapshot, replicas: _Replicas, window_s: float) -> Observations:
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


def _inputs(
    snapshot: Snapshot, replicas: _Replicas, rate: Readings, lengths: FloatArray
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


def _reading_age_s(snapshot: Snapshot, replicas: _Replicas, variants: VariantTable) -> FloatArray:
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


def unseen(snapshot: Snapshot) -> BoolArray:
    """Return the variants of which neither the count nor any replica is known."""
    listed = np.bincount(snapshot.replica_variant, minlength=len(snapshot.variants))
    return np.asarray((snapshot.current_replicas < 0) & (listed == 0))
