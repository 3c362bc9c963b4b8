"""Service classes: what traffic is promised, what is kept warm and when."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from .section import NonNegative, Positive, Section

__all__ = [
    "Hours",
    "ScheduledWarm",
    "ServiceClass",
    "Slo",
    "Warm",
]


class Slo(Section):
    """Latency targets at a percentile; a target that isn't given isn't checked."""

    ttft_ms: Positive | None = None
    itl_ms: Positive | None = None
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95
    deadline_s: Positive | None = None

    @property
    def ttft_s(self) -> float:
        return float("inf") if self.ttft_ms is None else self.ttft_ms / 1e3

    @property
    def itl_s(self) -> float:
        return float("inf") if self.itl_ms is None else self.itl_ms / 1e3


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Hours(Section):
    """A part of the week in a zone's own time; an end not after its start is the next day's."""

    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start: Clock
    end: Clock
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"timezone {name!r} isn't known; name one like Europe/Berlin") from exc
        return name


class Warm(Section):
    """Ready replicas without work: so many, and a share of what demand needs."""

    replicas: Annotated[int, Field(ge=0)] = 0
    percent: NonNegative = 0.0


class ScheduledWarm(Hours):
    """What is kept warm in these hours instead."""

    warm: Warm


class ServiceClass(Section):
    """What a kind of traffic is promised; priority 1 is the highest, 100 the lowest.

    In its quiet hours a class keeps nothing warm, and its variants may go to zero whatever
    their min_replicas.
    """

    priority: Annotated[int, Field(ge=1, le=100)] = 100
    kind: Literal["online", "offline"] = "online"
    slo: Slo = Slo()
    warm: Warm = Warm()
    schedules: tuple[ScheduledWarm, ...] = ()
    quiet_hours: tuple[Hours, ...] = ()
