"""A clock that a test moves."""

from dataclasses import dataclass


@dataclass
class ManualClock:
    """Both clocks in one: `advance` moves them together."""

    now_s: float = 1000.0
    unix_offset_s: float = 1.8e9

    def monotonic_s(self) -> float:
        return self.now_s

    def unix_s(self) -> float:
        return self.unix_offset_s + self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
