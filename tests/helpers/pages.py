"""A small HTTP server on the loopback whose answers, and misdeeds, a test decides."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Answer", "PageServer", "cut", "hang", "page", "reset"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What is sent for one request: the head and the bytes, as they are."""

    head: bytes
    body: bytes = b""
    hang: bool = False  # send nothing more, keep the connection
    abort: bool = False  # break the connection at once, with a reset


def page(
    body: str | bytes,
    status: str = "200 OK",
    content_type: str = TEXT,
    *,
    length: int | None = None,
    **headers: str,
) -> Answer:
    """Return an answer with a body and its true length (or a false one)."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}"]
    lines.append(f"Content-Length: {len(raw) if length is None else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Answer("\r\n".join([*lines, "", ""]).encode(), raw)


def hang() -> Answer:
    """Return the answer of a server that never answers."""
    return Answer(b"", hang=True)


def reset() -> Answer:
    """Return the answer of a server that resets the connection."""
    return Answer(b"", abort=True)


def cut(body: str | bytes) -> Answer:
    """Return the first half of a page, after which the connection ends."""
    raw = body.encode() if isinstance(body, str) else body
    whole = page(raw)
    return Answer(whole.head, raw[: len(raw) // 2])


Responder = Callable[[str, str, bytes], Answer | Awaitable[Answer]]


@dataclass
class PageServer:
    """Serves `respond(path, head, body)`; `answers` by path is the simple way."""

    answers: dict[str, Answer] = field(default_factory=dict)
    respond: Responder | None = None
    requests: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _writers: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"{'http' if self.tls is None else 'https'}://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers.values()):
            writer.transport.abort()
        await asyncio.gather(*self._writers)
        await self._server.wait_closed()

    async def stop(self) -> None:
        """Refuse connections from now on."""
        await self.__aexit__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            del self._writers[task]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1]
        self.requests.append(path)
        self.heads.append(head)
        length = next(
            (int(v) for k, _, v in (h.partition(":") for h in head.splitlines())
             if k.lower() == "content-length"), 0)  # fmt: skip
        body = await reader.readexactly(length) if length else b""
        answer = self.answers.get(path, page("not here\n", "404 Not Found"))
        if self.respond is not None:
            found = self.respond(path, head, body)
            answer = found if isinstance(found, Answer) else await found
        if answer.abort:
            writer.transport.abort()
            return False
        writer.write(answer.head + answer.body)
        await writer.drain()
        if answer.hang:
            await reader.read()
            return False
        declared = answer.head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        return bool(declared) and int(declared) == len(answer.body)
