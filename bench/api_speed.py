"""The external metrics API under load: requests per core-second, and latency at a pace.

1,000 variants over TLS keep-alive, authentication on as through the aggregator (front-proxy
certificate, groups in headers, permission reviewed and cached). The client lives in this
process, the server in its own, and ticks of 1,000 variants in a third, as in the adapter.
A request's latency counts from when it was due, not from when it could be sent.
"""

import asyncio
import json
import multiprocessing
import multiprocessing.connection
import random
import ssl
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

import httptools
import numpy as np
import uvloop

from adapter.clock import Clock, SystemClock
from adapter.config import ApiSettings
from adapter.errors import AdapterError
from adapter.external_metrics.access import Authorizer
from adapter.external_metrics.api import create_api
from adapter.external_metrics.auth import Authenticator
from adapter.external_metrics.gate import KubernetesGuard
from adapter.external_metrics.request import API_PREFIX
from adapter.external_metrics.server import ApiServer
from adapter.external_metrics.trust import TrustKeeper
from adapter.frames import encode_frame, read_frame
from adapter.publish import SERVED_METRICS
from adapter.records import Publication
from adapter.store import Store
from adapter.tls import ServingTls
from bench.report import Row, run_bench
from tests.helpers.pki import TestAuthority
from tests.helpers.publications import publication_of
from tests.helpers.reviewer import FakeReviewer, trust_data

VARIANTS = 1_000
CONNECTIONS = 32
SATURATED_S = 8.0
PACED_S = 15.0
PACE_RPS = 1_000
TICK_S = 5.0
GOAL_RPS_PER_CORE = 4_000
GOAL_P99_S = 0.010

USER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
Feed = Callable[[Store, Clock], Awaitable[None]]


