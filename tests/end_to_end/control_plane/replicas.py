"""Several adapters for one cluster, behind one door, and who watches what comes through it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from .adapter_process import AdapterProcess
from .daemons import free_port
from .kube_api import ApiError, Kube, eventually, path_of
from .looking import Looking
from .objects import external_name
from .stage import Stage

__all__ = ["FrontDoor", "Reader", "Replicas", "replicated"]

SYSTEM = "wva-system"
COMPONENT = Path(__file__).resolve().parents[3] / "manifests" / "components" / "api-service"
LEASE = path_of("Lease", "wva", version="coordination.k8s.io/v1", namespace=SYSTEM)
BASE = "/apis/external.metrics.k8s.io/v1beta1/namespaces"


class FrontDoor:
    """What a Service is: connections go to a replica that listens, each to the next."""

    def __init__(self, ports: list[int]) -> None:
        self.port = free_port()
        self._ports = ports
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends = [writer]
        try:
            inner = await self._reached()
            if inner is not None:
                ends.append(inner[1])
                pumps = (_pump(reader, inner[1]), _pump(inner[0], writer))
                # Either side's end is the connection's: the API server opens another.
                await asyncio.wait(
                    [asyncio.ensure_future(each) for each in pumps],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except asyncio.CancelledError:
            pass  # the door closes; asyncio would log it as an error of the connection's
        finally:
            for each in ends:
                each.transport.abort()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await each.wait_closed()

    async def _reached(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to the next replica that listens."""
        for _ in range(len(self._ports)):
            self._ports.append(self._ports.pop(0))
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._ports[-1])
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()


@dataclass
class Reader:
    """Reads a variant's decision as HPA does, several times a second."""

    stage: Stage
    variant: str
    counts: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._looking = Looking(self._look, every_s=0.15)
        self._looking.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._looking.stop()

    def before(self, at_s: float) -> float:
        """Return the last count that was read before a moment."""
        return [count for read_s, count in self.counts if read_s < at_s][-1]

    def lowest(self, *, after_s: float) -> float:
        """Return the smallest count that was read since a moment."""
        return min(count for read_s, count in self.counts if read_s >= after_s)

    def failures_but_at(self, killed_s: float) -> list[str]:
        """Return the failures but of what a replica was answering when it was killed."""
        at_s = [(float(each.partition(" ")[0]), each) for each in self.failures]
        return [each for when_s, each in at_s if not 0.0 <= when_s - killed_s <= 0.5]

    async def _look(self) -> None:
        try:
            items = (await self.stage.metric())["items"]
            count = next(
                float(each["value"])
                for each in items
                if each["metricLabels"]["variant_name"] == self.variant
            )
            self.counts.append((time.monotonic(), count))
        except (ApiError, httpx.HTTPError, StopIteration) as exc:
            self.failures.append(f"{time.monotonic():.1f} {exc!r}")


@dataclass
class Replicas:
    """The adapters, and the door in front of them."""

    kube: Kube
    all: list[AdapterProcess]
    door: FrontDoor

    async def holder(self) -> AdapterProcess | None:
        """Return the replica that the Lease names, None for nobody that is here."""
        lease = await self.kube.find(LEASE)
        if lease is None or not lease["spec"].get("holderIdentity"):
            return None
        address = lease["metadata"]["annotations"]["wva.llm-d.ai/address"]
        return next((each for each in self.all if address.endswith(f":{each.port}")), None)

    async def leader(self, *, within_s: float = 30.0, other_than: Any = None) -> AdapterProcess:
        """Wait until a replica leads, and is not the one given; return it."""

        async def leading() -> AdapterProcess | None:
            found = await self.holder()
            if found is None or found is other_than or await gauge(found, "wva_leader") != 1.0:
                return None
            return found

        found = await eventually(leading, within_s=within_s, what="a replica leads")
        assert found is not None
        return found

    def others(self, one: AdapterProcess) -> list[AdapterProcess]:
        return [each for each in self.all if each is not one]


async def gauge(adapter: AdapterProcess, name: str) -> float | None:
    """Return a figure without labels from a replica's own /metrics, None while it is away."""
    url = f"http://127.0.0.1:{adapter.health_port}/metrics"
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            page = (await client.get(url)).text
    except httpx.HTTPError:
        return None
    values = [line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else None


@contextlib.asynccontextmanager
async def replicated(
    stage: Stage, count: int = 2, *, waits: bool = True, skews_s: tuple[int, ...] = ()
) -> AsyncIterator[Replicas]:
    """Start replicas of the stage's adapter (which must not have been started) and their door.

    `skews_s` sets their wall clocks wrong, by libfaketime.
    """
    world = stage.world
    for file in ("cluster-role.yaml", "cluster-role-binding.yaml"):
        await world.kube.apply(yaml.safe_load((COMPONENT / file).read_text(encoding="utf-8")))
    replicas: list[AdapterProcess] = []
    for number in range(count):
        folder = world.folder / f"replica-{number}"
        folder.mkdir()
        settings = json.loads(json.dumps(stage.adapter.settings))
        replicas.append(AdapterProcess(world.plane, world.kube, folder, settings))
    door = FrontDoor([each.port for each in replicas])
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(forget, world.kube)  # last: while they run they write again
        await stack.enter_async_context(door)
        await world.kube.apply(external_name(port=door.port))
        for each in replicas:
            each.settings["api"] |= {"manage_api_service": True, "service_port": door.port}
            each.settings |= {"high_availability": {"enabled": True}}
            stack.push_async_callback(each.stop)
            each.environment = skewed(skews_s[replicas.index(each)]) if skews_s else {}
            await each.start(registered=False)
        if waits:
            await replicas[0].available()
        yield Replicas(world.kube, replicas, door)


def skewed(seconds: int) -> dict[str, str]:
    """Return what makes a process read a wall clock that is wrong; monotonic time is right."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("libfaketime isn't installed: no wrong clocks")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{seconds:+d}s",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def forget(kube: Kube) -> None:
    """Remove what replicas share, so that the next scenario's begin anew."""
    await kube.delete(
        path_of(
            "APIService",
            "v1beta1.external.metrics.k8s.io",
            version="apiregistration.k8s.io/v1",
        )
    )
    await kube.delete(LEASE)
    await kube.delete(path_of("Secret", "wva-tls", namespace=SYSTEM))
    for number in range(16):
        await kube.delete(path_of("ConfigMap", f"wva-state-{number}", namespace=SYSTEM))
