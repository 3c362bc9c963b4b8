"""A wire between the adapter and the API server that a test can cut."""

import asyncio
import contextlib
from typing import Self

from .daemons import free_port

__all__ = ["Wire"]


class Wire:
    """Carries TCP from a port of its own to the API server's, until it is cut."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("https://").rpartition(":")
        self._there = (host, int(port))
        self.url = f"https://127.0.0.1:{free_port()}"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Take connections (again)."""
        port = int(self.url.rpartition(":")[2])
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", port)

    async def cut(self) -> None:
        """Reset every connection in mid-air, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(*self._there)
            self._open |= {writer, there_writer}
            try:
                await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
            finally:
                for each in (writer, there_writer):
                    self._open.discard(each)
                    each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