def request_bytes(variant: int) -> bytes:
    """Return HPA's request for one variant, as the aggregator passes it on."""
    path = f"{API_PREFIX}/namespaces/default/wva_desired_replicas"
    lines = (
        f"GET {path}?labelSelector=variant_name%3Dvariant-{variant} HTTP/1.1",
        "Host: localhost:8443",
        f"User-Agent: kube-controller-manager/v1.36.1 (linux/amd64) {USER}",
        "Accept: application/vnd.kubernetes.protobuf, */*",
        "Audit-Id: b882eee0-5805-44a4-a12f-e5630054bcb5",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: localhost:8443",
        "X-Forwarded-Proto: https",
        "X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id: JTI=2daa62b5",
        "X-Remote-Group: system:serviceaccounts",
        "X-Remote-Group: system:serviceaccounts:kube-system",
        "X-Remote-Group: system:authenticated",
        "X-Remote-Uid: 6c05b022-4e08-4207-b5ca-92f36783dc7d",
        f"X-Remote-User: {USER}",
        "Accept-Encoding: gzip",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def fleet_publication(sequence: int) -> Publication:
    """Return a decision about every variant."""
    desired = {f"default/variant-{i}": float(1 + (i + sequence) % 20) for i in range(VARIANTS)}
    details = {f"input.figure_{i}_rps": 12.5 for i in range(40)}
    return publication_of(
        desired, sequence=sequence, details=details, published_unix_s=time.time(), age_s=1.0
    )


async def swapping(store: Store, clock: Clock) -> None:
    """Put a new publication in, as it comes off the pipe, every tick."""
    frames = [encode_frame(fleet_publication(sequence)) for sequence in range(8)]
    while True:
        reader = asyncio.StreamReader()
        reader.feed_data(frames[store.sequence % len(frames)])
        frame = await read_frame(reader)
        assert frame is not None
        assert isinstance(frame.content, Publication)
        store.swap(frame.content, received_s=clock.monotonic_s())
        await asyncio.sleep(TICK_S)


async def ticking(store: Store, clock: Clock) -> None:
    """Run real ticks (analyze, plan, publish, encode) in a process of their own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from bench.api_speed import tick_forever; tick_forever()",
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        while (frame := await read_frame(child.stdout)) is not None:
            assert isinstance(frame.content, Publication)
            store.swap(frame.content, received_s=clock.monotonic_s())
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    raise AdapterError("the ticking process ended")


def tick_forever() -> None:
    """Decide about the fleet every few seconds, and write the frames to standard output."""
    from adapter.decide import DecisionMemory, decide
    from adapter.records import TickReport
    from bench.synthetic import fleet_catalog, fleet_snapshot

    catalog = fleet_catalog(VARIANTS)
    memory = DecisionMemory.empty()
    report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
    tick = 0
    while True:
        began = time.monotonic()
        snapshot = fleet_snapshot(catalog, replicas_each=5, taken_s=began, seed=tick)
        publication, memory = decide(snapshot, catalog, memory, report=report)
        sys.stdout.buffer.write(encode_frame(publication))
        sys.stdout.buffer.flush()
        tick += 1
        time.sleep(max(0.0, TICK_S - (time.monotonic() - began)))


def serve(pipe: multiprocessing.connection.Connection, feed: str, trust: dict[str, str]) -> None:
    """Run the server until the pipe says stop; answer each message with our CPU seconds."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, feed, trust))


async def _serve(
    pipe: multiprocessing.connection.Connection, feed: str, trust: dict[str, str]
) -> None:
    clock = SystemClock()
    store = Store(clock, metrics=SERVED_METRICS)
    tls = ServingTls(ApiSettings(host="127.0.0.1", port=0), state_dir=None, clock=clock)
    reviewer = FakeReviewer(trust)
    reviewer.allow(USER, "list", "*")
    keeper = TrustKeeper(reviewer, changed=tls.trust_clients)
    guard = KubernetesGuard(
        Authenticator(keeper, reviewer, clock=clock), Authorizer(reviewer, clock=clock)
    )
    counted = {"answers": 0}

    def observe(_kind: str, _status: int) -> None:
        counted["answers"] += 1

    app = create_api(
        store,
        clock=clock,
        guard=guard,
        checks=dict,
        adapter_version="0",
        observe=observe,
    )
    server = ApiServer(app, host="127.0.0.1", port=0, context=tls.context)
    module, _, name = feed.partition(":")
    source: Feed = getattr(import_module(module), name)
    tasks = [asyncio.ensure_future(keeper.run()), asyncio.ensure_future(source(store, clock))]
    first = asyncio.ensure_future(store.changed(0))
    await asyncio.wait({first, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()  # nothing to measure without publications

    def answer() -> None:
        if pipe.recv() == "stop":
            server.stop()
        pipe.send((time.process_time(), counted["answers"]))

    asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
    pipe.send((server.address[1], tls.bundle_pem.decode()))
    await server.serve()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request on it at a time."""

    def __init__(self, done: Callable[["Connection"], None]) -> None:
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.due_s = 0.0
        self.failures = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self.failures += 1
        self._done(self)


async def saturate(context: ssl.SSLContext, port: int, seconds: float) -> tuple[int, int]:
    """Keep every connection busy; return how many requests were answered, how many failed."""
    requests = [request_bytes(i) for i in range(VARIANTS)]
    end_s = time.monotonic() + seconds
    answered = 0
    idle = asyncio.Semaphore(0)

    def done(connection: Connection) -> None:
        nonlocal answered
        answered += 1
        if time.monotonic() < end_s:
            connection.transport.write(requests[answered % VARIANTS])
        else:
            idle.release()

    connections = await _connect(context, port, done)
    for i, connection in enumerate(connections):
        connection.transport.write(requests[i])
    for _ in connections:
        await idle.acquire()
    return answered, await _close(connections)


async def pace(
    context: ssl.SSLContext, port: int, seconds: float, rate_rps: float
) -> tuple[list[float], list[float], int]:
    """Send at a steady pace, whatever comes back.

    Returns each request's latency, how late this process itself woke for each (what the
    host's other work costs, part of the latency), and how many requests failed.
    """
    requests = [request_bytes(i) for i in range(VARIANTS)]
    latencies: list[float] = []
    lateness: list[float] = []
    free: deque[Connection] = deque()
    late: deque[float] = deque()

    def send(connection: Connection, due_s: float) -> None:
        connection.due_s = due_s
        connection.transport.write(requests[random.randrange(VARIANTS)])

    def done(connection: Connection) -> None:
        latencies.append(time.monotonic() - connection.due_s)
        if late:
            send(connection, late.popleft())
        else:
            free.append(connection)

    connections = await _connect(context, port, done)
    free.extend(connections)
    start_s = time.monotonic()
    total = int(seconds * rate_rps)
    for i in range(total):
        due_s = start_s + i / rate_rps
        wait_s = due_s - time.monotonic()
        if wait_s > 0.0005:
            await asyncio.sleep(wait_s)
        elif i % 16 == 0:
            await asyncio.sleep(0)
        lateness.append(time.monotonic() - due_s)
        if free:
            send(free.popleft(), due_s)
        else:
            late.append(due_s)
    while len(latencies) < total:
        await asyncio.sleep(0.01)
    return latencies, lateness, await _close(connections)


async def _connect(
    context: ssl.SSLContext, port: int, done: Callable[[Connection], None]
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: Connection(done), "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        for _ in range(CONNECTIONS)
    ]
    return [connection for _, connection in made]


async def _close(connections: list[Connection]) -> int:
    for connection in connections:
        connection.transport.close()
    await asyncio.sleep(0.05)
    return sum(connection.failures for connection in connections)


def measure(feed: str = "bench.api_speed:ticking") -> list[Row]:
    """Measure with publications from `feed`, a `module:coroutine` that swaps them in."""
    proxy_ca = TestAuthority("front-proxy-ca")
    proxy = proxy_ca.issue("front-proxy-client")
    trust = trust_data(
        front_proxy=proxy_ca.pem, clients=TestAuthority().pem, names=["front-proxy-client"]
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, feed, json.loads(json.dumps(trust))))
    process.start()
    theirs.close()  # so that we notice if the server ends
    try:
        port, bundle = ours.recv()
        client = ssl.create_default_context(cadata=bundle)
        with tempfile.TemporaryDirectory() as folder:
            proxy.load_into(client, Path(folder))
        return _measure(client, port, ours)
    finally:
        if process.is_alive():
            ours.send("stop")
        process.join(30)


def _measure(
    client: ssl.SSLContext, port: int, server: multiprocessing.connection.Connection
) -> list[Row]:
    def cpu_s() -> float:
        server.send("cpu")
        return float(server.recv()[0])

    uvloop.run(saturate(client, port, 1.0))  # every answer encoded, every cache warm
    before_s = cpu_s()
    answered, failed = uvloop.run(saturate(client, port, SATURATED_S))
    rate = answered / (cpu_s() - before_s)
    latencies, lateness, failed_paced = uvloop.run(pace(client, port, PACED_S, PACE_RPS))
    if failed or failed_paced:
        raise AdapterError(f"{failed + failed_paced} requests were not answered with 200")
    p50, p99, p999 = (float(q) for q in np.percentile(latencies, [50, 99, 99.9]))
    late_p99 = float(np.percentile(lateness, 99))
    command = "python -m bench api_speed"
    goal = f"goal: {GOAL_RPS_PER_CORE} or more"
    limit = f"goal: under {GOAL_P99_S * 1e3:.0f} ms"
    return [
        Row(
            name="API over TLS, requests per core-second",
            value=rate,
            unit="requests/s",
            baseline=goal,
            ratio=rate / GOAL_RPS_PER_CORE,
            command=command,
        ),
        *(
            Row(
                name=f"API {name} at {PACE_RPS} requests/s with ticks",
                value=value * 1e3,
                unit="ms",
                baseline=limit if name == "p99" else "-",
                ratio=value / GOAL_P99_S if name == "p99" else None,
                command=command,
            )
            for name, value in (("p50", p50), ("p99", p99), ("p99.9", p999))
        ),
        Row(
            name="of which the client itself was late, p99",
            value=late_p99 * 1e3,
            unit="ms",
            baseline="the host's other work",
            ratio=None,
            command=command,
        ),
    ]


if __name__ == "__main__":
    run_bench(measure)
