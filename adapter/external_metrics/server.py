"""The server: uvicorn with its fast parser, our TLS context, and nobody's signals.

Whoever runs it owns the signals: `stop()` ends `serve()`, after requests that are under
way have been answered.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from ..errors import ConfigError
from .protocol import ApiProtocol

__all__ = ["ApiServer"]

# Longer than Go's clients keep idle connections (90 s): the client closes first, so that no
# request meets a connection that is just being closed.
KEEP_ALIVE_S = 120
DRAIN_S = 20
BACKLOG = 2048


class ApiServer:
    """Listens from construction on; `address` is where. Plain HTTP without a context.

    Raises
    ------
    ConfigError
        If the address can't be listened on.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, context: ssl.SSLContext | None
    ) -> None:
        self._socket = _listen(host, port)
        bound_host, bound_port, *_ = self._socket.getsockname()
        self.address: tuple[str, int] = (bound_host, bound_port)
        config = uvicorn.Config(
            app,
            http=ApiProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        config.load()
        config.ssl = context
        self._server = _SignalFreeServer(config)

    async def serve(self) -> None:
        """Serve until `stop`, then finish the requests that are under way."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            # Already done after a `stop`, not after a cancellation.
            for server in getattr(self._server, "servers", ()):
                server.close()
            self._socket.close()

    def stop(self) -> None:
        """Make `serve` end; more than once does no harm."""
        self._server.should_exit = True


class _SignalFreeServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would take them and raise them again at the end."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        raise ConfigError(
            f"can't listen on {host}:{port}: {exc}; choose another host or port in the settings"
        ) from exc
