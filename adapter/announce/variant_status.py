"""Publication -> the status of VariantAutoscaling objects, as server-side apply wants it. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..explain import BINDING_MEANINGS
from ..records import Freshness, Publication
from .subjects import Subject, parse_subject, subjects_of

__all__ = ["Condition", "Status", "apply_document", "statuses_of"]

KIND = "VariantAutoscaling"
NO_TARGET = "its scale target"  # how the fault of a missing one begins


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition but for its time."""

    kind: str
    status: str  # True, False, Unknown
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a status says; equal ones need no writing."""

    conditions: tuple[Condition, ...]
    accelerator: str = ""
    desired: int | None = None
    recommended: int | None = None
    reason: str = ""
    applied: bool | None = None
    read_unix_s: float = math.nan

    def says_the_same(self, other: "Status | None") -> bool:
        """Return whether they differ in nothing but when the readings were taken."""
        if other is None:
            return False
        names = ("conditions", "accelerator", "desired", "recommended", "reason", "applied")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def statuses_of(
    publication: Publication, freshness: Sequence[Freshness]
) -> Mapping[Subject, Status]:
    """Return the status of every VariantAutoscaling that declares a variant, or tries to."""
    faults = {
        subject: fault.message
        for fault in publication.report.faults
        if (subject := parse_subject(fault.source)) is not None and subject.kind == KIND
    }
    found = {subject: _broken(message) for subject, message in faults.items()}
    subjects = subjects_of(publication)
    for row, key in enumerate(publication.variants):
        subject = subjects.get(key)
        if subject is not None and subject.kind == KIND:
            found[subject] = _status(publication, row, freshness[row], faults.get(subject, ""))
    return found


def apply_document(
    subject: Subject, status: Status, times: Mapping[str, str], *, now_unix_s: float
) -> dict[str, Any]:
    """Return the object to apply; `times` are those at which conditions of that status began."""
    conditions = [
        {
            "type": each.kind,
            "status": each.status,
            "reason": each.reason,
            "message": each.message,
            "lastTransitionTime": times.get(f"{each.kind}={each.status}", _time(now_unix_s)),
        }
        for each in status.conditions
    ]
    content: dict[str, Any] = {"conditions": conditions}
    allocation = {
        "numReplicas": status.desired,
        # The published definition wants two letters at least.
        "accelerator": status.accelerator if len(status.accelerator) > 1 else None,
        "reason": status.reason or None,
        "lastRunTime": _time(status.read_unix_s) if math.isfinite(status.read_unix_s) else None,
    }
    if status.desired is not None:
        given = {name: value for name, value in allocation.items() if value is not None}
        content["desiredOptimizedAlloc"] = given
    if status.recommended is not None:
        content["recommendedReplicas"] = status.recommended
    if status.applied is not None:
        content["actuation"] = {"applied": status.applied}
    return {
        "apiVersion": subject.api_version,
        "kind": subject.kind,
        "metadata": {"namespace": subject.namespace, "name": subject.name},
        "status": content,
    }


def _status(publication: Publication, row: int, freshness: Freshness, fault: str) -> Status:
    binding = publication.binding_names[int(publication.binding[row])]
    desired = _count(publication, "wva_desired_replicas", row)
    current = _count(publication, "wva_current_replicas", row)
    target = _target(fault)
    return Status(
        conditions=(
            target,
            _metrics(publication, row, freshness),
            _ready(freshness, binding, fault),
        ),
        accelerator=publication.labels[row].get("accelerator_type", ""),
        desired=desired,
        recommended=_count(publication, "wva_recommended_replicas", row),
        reason=binding,
        applied=None if desired is None or current is None else desired == current,
        read_unix_s=float(publication.read_unix_s[row]),
    )


def _broken(message: str) -> Status:
    """Return the status of an object that declares no variant as it is."""
    return Status(
        conditions=(
            _target(message),
            Condition("MetricsAvailable", "Unknown", "SkippedProcessing"),
            Condition("OptimizationReady", "False", "InvalidConfiguration", message),
        )
    )


def _target(fault: str) -> Condition:
    if NO_TARGET in fault:
        return Condition("TargetResolved", "False", "TargetNotFound", fault)
    return Condition("TargetResolved", "True", "TargetFound")


def _metrics(publication: Publication, row: int, freshness: Freshness) -> Condition:
    message = publication.message[row]
    if freshness is Freshness.FRESH:
        return Condition("MetricsAvailable", "True", "MetricsFound", message)
    never = not math.isfinite(float(publication.reading_age_s[row]))
    return Condition(
        "MetricsAvailable", "False", "MetricsMissing" if never else "MetricsStale", message
    )


def _ready(freshness: Freshness, binding: str, fault: str) -> Condition:
    kind = "OptimizationReady"
    words = BINDING_MEANINGS.get(binding, "")
    if NO_TARGET in fault:
        return Condition(kind, "False", "InvalidConfiguration", fault)
    if freshness is Freshness.REFUSED:
        return Condition(kind, "False", "MetricsUnavailable", words)
    if binding == "SloInfeasible":
        return Condition(kind, "True", "SloInfeasible", words)
    if binding == "Saturation":
        return Condition(kind, "True", "SaturationOnlyMode", words)
    return Condition(kind, "True", "OptimizationSucceeded", words)


def _count(publication: Publication, metric: str, row: int) -> int | None:
    value = float(publication.values[metric][row])
    return round(value) if math.isfinite(value) else None


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
