"""Where a saved state may be kept: what every such place can do."""

from typing import NamedTuple, Protocol

__all__ = ["KeptState", "StateStore"]


class KeptState(NamedTuple):
    """A state's bytes, and their age by whoever kept them; None: nobody there has a clock."""

    data: bytes
    age_s: float | None


class StateStore(Protocol):
    """A place that keeps the newest state."""

    @property
    def place(self) -> str:
        """Return where that is, for messages."""
        ...

    @property
    def spacing_s(self) -> float:
        """Return the least time between two copies. [s]"""
        ...

    async def load(self) -> KeptState | None:
        """Return what is kept, None if there is nothing; raise AdapterError if unreadable."""
        ...

    async def save(self, data: bytes) -> None:
        """Keep `data` instead of what was kept, whole or not at all; raise AdapterError."""
        ...
