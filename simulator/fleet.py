"""A cluster of emulated engines behind real HTTP listeners, in step with a clock.

Each replica has a port of its own from the moment it exists: it answers 503 until it is
ready, then `GET /metrics`. `GET /targets` on the discovery port lists them in the JSON of
Prometheus's http_sd. Engines run in simulated time up to the clock's: once per `tick_s`,
and before every answer, so that the host's jitter never enters a number.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Listener:
    """A replica's HTTP server."""

    replica: Replica
    port: int
    runner: web.AppRunner


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
        self._lock = asyncio.Lock()
        self._discovery: web.AppRunner | None = None
        self._ticking: asyncio.Task[None] | None = None

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
        listening = _bind(self._host, self._discovery_port)
        self._discovery_port = listening.getsockname()[1]
        self._discovery = await _serve(listening, "/targets", self._answer_targets)
        await self._tick()
        self._ticking = asyncio.create_task(self._run(), name="fleet")

    async def stop(self) -> None:
        """Close everything; a failure of the fleet while it ran is raised here."""
        ticking, self._ticking = self._ticking, None
        try:
            if ticking is not None:
                ticking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ticking
        finally:
            await self._close()

    async def _close(self) -> None:
        runners = [listener.runner for listener in self._listeners.values()]
        if self._discovery is not None:
            runners.append(self._discovery)
        self._listeners.clear()
        self._discovery = None
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    async def set_replicas(self, variant: str, count: int) -> None:
        """Start or drain replicas of a variant; their listeners follow at once."""
        self.cluster.advance(self._clock.monotonic_s())
        self.cluster.set_replicas(variant, count)
        await self._follow()

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
        while True:
            await asyncio.sleep(self._tick_s)
            await self._tick()

    async def _tick(self) -> None:
        self.cluster.advance(self._clock.monotonic_s())
        await self._follow()

    async def _follow(self) -> None:
        """Open listeners for replicas that are new, close those of replicas that are gone."""
        async with self._lock:
            there = {replica.name: replica for replica in self.cluster.replicas}
            for name, replica in there.items():
                if name not in self._listeners:
                    self._listeners[name] = await self._listen(replica)
            gone = [self._listeners.pop(name) for name in self._listeners.keys() - there.keys()]
            await asyncio.gather(*(listener.runner.cleanup() for listener in gone))

    async def _listen(self, replica: Replica) -> _Listener:
        listening = _bind(self._host, self._next_port or 0, tries=PORTS_TRIED)
        port = listening.getsockname()[1]
        if self._next_port is not None:
            self._next_port = port + 1

        async def answer_metrics(_: web.Request) -> web.Response:
            return self._answer_metrics(replica)

        return _Listener(replica, port, await _serve(listening, "/metrics", answer_metrics))

    def _answer_metrics(self, replica: Replica) -> web.Response:
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
