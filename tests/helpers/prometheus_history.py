"""Hours of Prometheus history in seconds: a simulated cluster, scraped, as a real server's blocks.

`promtool` makes the blocks and `prometheus` serves them, so whatever asks for the past asks the
real query engine.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import httpx

from adapter.collect.dialects import load_dialects, wanted_names
from simulator.closed_loop import PolicyFactory, Run, play
from simulator.exposition import Exposition
from simulator.policies.timetable import Timetable
from simulator.scenario import Scenario
from simulator.vllm_families import EngineMetrics, ServedModel
from simulator.world import World

__all__ = ["PROGRAMS", "record", "served"]

PROGRAMS = tuple(shutil.which(name) for name in ("prometheus", "promtool"))
START_TIMEOUT_S = 30.0


@dataclass
class Recorder:
    """Scrapes every pod that takes requests and writes what it shows, with its time."""

    file: TextIO
    start_unix_s: float
    names: frozenset[str]
    pages: dict[int, Exposition] = field(default_factory=dict)

    def take(self, world: World) -> None:
        stamp = f"{self.start_unix_s + world.now_s:.3f}"
        for row, spec in enumerate(world.variants):
            for pod in world.ready_pods(row):
                if pod.engine is None:
                    continue
                page = self.pages.get(pod.number)
                if page is None:
                    served = ServedModel(name=spec.model, max_model_len=spec.max_model_len)
                    page = self.pages[pod.number] = Exposition(
                        served,
                        spec.engine(queue_timeout_s=1.0),
                        start_unix_s=self.start_unix_s + pod.ready_s,
                    )
                text = page.render(EngineMetrics(engine=pod.engine, requests=pod.engine.requests))
                labels = f'namespace="llm",pod="{pod.name}",job="engines"'
                self._write(text.decode(), labels, stamp)

    def _write(self, text: str, labels: str, stamp: str) -> None:
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            name, _, inside = series.partition("{")
            if name in self.names:
                rest = f",{inside}" if inside else "}"
                self.file.write(f"{name}{{{labels}{rest} {value} {stamp}\n")


def record(
    scenario: Scenario,
    factory: PolicyFactory,
    path: Path,
    *,
    scrape_s: float,
    start_unix_s: float,
    seed: int = 7,
) -> Run:
    """Play a scenario and write what a Prometheus would have scraped, as OpenMetrics text."""
    wanted, facts = wanted_names(load_dialects())
    with path.open("w", encoding="utf-8") as file:
        recorder = Recorder(file, start_unix_s, frozenset({*wanted, *facts}))

        def scraped(world: World) -> Timetable:
            policy = factory(world)
            assert isinstance(policy, Timetable)
            policy.every(scrape_s, recorder.take, first_s=scrape_s)
            return policy

        run = play(scenario, "recorded", scraped, seed=seed)
        file.write("# EOF\n")
    return run


@contextlib.contextmanager
def served(openmetrics: Path, folder: Path) -> Iterator[str]:
    """Serve the history with a real Prometheus; yields its URL."""
    prometheus, promtool = PROGRAMS
    assert prometheus is not None
    assert promtool is not None
    blocks = folder / "blocks"
    blocks.mkdir()
    making = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(openmetrics), str(blocks)]
    subprocess.run(making, check=True, capture_output=True, timeout=120)
    config = folder / "prometheus.yaml"
    config.write_text("global: {scrape_interval: 15s}\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [
        f"--config.file={config}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([prometheus, *flags], stdout=log, stderr=log)
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{url} isn't ready within {START_TIMEOUT_S:.0f} s")
