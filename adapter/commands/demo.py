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
import tempfile
from pathlib import Path

from rich.console import Console
from rich.live import Live

from adapter.errors import ConfigError
from optimizer import InvalidInputError
from simulator.demo_scenario import demo
from simulator.replica import ReplicaState

from .demo_stage import Stage, staged
from .demo_summary import Excuse, Summary, summarize
from .demo_table import Row, build_table, plain_line

__all__ = ["run"]

SHOW_S = 0.5
PLAIN_SHOW_S = 5.0
SETTLE_S = 10.0  # the first window of 10 s is start-up
TICK_S = 1.0
FINISH_S = 120.0


def run(options: argparse.Namespace) -> int:
    """Run the demo and print its summary; a duration that is too short exits with 2."""
    try:
        demo(options.duration)
    except InvalidInputError as exc:
        raise ConfigError(f"--duration: {exc}") from exc
    return asyncio.run(_demo(options))


async def _demo(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="wva-demo-") as folder:
        async with staged(options, Path(folder), stop) as stage:
            console = Console(stderr=options.json)
            console.print(
                f"Try it from another terminal:\n  {stage.curl}\n"
                f"or in a browser (the certificate is self-made):\n  {stage.dashboard}\n",
                soft_wrap=True,
            )
            value = await _play(stage, options, console)
            seconds = stage.elapsed_s
            await stage.fleet.stop()
            # Engines keep their own time: what is in flight is seen to its end at once.
            stage.fleet.cluster.finish(within_s=FINISH_S)
            summary = _summary(stage, value, seconds)
    if options.json:
        print(json.dumps(summary.to_json(), indent=2))
    else:
        console.print("\n".join(["", *summary.lines()]), soft_wrap=True, highlight=False)
    return 0


async def _play(stage: Stage, options: argparse.Namespace, console: Console) -> str | None:
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


async def _watch(stage: Stage) -> None:
    """Keep the totals and the explanations up to date."""
    price = stage.prices
    last_s = stage.clock.monotonic_s()
    while True:
        now_s = stage.clock.monotonic_s()
        counts = {name: stage.fleet.cluster.count(name) for name in price}
        stage.totals.observe(counts, price, now_s - last_s)
        last_s = now_s
        for name in price:
            stage.explanations[name] = await stage.autoscaler.explanation(name)
        await asyncio.sleep(SHOW_S)


async def _show(stage: Stage, console: Console) -> None:
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


def _phase(stage: Stage) -> str:
    at_s = stage.elapsed_s
    burst = stage.scenario.burst_start_s <= at_s <= stage.scenario.burst_end_s
    return ", burst" if burst else ""


def _rows(stage: Stage) -> list[Row]:
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


async def _check_curl(stage: Stage) -> str | None:
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


def _summary(stage: Stage, curl_value: str | None, seconds: float) -> Summary:
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
        price_per_hour=stage.prices,
        seconds=seconds,
        judged_from_s=stage.start_s + SETTLE_S,
        unanswered_reads=sum(s.failures for s in stage.autoscaler.scalings.values()),
        curl=stage.curl,
        curl_value=curl_value,
    )
