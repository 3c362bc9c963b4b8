"""HPAs and ScaledObjects as consumers of our metrics: bounds, and what limits them. Pure.

A variant's consumer is the object whose metric selects it. What HPA will make of a decision
depends on it: its tolerance, its policies, and whether it acts at all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..kube.fields import count_at, items_at, mapping_at, quantity, text_at
from .holds import Holds, fallback_risk, holds_of
from .zero import hpa_zero, scaled_object_zero

__all__ = [
    "Hpa",
    "Metadata",
    "ScaledObject",
    "Target",
    "reduce_hpa",
    "reduce_metadata",
    "reduce_scaled_object",
    "target_of",
]

METRIC_PREFIX = "wva_"
_KEDA_DEFAULT_MAX = 100
_PROMETHEUS_NAME = re.compile(r"""variant_name\s*=\s*["']([^"']+)["']""")
# How HPA quotes the answer of whoever serves our metrics.
_OUR_REFUSAL = f"unable to fetch metrics from external metrics API: {METRIC_PREFIX}"
PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an autoscaler scales."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is kept of an object's metadata: annotations and labels of ours only."""

    namespace: str
    name: str
    created: str
    notes: Mapping[str, str]
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hpa:
    """What is kept of an HPA."""

    metadata: Metadata
    target: Target
    least: int
    most: int
    variant: str  # that its metric selects, "" if it selects none of ours
    made_by: str  # the ScaledObject that it was made for
    tolerance_up: float | None
    tolerance_down: float | None
    limits: tuple[str, ...]  # what holds it back, by reason
    holds: Holds
    zero: str  # whether and how it goes to zero, in words
    fallback_risk: str = ""  # an HPA has no fallback


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObject:
    """What is kept of a ScaledObject."""

    metadata: Metadata
    target: Target
    least: int
    most: int
    variant: str
    paused: bool
    holds: Holds
    zero: str
    fallback_risk: str


def reduce_metadata(document: Mapping[str, Any]) -> Metadata:
    """Return what is kept of an object's metadata."""
    metadata = mapping_at(document, "metadata")
    notes = mapping_at(metadata, "annotations")
    labels = mapping_at(metadata, "labels")
    ours = {
        key: value.strip()
        for source in (labels, notes)
        for key, value in source.items()
        if isinstance(value, str) and _is_ours(key)
    }
    return Metadata(
        namespace=text_at(metadata, "namespace"),
        name=text_at(metadata, "name"),
        created=text_at(metadata, "creationTimestamp"),
        notes=ours,
        instance=ours.get("wva.llmd.ai/controller-instance", ""),
    )


def _is_ours(key: str) -> bool:
    return (
        key.partition("/")[0] in {"llm-d.ai", "wva.llm-d.ai", "wva.llmd.ai"}
        or key == "inference.optimization/acceleratorName"
    )


def reduce_hpa(document: Mapping[str, Any]) -> Hpa:
    """Return what is kept of an HPA (autoscaling/v2)."""
    spec = mapping_at(document, "spec")
    given = count_at(spec, "minReplicas")
    least = 1 if given is None else given
    return Hpa(
        metadata=reduce_metadata(document),
        target=target_of(spec),
        least=least,
        most=count_at(spec, "maxReplicas") or 1,
        variant=_selected(spec),
        made_by=_maker(document),
        tolerance_up=_tolerance(spec, "scaleUp"),
        tolerance_down=_tolerance(spec, "scaleDown"),
        limits=tuple(_limits(mapping_at(document, "status"))),
        holds=holds_of(mapping_at(spec, "behavior"), {}),
        zero=hpa_zero(least),
    )


def target_of(spec: Mapping[str, Any]) -> Target:
    """Return what a spec's scaleTargetRef names."""
    reference = mapping_at(spec, "scaleTargetRef")
    return Target(
        api_version=text_at(reference, "apiVersion") or "apps/v1",
        kind=text_at(reference, "kind") or "Deployment",
        name=text_at(reference, "name"),
    )


def _selected(spec: Mapping[str, Any]) -> str:
    for metric in items_at(spec, "metrics"):
        external = mapping_at(metric, "external", "metric")
        if text_at(external, "name").lower().startswith(METRIC_PREFIX):
            return text_at(external, "selector", "matchLabels", "variant_name")
    return ""


def _maker(document: Mapping[str, Any]) -> str:
    """Return the ScaledObject that KEDA made an HPA for, "" for one that a person made."""
    for reference in items_at(document, "metadata", "ownerReferences"):
        if text_at(reference, "kind") == "ScaledObject":
            return text_at(reference, "name")
    return text_at(document, "metadata", "labels", "scaledobject.keda.sh/name")


def _tolerance(spec: Mapping[str, Any], way: str) -> float | None:
    """Return the tolerance of scaling one way that the HPA itself sets."""
    given = mapping_at(spec, "behavior", way).get("tolerance")
    value = None if given is None else quantity(given)
    return value if value is not None and value >= 0 else None


def _limits(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps the HPA from doing what its metric says, as its conditions tell it."""
    for condition in items_at(status, "conditions"):
        kind, state = text_at(condition, "type"), text_at(condition, "status")
        reason, message = text_at(condition, "reason"), text_at(condition, "message")
        told = f"{reason}: {message}" if message else reason
        if _OUR_REFUSAL in message:
            continue  # what we answered; the decision's own state says it
        if (
            (kind == "ScalingActive" and state == "False")
            or (kind == "ScalingLimited" and state == "True")
            or (kind == "AbleToScale" and (state == "False" or reason.endswith("Stabilized")))
        ):
            yield told


def reduce_scaled_object(document: Mapping[str, Any]) -> ScaledObject:
    """Return what is kept of a ScaledObject (keda.sh/v1alpha1).

    `minReplicaCount` is read as it is written: HPAs that KEDA makes have 1 where it says 0.
    """
    spec = mapping_at(document, "spec")
    idle, least = count_at(spec, "idleReplicaCount"), count_at(spec, "minReplicaCount") or 0
    notes = mapping_at(document, "metadata", "annotations")
    return ScaledObject(
        metadata=reduce_metadata(document),
        target=target_of(spec),
        least=least if idle is None else min(idle, least),
        most=count_at(spec, "maxReplicaCount") or _KEDA_DEFAULT_MAX,
        variant=_triggered(spec),
        paused=text_at(notes, PAUSED[0]).lower() == "true" or PAUSED[1] in notes,
        holds=holds_of(
            mapping_at(spec, "advanced", "horizontalPodAutoscalerConfig", "behavior"), notes
        ),
        zero=scaled_object_zero(spec),
        fallback_risk=fallback_risk(spec),
    )


def _triggered(spec: Mapping[str, Any]) -> str:
    for trigger in items_at(spec, "triggers"):
        kind, metadata = text_at(trigger, "type"), mapping_at(trigger, "metadata")
        if kind in {"external", "external-push"} and (name := text_at(metadata, "variantName")):
            return name
        query = text_at(metadata, "query")
        found = _PROMETHEUS_NAME.search(query) if METRIC_PREFIX in query else None
        if kind == "prometheus" and found is not None:
            return found.group(1)
    return ""
