"""Scraping 1,000 engines: HTTP, parsing and windows, on one core. The engines are another process.

The answers are pages of a real vLLM's recorded ramp where the recording is here, each one other
than the last, so that every number has to be read.
"""

import asyncio
import gzip
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from adapter.clock import SystemClock
from adapter.collect import Collector
from adapter.config import Settings, parse_settings

from .report import Row, run_bench

RAMP = (
    Path(__file__).resolve().parents[2] / "shared" / "captures" / "vllm-ramp" / "scrapes.jsonl.gz"
)
ORIGINS = 1000
ROUNDS = 12
WANTED_PER_S = 1500.0
COMMAND = "python -m bench scrape_speed"


def pages() -> list[bytes]:
    """Return pages as engines answer them, in turn."""
    if RAMP.exists():
        with gzip.open(RAMP, "rt") as lines:
            return [json.loads(line)["body"].encode() for line in lines][60:90]
    return [_made_page(step) for step in range(30)]


def _made_page(step: int) -> bytes:
    """Return a page with vLLM's wanted series and as many others again."""
    label = 'engine="0",model_name="tiny/llama"'
    lines = [f"vllm:num_requests_running{{{label}}} {step % 7}.0"]
    lines += [f"vllm:num_requests_waiting{{{label}}} 0.0"]
    lines += [f"vllm:request_success_total{{{label}}} {100 * step}.0"]
    for name in (
        "time_to_first_token_seconds",
        "e2e_request_latency_seconds",
        "request_prompt_tokens",
    ):
        for bound in range(1, 24):
            count = 100 * step * bound // 24
            lines.append(f'vllm:{name}_bucket{{{label},le="{bound}.0"}} {count}.0')
        lines.append(f'vllm:{name}_bucket{{{label},le="+Inf"}} {100 * step}.0')
        lines += [f"vllm:{name}_count{{{label}}} {100 * step}.0", f"vllm:{name}_sum{{{label}}} 1.5"]
    return "\n".join([*lines, ""]).encode()


def respond() -> None:
    """Be the engines: print the ports, answer until standard input closes."""
    _more_files()
    answers = [_answer(body) for body in pages()]

    class Engine(asyncio.Protocol):
        transport: asyncio.Transport
        turn = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            del data
            self.turn = (self.turn + 1) % len(answers)
            self.transport.write(answers[self.turn])

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Engine, "127.0.0.1", 0) for _ in range(ORIGINS)]
        print(*[server.sockets[0].getsockname()[1] for server in servers], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)

    asyncio.run(serve())


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _more_files() -> None:
    """Allow as many sockets as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure() -> list[Row]:
    """Measure scrapes per second of processor time, connections kept."""
    _more_files()
    command = [sys.executable, "-m", "bench.scrape_speed", "--respond"]
    engines = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert engines.stdin is not None
    assert engines.stdout is not None
    try:
        ports = engines.stdout.readline().split()
        rates = asyncio.run(_scrape(_settings(ports)))
    finally:
        engines.stdin.close()
        engines.wait(timeout=10)
        engines.stdout.close()
    best, typical = max(rates), sorted(rates)[len(rates) // 2]
    unit, baseline = "scrapes/core-s", f"wanted: {WANTED_PER_S:.0f}"
    return [
        Row(
            name=f"scrapes, {ORIGINS} engines, {kind} of {ROUNDS} rounds",
            value=value,
            unit=unit,
            baseline=baseline,
            ratio=value / WANTED_PER_S,
            command=COMMAND,
        )
        for kind, value in (("best", best), ("median", typical))
    ]


def _settings(ports: list[str]) -> Settings:
    endpoints = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
    return parse_settings(
        f"interval_s: 30\nsources: {{scrape: {{window_s: 60}}}}\nmodels: {{tiny/llama: {{}}}}\nvariants: [{{name: a, model: tiny/llama, "
        f"accelerator: L40S, max_replicas: {ORIGINS}, endpoints: [{endpoints}]}}]"
    )


async def _scrape(settings: Settings) -> list[float]:
    collector = Collector(settings, SystemClock())
    await collector.start()
    rates = []
    await collector.collect()  # connects
    for _ in range(ROUNDS):
        began = time.process_time()
        snapshot = await collector.collect()
        rates.append(len(snapshot.replica_id) / (time.process_time() - began))
        if snapshot.faults:
            raise RuntimeError(f"a scrape failed: {snapshot.faults[0].message}")
    await collector.stop()
    return rates


if __name__ == "__main__":
    if "--respond" in sys.argv:
        respond()
    else:
        run_bench(measure)
