"""A HorizontalPodAutoscaler's `spec`, as far as one External metric needs it, with its defaults.

Refuses what the API server refuses. Source: Kubernetes, autoscaling/v2.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from optimizer.errors import InvalidInputError

__all__ = ["Behavior", "HpaSpec", "Policy", "ScalingRules", "SelectPolicy"]

DEFAULT_TOLERANCE = 0.1
DEFAULT_DOWN_WINDOW_S = 300.0


class SelectPolicy(StrEnum):
    """Which of several policies holds: the one that lets most, least, or nothing change."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """At most so many pods, or so many percent, per period."""

    type: str  # Pods or Percent
    value: int
    period_s: float

    def __post_init__(self) -> None:
        """Refuse what the API server refuses."""
        if self.type not in {"Pods", "Percent"} or self.value < 1:
            raise InvalidInputError(f"{self}: type is Pods or Percent, value at least 1")
        if not 0.0 < self.period_s <= 1800.0:
            raise InvalidInputError(f"{self}: the period must be in (0, 1800] s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction's behavior."""

    policies: tuple[Policy, ...]
    stabilization_s: float = 0.0
    select: SelectPolicy = SelectPolicy.MAX
    tolerance: float = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        """Refuse what the API server refuses."""
        if not self.policies:
            raise InvalidInputError("scaling rules need at least one policy")
        if not 0.0 <= self.stabilization_s <= 3600.0:
            raise InvalidInputError(
                f"stabilization_s is {self.stabilization_s}; must be in [0, 3600]"
            )
        if not 0.0 <= self.tolerance < math.inf:
            raise InvalidInputError(f"tolerance is {self.tolerance}; must be >= 0")


DEFAULT_UP = ScalingRules(policies=(Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)))
DEFAULT_DOWN = ScalingRules(
    policies=(Policy("Percent", 100, 15.0),), stabilization_s=DEFAULT_DOWN_WINDOW_S
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """`spec.behavior`; the part that isn't given has the API's defaults."""

    scale_up: ScalingRules = DEFAULT_UP
    scale_down: ScalingRules = DEFAULT_DOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSpec:
    """One HPA on one External metric of type AverageValue; `behavior` None: not set."""

    min_replicas: int = 1
    max_replicas: int
    average_value: float = 1.0
    behavior: Behavior | None = None

    def __post_init__(self) -> None:
        """Refuse what the API server refuses."""
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise InvalidInputError(
                f"min_replicas is {self.min_replicas}, max_replicas {self.max_replicas}; "
                "must be 0 <= min <= max and max >= 1"
            )
        if not self.average_value > 0.0:
            raise InvalidInputError(f"average_value is {self.average_value}; must be positive")
