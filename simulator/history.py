"""What a world writes down as it goes: who asked for what, counts of moments, what was taken."""

from dataclasses import dataclass

__all__ = ["Action", "Sample", "Usage"]


@dataclass(frozen=True, slots=True)
class Action:
    """A change of a variant's count that somebody asked for."""

    at_s: float
    variant: int
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counts of a moment, per variant, and what waits at each gateway."""

    at_s: float
    wanted: tuple[int, ...]
    ready: tuple[int, ...]
    queued: tuple[int, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Usage:
    """What a variant's pods took so far, in replica-seconds."""

    wanted_s: float = 0.0
    held_s: float = 0.0  # accelerators held: starting and draining pods, too
    busy_s: float = 0.0
    most: int = 0

    def since(self, before: "Usage") -> "Usage":
        """Return what was taken after `before`; the most stays that of all the time."""
        return Usage(
            wanted_s=self.wanted_s - before.wanted_s,
            held_s=self.held_s - before.held_s,
            busy_s=self.busy_s - before.busy_s,
            most=self.most,
        )
