"""HTTP/1.1 as uvicorn speaks it, plus the client's certificate and bounds on hostile peers.

uvicorn doesn't hand the TLS peer's certificate to the application, and it bounds neither
a request's head nor the time to send one: both are done here, on its httptools protocol.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .scope import CLIENT_CHAIN
from .wire import encode_status

__all__ = ["ApiProtocol"]

MAX_URL_BYTES = 16 * 1024
MAX_HEAD_BYTES = 128 * 1024  # a user may be in very many groups: a header line for each
HEAD_TIMEOUT_S = 15.0
MAX_CONNECTIONS = 4096
# A TLS connection is closed by both sides, but an idle client may never look.
CLOSE_PATIENCE_S = 1.0
CLOSE_TRIES = 20


class ApiProtocol(HttpToolsProtocol):
    """One connection."""

    # Also where connection_made was never reached.
    _chain: tuple[bytes, ...] = ()
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the peer's certificate from the finished handshake."""
        super().connection_made(_JoinedWrites(transport, self.loop))
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self._chain = _presented_chain(ssl_object)
        if len(self.connections) > MAX_CONNECTIONS:
            self.logger.warning("more than %d connections: one is closed", MAX_CONNECTIONS)
            transport.close()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the head that it belongs to is too long."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + MAX_URL_BYTES:
                self._refuse(431, f"the request's head is longer than {MAX_HEAD_BYTES} bytes")
                return
        super().data_received(data)
        if self._in_head and self._head_bytes and self._head_timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._in_head = True
        self.scope[CLIENT_CHAIN] = self._chain  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its URL is too long."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(
                414, f"the URL is {len(self.url)} bytes long, above the bound of {MAX_URL_BYTES}"
            )
            return
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request of the connection."""
        self._in_head = True
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer something that isn't HTTP; uvicorn calls it."""
        self._refuse(400, msg)

    def _refuse(self, code: int, message: str) -> None:
        """Answer with a Status and close: nothing after this can be told apart."""
        if self.transport.is_closing():
            return
        self._stop_timer()
        phrase = HTTPStatus(code).phrase
        body = encode_status(code, phrase.replace(" ", "").replace("-", ""), message)
        head = (
            f"HTTP/1.1 {code} {phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _JoinedWrites(asyncio.Transport):
    """Sends what is written in one turn of the loop as one piece.

    uvicorn writes an answer's head and body apart: over TLS two records, two system calls
    and two packets, which is a third of what an answer costs.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    def write(self, data: Any) -> None:
        """Keep `data` until the turn ends."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Send what is kept, then close; a peer that doesn't answer is not waited for."""
        if self._transport.is_closing():
            return  # asyncio's TLS transport can't be asked anything after a second close
        self._flush()
        self._transport.close()
        self._loop.call_later(CLOSE_PATIENCE_S, self._abandon, CLOSE_TRIES)

    def _abandon(self, tries: int) -> None:
        """End the connection without the peer, as soon as it has taken what was written."""
        if tries and self._transport.get_write_buffer_size():
            self._loop.call_later(CLOSE_PATIENCE_S, self._abandon, tries - 1)
        else:
            self._transport.abort()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if not self._transport.is_closing():
                self._transport.write(b"".join(pieces))


def _presented_chain(ssl_object: Any) -> tuple[bytes, ...]:
    """Return what the peer presented: with its intermediates from Python 3.13, else the leaf."""
    if hasattr(ssl_object, "get_unverified_chain"):
        return tuple(ssl_object.get_unverified_chain() or ())
    leaf = ssl_object.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()
