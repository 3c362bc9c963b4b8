"""Resident memory of the running adapter: 1,000 variants, 5,000 engines, everything on.

The adapter is `wva serve` as it is installed, with its loop's process; the engines are
listeners on addresses of 127.0.0.0/8 in one other process, each serving a full vLLM page.
The figure is the largest sum of RSS seen over some ticks, in which pages that both processes
share count twice; what a node really gives (PSS) is printed beside it.
"""

import asyncio
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from bench.report import Row, run_bench
from bench.synthetic import fleet_settings
from simulator.engine import EngineSpec
from simulator.exposition import Exposition
from simulator.live import LiveEngine
from simulator.request_histograms import RequestHistograms
from simulator.state import ITL_BOUNDS_S
from simulator.vllm_families import EngineMetrics, ServedModel

VARIANTS, REPLICAS_EACH = 1_000, 5
PORT = 18_000
SETTLE_S = 35.0
SAMPLES, SAMPLE_S = 20, 1.0  # more than a tick
BOUND_MIB = 300.0
INTERVAL_S = 15.0  # of scraping: this measures memory, and the engines share the machine


def page() -> bytes:
    """Return one engine's page after some requests."""
    spec = EngineSpec(iteration_base_s=0.01, decode_slope_s=2e-5, num_gpu_blocks=20_000)
    engine = LiveEngine(spec, start_s=0.0)
    requests = RequestHistograms(max_model_len=8192, itl_bounds_s=ITL_BOUNDS_S, ttft_constant_s=0.0)
    for key in range(50):
        engine.submit(key, arrival_s=0.1 * key, prompt_tokens=300 + key, output_tokens=50)
    for ended in engine.advance(10.0):
        requests.observe(ended)
    exposition = Exposition(ServedModel(name="model", max_model_len=8192), spec, start_unix_s=1.8e9)
    return exposition.render(EngineMetrics(engine=engine, requests=requests))


def address(replica: int) -> str:
    """Return the loopback address of a replica."""
    return f"127.1.{replica // 250}.{1 + replica % 250}"


class Engine(asyncio.Protocol):
    """Answers every request on a kept connection with the same page."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(Engine.answer)  # type: ignore[attr-defined]


def serve_engines(count: int, ready: "multiprocessing.synchronize.Event") -> None:
    """Listen as `count` engines until killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    body = page()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
    Engine.answer = head.encode() + body

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for replica in range(count):
            listening = socket.create_server((address(replica), PORT), backlog=4)
            await loop.create_server(Engine, sock=listening)
        ready.set()
        await asyncio.sleep(600)

    asyncio.run(run())


def settings_file(folder: Path) -> Path:
    """Write settings for the whole fleet and return their path."""
    declared = fleet_settings(VARIANTS).model_dump(mode="json", exclude_none=True)
    for index, variant in enumerate(declared["variants"]):
        first = index * REPLICAS_EACH
        variant["model"] = f"model-{index // 3}"
        variant["endpoints"] = [
            f"http://{address(replica)}:{PORT}" for replica in range(first, first + REPLICAS_EACH)
        ]
    for model in declared["models"].values():
        model["served_names"] = ["model"]
    declared |= {
        "interval_s": INTERVAL_S,
        "sources": {"scrape": {"interval_s": INTERVAL_S, "timeout_s": 10, "window_s": 60}},
        "state_dir": str(folder / "state"),
        "api": {"host": "127.0.0.1", "port": 18443, "auth": "none"},
        "keda": {"host": "127.0.0.1", "port": 16000},
        "health": {"host": "127.0.0.1", "port": 18080},
    }
    path = folder / "wva.yaml"
    path.write_text(yaml.safe_dump(declared))
    return path


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def resident_mib(pid: int, kind: str) -> float:
    """Return a process's resident memory: `Rss`, or `Pss`, in which shared pages count once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return float(line.split()[1]) / 1024
    return 0.0


def sample(pid: int) -> list[tuple[float, float]]:
    """Return PSS and RSS of a process and its descendants, in a while."""
    time.sleep(SAMPLE_S)
    return [(resident_mib(one, "Pss"), resident_mib(one, "Rss")) for one in tree(pid)]


def total_mib(parts: list[tuple[float, float]]) -> float:
    return sum(resident for _, resident in parts)


def reporting() -> int:
    """Return how many variants have a decision that rests on readings."""
    with urllib.request.urlopen("http://127.0.0.1:18080/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return sum(line.startswith("wva_desired_replicas{") for line in text.splitlines())


def measure() -> list[Row]:
    """Measure the memory of all processes of the adapter."""
    count = VARIANTS * REPLICAS_EACH
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    engines = context.Process(target=serve_engines, args=(count, ready), daemon=True)
    engines.start()
    if not ready.wait(120):
        raise RuntimeError("the engines did not start in 120 s")
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_file(Path(folder))
        adapter = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "adapter",
                "serve",
                "--settings",
                str(settings),
                "--log-level",
                "warning",
            ],
            env=os.environ,
        )
        try:
            time.sleep(SETTLE_S)
            decided = reporting()
            parts = max((sample(adapter.pid) for _ in range(SAMPLES)), key=total_mib)
            explained = urllib.request.urlopen("http://127.0.0.1:18080/readyz", timeout=20).status
        finally:
            adapter.terminate()
            adapter.wait(30)
            engines.kill()
    used = total_mib(parts)
    print(f"  readyz {explained}; PSS and RSS per process, MiB:")
    for name, (proportional, resident) in zip(("serving", "loop"), parts, strict=False):
        print(f"    {name}: {proportional:.0f}, {resident:.0f}")
    return [
        Row(
            name=f"memory, {decided} variants decided, {count} engines scraped",
            value=used,
            unit="MiB (RSS)",
            baseline=f"the bound of {BOUND_MIB:.0f} MiB",
            ratio=used / BOUND_MIB,
            holds=used <= BOUND_MIB,
            command="python -m bench memory",
        )
    ]


if __name__ == "__main__":
    run_bench(measure)
