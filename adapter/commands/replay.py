"""`wva replay`: a workload under one policy or several, in simulated time.

The same requests, cluster and seeds for every policy. WVA decides with its own code; what
surrounds it (engines, pods, HPA, KEDA) is the simulator's.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adapter.errors import ConfigError
from optimizer import InvalidInputError
from simulator.compiled import has_numba
from simulator.policies.table import BOUNDS, GRIDS
from simulator.scenario import Scenario, load_scenario, shipped_scenarios
from simulator.summary import Summary

from .replay_plots import Plots
from .replay_report import write_report
from .replay_runs import CLAIRVOYANT, Job, Strain, best_of, known_policies, raise_headroom, run_jobs
from .replay_settings import replay_settings
from .replay_table import as_json, build_table

__all__ = ["run"]

REPORT = "report.html"
LATEST_METRICS_S = 600.0
# Of the table in a file or a pipe.
PLAIN_WIDTH = 120
DEFAULT_POLICIES = ("wva", "hpa-kv", "static")


def run(options: argparse.Namespace) -> int:
    """Replay and print; exit with 2 where the scenario or a name is wrong."""
    if options.list:
        _list()
        return 0
    if options.scenario is None:
        raise ConfigError("name a scenario: a file, or one of `wva replay --list`")
    scenario = _scenario(options.scenario)
    policies = tuple(dict.fromkeys(options.policy or DEFAULT_POLICIES))
    _check_names(policies, options)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    console = Console(stderr=options.json)
    if not console.is_terminal:
        console = Console(stderr=options.json, width=PLAIN_WIDTH)
    if not has_numba():
        console.print("numba isn't installed: this will be slow; pip install 'wva-adapter[sim]'")
    results, frontier = _replay(scenario, policies, seeds, options, console)
    document = as_json(
        scenario.name,
        seeds,
        results,
        settings_sha256=settings_sha256(scenario),
        frontier=frontier,
    )
    document["strain"] = asdict(_strain(options))
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        console.print(build_table(f"{scenario.name}, {len(seeds)} seeds", results))
    if options.out is not None:
        plots = Plots(scenario=scenario, results=results, frontier=frontier)
        _write(options.out, document, plots, seeds)
        console.print(f"report: {options.out / REPORT}", soft_wrap=True, highlight=False)
    return 0


def _write(folder: Path, document: dict[str, Any], plots: Plots, seeds: Sequence[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")
    sha256 = document["wva_settings_sha256"]
    write_report(folder / REPORT, plots, seeds=seeds, settings_sha256=sha256)


def settings_sha256(scenario: Scenario) -> str:
    """Return the hash of the settings that WVA replayed with."""
    text = replay_settings(scenario).model_dump_json()
    return hashlib.sha256(text.encode()).hexdigest()


def _scenario(name: str) -> Scenario:
    try:
        return load_scenario(name)
    except InvalidInputError as exc:
        raise ConfigError(str(exc)) from exc


def _check_names(policies: Sequence[str], options: argparse.Namespace) -> None:
    known = known_policies()
    for name in policies:
        if name not in known:
            raise ConfigError(f"--policy {name}: known are {', '.join(known)}")
    for name in options.grid or ():
        if name not in GRIDS:
            raise ConfigError(f"--grid {name}: there are grids for {', '.join(GRIDS)}")
    if options.seeds < 1:
        raise ConfigError(f"--seeds {options.seeds}: at least 1")
    if not 0.0 <= options.scrape_loss < 1.0:
        raise ConfigError(f"--scrape-loss {options.scrape_loss:g}: a share, 0 or more and below 1")
    if not 0.0 <= options.metrics_late <= LATEST_METRICS_S:
        raise ConfigError(
            f"--metrics-late {options.metrics_late:g}: must be 0 to {LATEST_METRICS_S:g} seconds"
        )
    for flag in ("profile_factor", "cold_start_factor"):
        if not 0.1 <= getattr(options, flag) <= 10.0:
            name = flag.replace("_", "-")
            raise ConfigError(f"--{name} {getattr(options, flag):g}: must be 0.1 to 10")


def _strain(options: argparse.Namespace) -> Strain:
    return Strain(
        profile_factor=options.profile_factor,
        cold_start_factor=options.cold_start_factor,
        scrape_loss_ratio=options.scrape_loss,
        metrics_late_s=options.metrics_late,
    )


def _replay(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    options: argparse.Namespace,
    console: Console,
) -> tuple[dict[str, list[Summary]], list[tuple[float, float]]]:
    strain = _strain(options)
    jobs = [
        Job(scenario=scenario, policy=policy, seed=seed, strain=strain)
        for policy in policies
        if policy not in BOUNDS
        for seed in seeds
    ]
    jobs += [
        Job(scenario=scenario, policy=policy, seed=seed, setting=setting, strain=strain)
        for policy in options.grid or ()
        for setting in GRIDS[policy]
        for seed in seeds
    ]
    workers = options.jobs or os.cpu_count() or 1
    results: dict[str, list[Summary]] = {}
    frontier: list[tuple[float, float]] = []
    with _progress(console) as progress:
        task = progress.add_task(scenario.name, total=len(jobs))
        for summary in run_jobs(jobs, workers=workers, done=lambda _: progress.advance(task)):
            results.setdefault(summary.policy, []).append(summary)
        for bound in (policy for policy in policies if policy in BOUNDS):
            task = progress.add_task(bound, total=None)
            steps = raise_headroom(
                scenario,
                bound,
                seeds,
                workers=workers,
                done=lambda _, task=task: progress.advance(task),  # type: ignore[misc]
                strain=strain,
            )
            progress.update(task, total=len(steps) * len(seeds))
            results[bound] = best_of(steps).runs
            if bound == CLAIRVOYANT:
                frontier = [(step.cost, step.attainment) for step in steps]
    return results, frontier


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _list() -> None:
    console = Console()
    console.print("[bold]scenarios[/bold]")
    for name in shipped_scenarios():
        console.print(f"  {name:18} {load_scenario(name).about}", highlight=False)
    console.print("[bold]policies[/bold]")
    for name, about in known_policies().items():
        console.print(f"  {name:18} {about}", highlight=False)
