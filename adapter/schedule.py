"""What a service class keeps ready at this time of the week. Pure.

Times are those of a wall clock in a named zone, so that daylight saving is the zone's
business. A span whose end isn't after its start passes midnight, and belongs to the day
that it starts on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from optimizer import BoolArray, FloatArray

from .config import Hours, ServiceClass

__all__ = ["Standby", "covers", "standby"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True, eq=False)
class Standby:
    """Per model: replicas kept ready without demand, a share of demand on top, quiet hours."""

    replicas: FloatArray
    ratio: FloatArray
    quiet: BoolArray


def standby(classes: Sequence[ServiceClass], at_unix_s: float) -> Standby:
    """Return what each model's class keeps ready; the first schedule that covers decides."""
    told = {id(each): _of(each, at_unix_s) for each in classes}
    rows = [told[id(each)] for each in classes]
    return Standby(
        replicas=np.array([row[0] for row in rows], dtype=np.float64),
        ratio=np.array([row[1] for row in rows], dtype=np.float64),
        quiet=np.array([row[2] for row in rows], dtype=np.bool_),
    )


def covers(hours: Hours, at_unix_s: float) -> bool:
    """Return whether a moment is within these hours."""
    now = datetime.fromtimestamp(at_unix_s, ZoneInfo(hours.timezone))
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    clock = now.time().replace(tzinfo=None)
    today = DAYS[now.weekday()] in hours.days
    if start < end:
        return today and start <= clock < end
    yesterday = DAYS[(now - timedelta(days=1)).weekday()] in hours.days
    return (today and clock >= start) or (yesterday and clock < end)


def _of(service_class: ServiceClass, at_unix_s: float) -> tuple[float, float, bool]:
    if any(covers(hours, at_unix_s) for hours in service_class.quiet_hours):
        return 0.0, 0.0, True
    warm = service_class.warm
    for scheduled in service_class.schedules:
        if covers(scheduled, at_unix_s):
            warm = scheduled.warm
            break
    return float(warm.replicas), warm.percent / 100.0, False
