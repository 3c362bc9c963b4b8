"""One replica's part in deciding: runs the loop while it leads, follows while it doesn't.

At the end it hands over in order: the loop has stopped, its last state is kept, then
somebody else may lead.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from .clock import Clock
from .keeper import StateKeeper
from .role import Role, play
from .store import Store
from .supervisor import LoopProcess, supervise

__all__ = ["Deciding"]

Work = Coroutine[Any, Any, None]


class Deciding:
    """Decides or follows.

    Parameters
    ----------
    role : Role
        Says which.
    loop : LoopProcess
    store, keeper, clock
        Of this replica.
    tick_failed : callable
        Told of each tick that came to no decision.
    follow : callable
        Gives the work of following, which has no end of its own.
    """

    def __init__(
        self,
        role: Role,
        loop: LoopProcess,
        store: Store,
        keeper: StateKeeper,
        clock: Clock,
        *,
        tick_failed: Callable[[], None],
        follow: Callable[[], Work],
    ) -> None:
        self._role, self._loop = role, loop
        self._store, self._keeper, self._clock = store, keeper, clock
        self._tick_failed = tick_failed
        self._following = follow

    async def run(self, stop: asyncio.Event) -> None:
        """Play the part until `stop` is set, then hand over."""
        try:
            await play(self._role, lead=self._lead, follow=self._follow, stop=stop)
            if self._role.leads():
                await self._keeper.save()
        finally:
            await self._role.release()
            await self._loop.close()

    async def _lead(self, over: asyncio.Event) -> None:
        await supervise(
            self._loop,
            self._store,
            self._keeper,
            self._clock,
            over,
            leads=self._role.leads,
            tick_failed=self._tick_failed,
        )

    async def _follow(self, over: asyncio.Event) -> None:
        await self._loop.stand_by()
        work = asyncio.ensure_future(self._following())
        ending = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
