"""A cluster of emulated engines behind real HTTP listeners, in step with a clock.

Each replica has a port of its own from the moment it exists: `GET /metrics` answers 503
until it is ready. `GET /targets` on the discovery port lists them in the JSON of
Prometheus's http_sd. Engines run in simulated time up to the clock's: once per `tick_s`,
and before every answer, so that the host's jitter never enters a number.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

from aiohttp import web

from .cluster import Cluster
from .prometheus_text import CONTENT_TYPE
from .replica import Replica, ReplicaState

__all__ = ["Fleet", "WallClock"]

PORTS_TRIED = 100
SHUTDOWN_S = 1.0

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class WallClock(Protocol):
    """What the fleet needs of time."""

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards; the engines' time."""
        ...

    def unix_s(self) -> float:
        """Return wall-clock seconds, for the timestamps on a page."""
        ...


@dataclass(slots=True)
class _Listener:
    """A replica's port, bound at once, and its HTTP server, which follows."""

    replica: Replica
    listening: socket.socket
    port: int
    runner: web.AppRunner | None = None

    async def close(self) -> None:
        """Stop serving, and free the port in any case."""
        if self.runner is not None:
            await self.runner.cleanup()
        self.listening.close()


class Fleet:
    """Serves a cluster on `host`. Use as an async context manager, or start and stop it.

    `first_port` is where the replicas' ports begin, each new replica taking the next one
    that is free; None takes any. `discovery_port` 0 takes any, too.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: WallClock,
        *,
        host: str = "127.0.0.1",
        first_port: int | None = None,
        discovery_port: int = 0,
        tick_s: float = 0.05,
    ) -> None:
        self.cluster = cluster
        self._clock = clock
        self._host = host
        self._next_port = first_port
        self._discovery_port = discovery_port
        self._tick_s = tick_s
        self._listeners: dict[str, _Listener] = {}
        self._discovery: web.AppRunner | None = None
        self._running: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._stopping = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def targets_url(self) -> str:
        """Where the targets are listed, once started."""
        return f"http://{self._host}:{self._discovery_port}/targets"

    async def start(self) -> None:
        """Open the listeners and let time run."""
        self._stopping = False
        listening = _bind(self._host, self._discovery_port)
        self._discovery_port = listening.getsockname()[1]
        self._discovery = await _serve(listening, "/targets", self._answer_targets)
        await self._follow()
        self._running = asyncio.create_task(self._run(), name="fleet")

    async def stop(self) -> None:
        """Close everything; a failure of the fleet while it ran is raised here."""
        running, self._running = self._running, None
        self._stopping = True
        self._wake.set()
        try:
            if running is not None:
                await running
        finally:
            await self._close()

    def set_replicas(self, variant: str, count: int) -> None:
        """Start or drain replicas of a variant; new ones are listed, with their port, at once."""
        self.cluster.advance(self._clock.monotonic_s())
        self.cluster.set_replicas(variant, count)
        self._bind_new()
        self._wake.set()

    def targets(self) -> list[dict[str, Any]]:
        """Return the discovery document: a group per replica."""
        return [
            {
                "targets": [f"{self._host}:{listener.port}"],
                "labels": {
                    "namespace": replica.variant.namespace,
                    "variant": replica.variant.name,
                    "replica": replica.name,
                    "state": str(replica.state),
                },
            }
            for replica in self.cluster.replicas
            if (listener := self._listeners.get(replica.name)) is not None
        ]

    async def _run(self) -> None:
        while not self._stopping:
            await self._follow()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._tick_s)

    async def _follow(self) -> None:
        """Let time pass, serve new replicas and close the ports of those that are gone."""
        self.cluster.advance(self._clock.monotonic_s())
        self._bind_new()
        there = {replica.name for replica in self.cluster.replicas}
        for name, listener in list(self._listeners.items()):
            if name not in there:
                await self._listeners.pop(name).close()
            elif listener.runner is None:
                answer = partial(self._answer_metrics, listener.replica)
                listener.runner = await _serve(listener.listening, "/metrics", answer)

    def _bind_new(self) -> None:
        for replica in self.cluster.replicas:
            if replica.name not in self._listeners:
                listening = _bind(self._host, self._next_port or 0, tries=PORTS_TRIED)
                port = listening.getsockname()[1]
                self._listeners[replica.name] = _Listener(replica, listening, port)
                if self._next_port is not None:
                    self._next_port = port + 1

    async def _close(self) -> None:
        listeners = list(self._listeners.values())
        discovery, self._discovery = self._discovery, None
        self._listeners.clear()
        await asyncio.gather(*(listener.close() for listener in listeners))
        if discovery is not None:
            await discovery.cleanup()

    async def _answer_metrics(self, replica: Replica, _: web.Request) -> web.Response:
        now_s = self._clock.monotonic_s()
        self.cluster.advance(now_s)
        if replica.state in {ReplicaState.STARTING, ReplicaState.STOPPED}:
            return web.Response(status=503, text=f"{replica.name} is {replica.state}\n")
        page = replica.metrics_page(unix_offset_s=self._clock.unix_s() - now_s)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def _answer_targets(self, _: web.Request) -> web.Response:
        self.cluster.advance(self._clock.monotonic_s())
        return web.json_response(self.targets())


def _bind(host: str, port: int, *, tries: int = 1) -> socket.socket:
    """Return a listening socket on the first of `tries` ports that is free."""
    try:
        return socket.create_server((host, port))
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE or tries <= 1:
            raise
    return _bind(host, port + 1, tries=tries - 1)


async def _serve(listening: socket.socket, path: str, handler: Handler) -> web.AppRunner:
    app = web.Application()
    app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner
