"""Time, as something that is passed in."""

import contextlib
import time
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "ShiftedClock", "SystemClock", "boot_id"]


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


class ShiftedClock:
    """A clock that is ahead of another: a decision's clock goes on where it was stopped."""

    def __init__(self, clock: Clock, *, ahead_s: float) -> None:
        self._clock = clock
        self.ahead_s = ahead_s

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s() + self.ahead_s

    def unix_s(self) -> float:
        return self._clock.unix_s()


def boot_id() -> str:
    """Return what names this machine's last start, "" where that can't be told.

    Monotonic clocks of one boot are one clock, also over processes.
    """
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
