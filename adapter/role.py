"""Which part this replica plays: one leads and decides, the others follow and serve.

Without other replicas there is no election: the one there is leads.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["Alone", "Role", "play"]

# Does its part until the event is set.
Part = Callable[[asyncio.Event], Awaitable[None]]


class Role(Protocol):
    """What decides who leads."""

    def leads(self) -> bool:
        """Return whether this replica leads at this moment."""
        ...

    @property
    def elected(self) -> bool:
        """Return whether it led when that was last looked at: what `until` waits for."""
        ...

    async def until(self, *, leads: bool) -> None:
        """Wait until this replica leads, or no longer does."""
        ...

    async def release(self) -> None:
        """Stop leading, and let others lead."""
        ...


class Alone:
    """Leads always."""

    elected = True

    def leads(self) -> bool:
        return True

    async def until(self, *, leads: bool) -> None:
        if not leads:
            await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing: nobody waits."""


async def play(role: Role, *, lead: Part, follow: Part, stop: asyncio.Event) -> None:
    """Play the part that is this replica's, until `stop` is set."""
    while not stop.is_set():
        leading, over = role.elected, asyncio.Event()
        part = asyncio.ensure_future((lead if leading else follow)(over))
        ends = [
            asyncio.ensure_future(stop.wait()),
            asyncio.ensure_future(role.until(leads=not leading)),
        ]
        try:
            await asyncio.wait([part, *ends], return_when=asyncio.FIRST_COMPLETED)
            over.set()
            await part
        finally:
            for each in (part, *ends):
                each.cancel()
