"""Whether a variant may go to zero, and who takes it there and back: as people are told. Pure."""

from collections.abc import Mapping
from typing import Any

from ..kube.fields import count_at, items_at, text_at

__all__ = ["hpa_zero", "scaled_object_zero"]

# KEDA's defaults.
_COOLDOWN_S, _POLL_S = 300, 30


def hpa_zero(least: int) -> str:
    """Return what an HPA with this minReplicas can do about zero."""
    if least > 0:
        return (
            f"never below {least}, by its HPA's minReplicas; 0 needs KEDA, or minReplicas: 0 "
            "(feature gate HPAScaleToZero, on from Kubernetes 1.37)"
        )
    return "its HPA goes to 0, and from 0 at its next sync (minReplicas: 0)"


def scaled_object_zero(spec: Mapping[str, Any]) -> str:
    """Return what KEDA does about zero, as a ScaledObject's spec says."""
    least, idle = count_at(spec, "minReplicaCount") or 0, count_at(spec, "idleReplicaCount")
    lowest = least if idle is None else min(idle, least)
    if lowest > 0:
        return f"never below {lowest}, by its ScaledObject's minReplicaCount"
    cooldown_s, poll_s = count_at(spec, "cooldownPeriod"), count_at(spec, "pollingInterval")
    cooldown_s = _COOLDOWN_S if cooldown_s is None else cooldown_s
    kinds = {text_at(trigger, "type") for trigger in items_at(spec, "triggers")}
    if "external-push" in kinds:
        back = "a push wakes it"
    else:
        back = f"a poll wakes it, each {poll_s or _POLL_S} s (trigger external-push would at once)"
    return f"KEDA takes it to 0 {cooldown_s} s after it was last asked for (cooldownPeriod); {back}"
