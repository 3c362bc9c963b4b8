"""`wva demo`: emulated engines, the adapter unchanged, and a stand-in for HPA, in one command.

The adapter runs as `wva serve` in a process of its own, on a settings file that the demo
writes; it finds the engines through http_sd and reads them over HTTP. What it decides
comes back over its own HTTPS API. Nothing is passed around that.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live

from adapter.clock import SystemClock
from adapter.errors import AdapterError
from simulator.demo_scenario import DemoScenario, build_cluster, demo
from simulator.fleet import Fleet
from simulator.replica import ReplicaState

from .demo_autoscaler import API, Autoscaler
from .demo_settings import HOST, Ports, choose_ports, demo_settings, write_settings
from .demo_summary import Excuse, Summary, Totals, summarize
from .demo_table import Row, build_table, plain_line

__all__ = ["DemoError", "run"]

NAMESPACE = "default"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
SHOW_S = 0.5
PLAIN_SHOW_S = 5.0
SETTLE_S = 10.0  # the first window of 10 s is start-up
TICK_S = 2.0


class DemoError(AdapterError):
    """The demo's adapter didn't start or ended early; its log says why."""


def run(options: argparse.Namespace) -> int:
    """Run the demo and print its summary; 130 if it was interrupted before it began."""
    return asyncio.run(_demo(options))


@dataclass(slots=True)
class _Stage:
    """What the parts of a running demo share."""

    scenario: DemoScenario
    fleet: Fleet
    autoscaler: Autoscaler
    clock: SystemClock
    start_s: float
    curl: str
    url: str
    context: ssl.SSLContext
    stop: asyncio.Event
    totals: Totals
    explanations: dict[str, dict[str, Any] | None]

    @property
    def elapsed_s(self) -> float:
        return self.clock.monotonic_s() - self.start_s


async def _demo(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="wva-demo-") as folder:
        async with _staged(options, Path(folder), stop) as stage:
            console = Console(stderr=options.json)
            console.print(f"Try it from another terminal:\n  {stage.curl}\n", soft_wrap=True)
            value = await _play(stage, options, console)
            summary = _summary(stage, value)
    if options.json:
        print(json.dumps(summary.to_json(), indent=2))
    else:
        console.print("\n".join(["", *summary.lines()]), soft_wrap=True, highlight=False)
    return 0


@asynccontextmanager
async def _staged(
    options: argparse.Namespace, folder: Path, stop: asyncio.Event
) -> AsyncIterator[_Stage]:
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
                yield _Stage(
                    scenario=scenario,
                    fleet=fleet,
                    autoscaler=autoscaler,
                    clock=clock,
                    start_s=start_s,
                    curl=_curl(ca_file, ports),
                    url=url,
                    context=context,
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


async def _play(stage: _Stage, options: argparse.Namespace, console: Console) -> str | None:
    """Run until the duration is over or a signal comes; return what the curl line gave."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                stage.autoscaler.run(
                    sync_period_s=stage.scenario.hpa_sync_s, now_s=stage.clock.monotonic_s
                )
            ),
            group.create_task(_watch(stage)),
        ]
        if not options.json:
            tasks.append(group.create_task(_show(stage, console)))
        checking = group.create_task(_check_curl(stage))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stage.stop.wait(), stage.scenario.duration_s - stage.elapsed_s)
        checking.cancel()
        for task in tasks:
            task.cancel()
    return None if checking.cancelled() else checking.result()


async def _watch(stage: _Stage) -> None:
    """Keep the totals and the explanations up to date."""
    price = _prices(stage.scenario)
    last_s = stage.clock.monotonic_s()
    while True:
        now_s = stage.clock.monotonic_s()
        counts = {name: stage.fleet.cluster.count(name) for name in price}
        stage.totals.observe(counts, price, now_s - last_s)
        last_s = now_s
        for name in price:
            stage.explanations[name] = await stage.autoscaler.explanation(name)
        await asyncio.sleep(SHOW_S)


def _prices(scenario: DemoScenario) -> dict[str, float]:
    return {
        each.variant.name: scenario.cost_per_hour({each.variant.name: 1})
        for each in scenario.variants
    }


async def _show(stage: _Stage, console: Console) -> None:
    if not console.is_terminal:
        while True:
            for row in _rows(stage):
                console.print(plain_line(stage.elapsed_s, row), soft_wrap=True, highlight=False)
            await asyncio.sleep(PLAIN_SHOW_S)
    with Live(console=console, refresh_per_second=2) as live:
        while True:
            left_s = max(0.0, stage.scenario.duration_s - stage.elapsed_s)
            title = f"{stage.elapsed_s:.0f} s, {left_s:.0f} s to go{_phase(stage)}"
            live.update(build_table(title, _rows(stage), caption=stage.curl))
            await asyncio.sleep(SHOW_S)


def _phase(stage: _Stage) -> str:
    at_s = stage.elapsed_s
    burst = stage.scenario.burst_start_s <= at_s <= stage.scenario.burst_end_s
    return ", burst" if burst else ""


def _rows(stage: _Stage) -> list[Row]:
    cluster = stage.fleet.cluster
    return [
        {
            "variant": name,
            "ready": cluster.count(name, ReplicaState.READY),
            "starting": cluster.count(name, ReplicaState.STARTING),
            "metric": scaling.metric,
            "explanation": stage.explanations.get(name),
        }
        for name, scaling in stage.autoscaler.scalings.items()
    ]


def _curl(ca_file: Path, ports: Ports) -> str:
    return (
        f"curl --cacert {ca_file} https://{HOST}:{ports.api}{API}/{NAMESPACE}/wva_desired_replicas"
    )


async def _check_curl(stage: _Stage) -> str | None:
    """Run the printed line once a decision is there, as a person would."""
    name = next(iter(stage.autoscaler.scalings))
    while stage.explanations.get(name) is None:
        await asyncio.sleep(SHOW_S)
    try:
        process = await asyncio.create_subprocess_exec(
            *stage.curl.split(),
            "--silent",
            "--max-time",
            "5",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return None  # no curl on this machine: the line is for those who have it
    answer, _ = await process.communicate()
    try:
        items = json.loads(answer)["items"]
    except (ValueError, KeyError):
        return answer.decode(errors="replace")[:200]
    return ", ".join(f"{i['metricLabels']['variant_name']}={i['value']}" for i in items)


def _summary(stage: _Stage, curl_value: str | None) -> Summary:
    scenario = stage.scenario
    burst = Excuse(
        stage.start_s + scenario.burst_start_s,
        stage.start_s + scenario.burst_end_s + scenario.cold_start_s + TICK_S,
    )
    return summarize(
        attainment=stage.fleet.cluster.attainment,
        models=[model.name for model in scenario.models],
        excuses={model.name: [burst] for model in scenario.models},
        totals=stage.totals,
        price_per_hour=_prices(scenario),
        seconds=stage.elapsed_s,
        judged_from_s=stage.start_s + SETTLE_S,
        unanswered_reads=sum(s.failures for s in stage.autoscaler.scalings.values()),
        curl=stage.curl,
        curl_value=curl_value,
    )
