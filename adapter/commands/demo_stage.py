"""The demo's stage: engines, the adapter as a process of its own, and the autoscaler.

The adapter runs as `wva serve` on a settings file written for it; it finds the engines
through http_sd and reads them over HTTP. Nothing is passed around that.
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapter.clock import SystemClock
from adapter.errors import AdapterError
from simulator.demo_scenario import DemoScenario, build_cluster, demo
from simulator.fleet import Fleet

from .demo_autoscaler import API, Autoscaler
from .demo_settings import HOST, Ports, choose_ports, demo_settings, write_settings
from .demo_summary import Totals

__all__ = ["NAMESPACE", "DemoError", "Stage", "staged"]

NAMESPACE = "default"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


class DemoError(AdapterError):
    """The demo's adapter didn't start or ended early; its log says why."""


@dataclass(slots=True)
class Stage:
    """What the parts of a running demo share."""

    scenario: DemoScenario
    fleet: Fleet
    autoscaler: Autoscaler
    clock: SystemClock
    start_s: float
    curl: str
    dashboard: str
    stop: asyncio.Event
    totals: Totals
    explanations: dict[str, dict[str, Any] | None]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first arrival could come."""
        return self.clock.monotonic_s() - self.start_s

    @property
    def prices(self) -> dict[str, float]:
        """Price of one replica of each variant per hour."""
        return {
            each.variant.name: self.scenario.cost_per_hour({each.variant.name: 1})
            for each in self.scenario.variants
        }


@asynccontextmanager
async def staged(
    options: argparse.Namespace, folder: Path, stop: asyncio.Event
) -> AsyncIterator[Stage]:
    """Start the engines, the adapter and the autoscaler; stop them whatever happens."""
    scenario, clock = demo(options.duration), SystemClock()
    start_s = clock.monotonic_s()
    random = np.random.default_rng(options.seed)
    cluster = build_cluster(scenario, random=random, start_s=start_s)
    log_path = options.log_file or folder / "adapter.log"
    async with Fleet(cluster, clock) as fleet:
        ports, settings_path = choose_ports(), folder / "wva.yaml"
        settings = demo_settings(
            scenario, ports, targets_url=fleet.targets_url, state_dir=folder / "state"
        )
        write_settings(settings_path, settings)
        async with _adapter(settings_path, log_path):
            ca_file = await _certificate(folder / "state" / "ca.crt", log_path, stop)
            context = ssl.create_default_context(cafile=ca_file)
            url = f"https://{HOST}:{ports.api}"
            autoscaler = Autoscaler(
                fleet,
                {each.variant.name: each.hpa for each in scenario.variants},
                namespace=NAMESPACE,
                url=url,
                context=context,
            )
            try:
                yield Stage(
                    scenario=scenario,
                    fleet=fleet,
                    autoscaler=autoscaler,
                    clock=clock,
                    start_s=start_s,
                    curl=_curl(ca_file, ports),
                    dashboard=f"https://{HOST}:{ports.api}/dashboard",
                    stop=stop,
                    totals=Totals(),
                    explanations={},
                )
            finally:
                await autoscaler.close()


@asynccontextmanager
async def _adapter(settings_path: Path, log_path: Path) -> AsyncIterator[None]:
    """Run `wva serve` until the block ends; its log goes to a file."""
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "adapter",
            "serve",
            "--settings",
            str(settings_path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _certificate(path: Path, log_path: Path, stop: asyncio.Event) -> Path:
    """Wait for the adapter's certificate authority, the first thing that it makes."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not path.exists():
        if stop.is_set():
            raise DemoError("interrupted before the adapter had started")
        if time.monotonic() > deadline_s:
            tail = log_path.read_text(errors="replace")[-2000:]
            raise DemoError(f"the adapter didn't start in {START_TIMEOUT_S:.0f} s:\n{tail}")
        await asyncio.sleep(0.05)
    return path


def _curl(ca_file: Path, ports: Ports) -> str:
    return (
        f"curl --cacert {ca_file} https://{HOST}:{ports.api}{API}/{NAMESPACE}/wva_desired_replicas"
    )
