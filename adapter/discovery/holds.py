"""What an autoscaler may not do, whatever its metric says, and what it does without us. Pure.

KEDA's annotations `paused-scale-in` and `paused-scale-out`, and `selectPolicy: Disabled` of a
behavior, close one direction. A `fallback` is what KEDA scales to when nobody answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..kube.fields import count_at, mapping_at, text_at

__all__ = ["Holds", "fallback_risk", "holds_of"]

_PAUSE = "autoscaling.keda.sh/paused-scale-"
# Fallback behaviors of KEDA that never go below what there is.
_RAISES_ONLY = frozenset({"currentReplicas", "currentReplicasIfHigher"})


@dataclass(frozen=True, slots=True)
class Holds:
    """Which directions are closed, and by what ("": open)."""

    up: str = ""
    down: str = ""

    def bounds(self, least: int, most: int, current: int) -> tuple[int, int]:
        """Return the bounds that are left; `current` is -1 where it isn't known."""
        if current < 0:
            return least, most
        if self.down:
            least = max(least, min(current, most))
        if self.up:
            most = min(most, max(current, least, 1))
        return least, most

    def words(self) -> tuple[str, ...]:
        """Return what is closed, as people are told."""
        told = (
            ("ScaleUpDisabled", self.up, "the count may not rise"),
            ("ScaleDownDisabled", self.down, "the count may not fall"),
        )
        return tuple(f"{reason}: {then}, by {why}" for reason, why, then in told if why)


def holds_of(behavior: Mapping[str, Any], notes: Mapping[str, Any]) -> Holds:
    """Return what an HPA's behavior and a ScaledObject's annotations close."""

    def closed(rules: str, note: str) -> str:
        if text_at(notes, _PAUSE + note).lower() == "true":
            return _PAUSE + note
        disabled = text_at(behavior, rules, "selectPolicy") == "Disabled"
        return f"behavior.{rules}.selectPolicy: Disabled" if disabled else ""

    return Holds(up=closed("scaleUp", "out"), down=closed("scaleDown", "in"))


def fallback_risk(spec: Mapping[str, Any]) -> str:
    """Return how a ScaledObject's fallback can lower replicas while we are silent, "" if not."""
    fallback = mapping_at(spec, "fallback")
    if not fallback:
        return ""
    behavior, replicas = text_at(fallback, "behavior") or "static", count_at(fallback, "replicas")
    if behavior in _RAISES_ONLY and replicas != 0:
        return ""
    return (
        f"fallback {behavior} to {replicas or 0} can lower replicas while the adapter doesn't "
        "answer; fallback.behavior: currentReplicasIfHigher (KEDA 2.17), with at least 1, can't"
    )
