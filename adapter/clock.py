"""Time, as something that is passed in."""

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the adapter needs of time."""

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards, for ages and intervals."""
        ...

    def unix_s(self) -> float:
        """Return wall-clock seconds, for timestamps that people and HPA read."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def unix_s(self) -> float:
        return time.time()
