"""Plan -> Publication: what HPA, KEDA and people read. Pure.

HPA ignores a change within its tolerance of what is there (design 4.2), so a scale-up
that the SLO needs is rounded up to the smallest count that it will act on; the plan
itself is never bent. In observe and paused mode the published count is what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer import Binding, BoolArray, FloatArray, IntArray, Plan, Trust
from optimizer.leaving import leaving_first

from .analyze import Analysis, unseen
from .catalog import Catalog
from .guard import Brake, Guarded
from .profiles_in_force import profile_basis, profile_columns
from .records import Publication, Reason, ReplicaState, Snapshot, TickReport
from .routing_words import routing_words
from .tolerance import left_alone, nudged, tolerance_up_ratio

__all__ = ["LEAVING", "SERVED_METRICS", "publish"]

SERVED_METRICS = (
    "wva_desired_replicas",
    "wva_current_replicas",
    "wva_desired_ratio",
    "wva_utilization",
    "wva_recommended_replicas",
    "wva_desired_traffic_ratio",
)

LEAVING = "leaving_first"  # the text that names the pods which should go first

_TRUST_WORDS = {t.value: t.name.lower() for t in Trust}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Decision:
    """Columns that several parts of the publication need."""

    current: IntArray
    recommended: IntArray
    published: IntArray
    nudge: IntArray
    brake: IntArray


def publish(
    *,
    plan: Plan,
    guarded: Guarded,
    floor: FloatArray,
    analysis: Analysis,
    snapshot: Snapshot,
    catalog: Catalog,
    sequence: int,
    report: TickReport,
) -> Publication:
    """Return the publication of one decision; no count of it is below `floor`."""
    settings = catalog.settings
    variants = analysis.request.variants
    current = variants.current_replicas
    nudge = nudged(
        guarded.desired,
        current,
        most=variants.max_replicas,
        needed=plan.binding == Binding.DEMAND,
        tolerance_ratio=tolerance_up_ratio(snapshot, settings.hpa_tolerance),
        max_nudge=settings.max_nudge_replicas,
    )
    told = guarded.desired + nudge
    kept = np.maximum(told, floor).astype(np.int64)
    published = np.where(catalog.active, kept, current)
    decision = _Decision(
        current=current,
        recommended=guarded.desired,
        published=published,
        nudge=nudge,
        brake=np.where(catalog.active & (kept > told), Brake.RESTART, guarded.brake),
    )
    age = analysis.reading_age_s
    return Publication(
        sequence=sequence,
        published_unix_s=snapshot.taken_unix_s,
        variants=catalog.variants,
        labels=catalog.labels,
        values=_values(plan, decision),
        held_values=np.maximum(published, current).astype(np.float64),
        reading_age_s=age,
        read_unix_s=snapshot.taken_unix_s - np.where(np.isfinite(age), age, 0.0),
        message=_messages(
            snapshot,
            analysis.doubt,
            variants.blind | variants.partial | (age > settings.max_decision_age_s),
        ),
        details=_details(plan, guarded, decision, analysis, snapshot, catalog),
        binding=plan.binding.astype(np.int8),
        binding_names=tuple(_camel(b.name) for b in Binding),
        texts={
            **catalog.texts,
            **_circumstances(snapshot, decision, settings.hpa_tolerance),
            **_leaving(snapshot, decision, catalog),
            "dialect": snapshot.dialect,
            "routing": routing_words(plan),
            "profile": tuple(_TRUST_WORDS[t] for t in plan.trust.tolist()),
            "profile_basis": profile_basis(plan, catalog),
            "brake": tuple(_camel(Brake(b).name) for b in decision.brake.tolist()),
        },
        max_decision_age_s=settings.max_decision_age_s,
        hold_s=settings.hold_s,
        report=report,
    )


def _leaving(
    snapshot: Snapshot, decision: _Decision, catalog: Catalog
) -> Mapping[str, tuple[str, ...]]:
    """Return the pods of each variant that should go first, where it is to lose some."""
    removed = decision.current - decision.published
    if not catalog.settings.name_leaving_pods or not (removed > 0).any():
        return {}
    signal = snapshot.replica
    running, waiting = (signal[n].values for n in ("running_requests", "waiting_requests"))
    first = leaving_first(
        snapshot.replica_variant,
        in_flight_requests=running + np.nan_to_num(waiting),
        prefix_hit_ratio=signal["prefix_hit_ratio"].values,
        removed=removed,
    )
    named: list[list[str]] = [[] for _ in snapshot.variants]
    for row in np.flatnonzero(first).tolist():
        pod = snapshot.replica_id[row].rsplit("/", 1)[-1]
        if ":" not in pod:  # an address isn't a pod
            named[int(snapshot.replica_variant[row])].append(pod)
    return {LEAVING: tuple(" ".join(pods) for pods in named)}


def _circumstances(
    snapshot: Snapshot, decision: _Decision, default_tolerance_ratio: float
) -> Mapping[str, tuple[str, ...]]:
    """Return what the cluster says of each variant, with what its HPA will make of the count."""
    around = snapshot.circumstances
    if around is None:
        return {}
    ignored = left_alone(decision.published, decision.current, around, default_tolerance_ratio)
    told = around.texts.get("hpa_limit", ("",) * len(ignored))
    limits = tuple("; ".join(filter(None, each)) for each in zip(told, ignored, strict=True))
    return {**around.texts, "hpa_limit": limits}


def _values(plan: Plan, decision: _Decision) -> dict[str, FloatArray]:
    current, desired = decision.current.astype(float), decision.published.astype(float)
    ratio = np.divide(desired, current, out=desired.copy(), where=current > 0)
    columns = (
        desired,
        current,
        ratio,
        plan.utilization_ratio,
        decision.recommended.astype(float),
        plan.traffic_ratio,
    )
    return dict(zip(SERVED_METRICS, columns, strict=True))


def _details(
    plan: Plan,
    guarded: Guarded,
    decision: _Decision,
    analysis: Analysis,
    snapshot: Snapshot,
    catalog: Catalog,
) -> dict[str, FloatArray]:
    variants = analysis.request.variants
    slo = analysis.request.slo
    measured = {
        f"measured.{name}": readings.values
        for name, readings in snapshot.variant.items()
        if name != "power_w"
    }
    power = snapshot.variant.get("power_w")
    return {
        **analysis.inputs,
        "input.ready_replicas": variants.ready_replicas.astype(float),
        "input.hot_replicas": plan.hot_replicas.astype(float),
        "bound.model_replicas": plan.demand_replicas,
        "bound.saturation_replicas": plan.saturation_replicas,
        "bound.unmet_demand_ratio": plan.unmet_ratio,
        "bound.min_replicas": variants.min_replicas.astype(float),
        "bound.max_replicas": variants.max_replicas.astype(float),
        "bound.after_brakes_replicas": guarded.desired.astype(float),
        "bound.hpa_nudge_replicas": decision.nudge.astype(float),
        "slo.ttft_s": _finite(slo.ttft_s),
        "slo.itl_s": _finite(slo.itl_s),
        "slo.percentile_ratio": slo.percentile_ratio,
        **profile_columns(plan, analysis.request.limits, catalog),
        "predicted.capacity_rps": plan.capacity_rps,
        "predicted.routed_rps": plan.routed_rps,
        "predicted.share_rps": plan.share_rps,
        "predicted.utilization_ratio": plan.utilization_ratio,
        "predicted.withstood_error_ratio": _finite(plan.withstood_error_ratio),
        "predicted.profile_ratio": plan.profile_ratio,
        "predicted.ttft_mean_s": plan.ttft_mean_s,
        "predicted.ttft_s": plan.ttft_s,
        "predicted.itl_mean_s": plan.itl_mean_s,
        "predicted.itl_s": plan.itl_s,
        **measured,
        "cost.scarcity_price_per_hour": plan.scarcity_price_per_hour,
        "cost.allocation_gap_ratio": plan.gap_ratio,
        "cost.replica_per_hour": variants.cost_per_hour,
        "cost.now_per_hour": variants.cost_per_hour * decision.current,
        "cost.desired_per_hour": variants.cost_per_hour * decision.published,
        "power.modelled_w": plan.power_w,
        "power.measured_w": power.values if power is not None else np.full(len(variants), np.nan),
    }


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _messages(snapshot: Snapshot, doubt: NDArray[np.uint8], troubled: BoolArray) -> tuple[str, ...]:
    """Return a sentence on whose readings are missing and why, "" where none are."""
    if not troubled.any():
        return ("",) * len(troubled)
    why = np.where(doubt != Reason.PRESENT, doubt, snapshot.replica["running_requests"].reasons)
    messages = [""] * len(troubled)
    listed: dict[int, list[int]] = {}
    for replica in np.flatnonzero(troubled[snapshot.replica_variant]):
        listed.setdefault(int(snapshot.replica_variant[replica]), []).append(int(replica))
    unknown, around = unseen(snapshot), snapshot.circumstances
    absent = around.absent if around is not None else None
    for variant in np.flatnonzero(troubled):
        if absent is not None and absent[variant]:
            messages[variant] = "its scale target isn't there"
        elif unknown[variant]:
            messages[variant] = "neither its scale target nor any of its replicas is known"
        else:
            messages[variant] = _trouble(snapshot, why, listed.get(int(variant), []))
    return tuple(messages)


def _trouble(snapshot: Snapshot, reasons: NDArray[np.uint8], replicas: list[int]) -> str:
    silent = [
        r
        for r in replicas
        if snapshot.replica_state[r] != ReplicaState.DRAINING and reasons[r] != Reason.PRESENT
    ]
    if not silent:
        return "no engine of this variant has been read yet"
    first = silent[0]
    age = snapshot.replica_age_s[first]
    since = f"last read {age:.0f} s ago" if np.isfinite(age) else "never read"
    why = _camel(Reason(int(reasons[first])).name)
    others = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    return (
        f"{len(silent)} of {len(replicas)} replicas silent: "
        f"{snapshot.replica_id[first]} ({why}, {since}){others}"
    )


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
