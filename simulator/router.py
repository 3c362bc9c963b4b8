"""Which ready replica a request goes to. State and randomness are the caller's to pass in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["Backend", "EqualPerReplica", "LeastLoaded", "RoundRobin", "Router"]


class Backend(Protocol):
    """What a router knows of a replica."""

    @property
    def name(self) -> str:
        """The replica's name, which stays."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests it has been sent that have not ended."""
        ...

    @property
    def weight(self) -> float:
        """How much it can hold, against the others."""
        ...


class Router(Protocol):
    """A routing law."""

    def choose(self, backends: Sequence[Backend]) -> int:
        """Return the index of the one that takes the next request; there is at least one."""
        ...


@dataclass(slots=True)
class RoundRobin:
    """One after the other, in the order given, whatever comes and goes."""

    _latest: str = ""

    def choose(self, backends: Sequence[Backend]) -> int:
        """Return the one after the latest by name."""
        names = [backend.name for backend in backends]
        chosen = (names.index(self._latest) + 1) % len(names) if self._latest in names else 0
        self._latest = names[chosen]
        return chosen


@dataclass(slots=True)
class EqualPerReplica:
    """Each replica with the same probability: what a plain Service does."""

    random: np.random.Generator

    def choose(self, backends: Sequence[Backend]) -> int:
        """Return any of them."""
        return int(self.random.integers(len(backends)))


@dataclass(slots=True)
class LeastLoaded:
    """The one with the fewest requests in flight for its weight; equals take turns."""

    _latest: str = ""

    def choose(self, backends: Sequence[Backend]) -> int:
        """Return the one that is least loaded once the request is there."""
        count = len(backends)
        names = [backend.name for backend in backends]
        first = names.index(self._latest) + 1 if self._latest in names else 0
        turns = [(first + step) % count for step in range(count)]
        chosen = min(turns, key=lambda at: (backends[at].in_flight + 1) / backends[at].weight)
        self._latest = names[chosen]
        return chosen
