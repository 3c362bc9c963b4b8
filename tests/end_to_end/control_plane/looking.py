"""Somebody who looks at something again and again beside a scenario."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

__all__ = ["Looking"]


class Looking:
    """Calls `look` every so often from `start` to `stop`, which lets the last look end.

    It isn't cancelled: a request that is, in the middle of its TLS handshake, leaves its socket
    open (httpcore closes it on errors, of which a cancellation is none). A look ends by itself,
    as its requests have timeouts.
    """

    def __init__(self, look: Callable[[], Awaitable[None]], *, every_s: float) -> None:
        self._look, self._every_s = look, every_s
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End after the look that is under way; what went wrong with one is raised here."""
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every_s)
