"""The runs behind docs/proof.md: which scenario, policy and seed, under which variation.

A cell is a run. Its result carries a hash of what it depends on (see `proof_code`) and is made
anew when that changes; a run that is there already isn't repeated.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from adapter.commands.replay_runs import OURS, Job, best_of, raise_headroom, run_job
from adapter.commands.replay_wva import wva_policy
from simulator.closed_loop import play
from simulator.policies.table import BOUNDS, GRIDS, baseline
from simulator.scenario import load_scenario
from simulator.summary import summarize

from .proof_code import OURS as OUR_ROOTS
from .proof_code import ROOT, run_sha256
from .proof_variations import ABLATIONS, ROBUSTNESS, late

__all__ = ["FOLDER", "ROOT", "Cell", "Store", "code_of", "run_cell", "same_run"]

FOLDER = Path(__file__).with_name("proof_results")
# A bound's headroom is found on the first seeds; all of them run with it.
SEARCHED_SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run; a bound's is one for all seeds, since they share its headroom."""

    scenario: str
    policy: str
    seeds: tuple[int, ...]
    setting: str = ""  # of a grid
    variation: str = ""

    @property
    def label(self) -> str:
        """What the run is called in tables."""
        note = self.setting or self.variation
        return f"{self.policy} [{note}]" if note else self.policy

    @property
    def ours(self) -> bool:
        """Whether WVA's own code decides."""
        return self.policy in OURS

    @property
    def key(self) -> str:
        """A file name of its own."""
        text = json.dumps(asdict(self), sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.scenario}-{self.policy}-{short}"


@cache
def same_run(cell: Cell) -> Cell:
    """Return the cell whose run is this one's, too.

    KEDA wakes from zero and leaves the rest to the same HPA: where nothing may go to zero, ours
    behind KEDA does what ours behind HPA does.
    """
    if cell.policy == "wva-keda" and all(
        variant.min_replicas > 0 and variant.initial_replicas > 0
        for variant in load_scenario(cell.scenario).variants
    ):
        return replace(cell, policy="wva")
    return cell


def code_of(cell: Cell) -> str:
    """Return the hash of what the cell's result depends on."""
    if cell.ours:
        varied = ("bench.proof_variations",) if cell.variation else ()
        return run_sha256(cell.scenario, (*OUR_ROOTS, *varied))
    made = baseline(cell.policy, cell.setting)
    if isinstance(made, partial):
        return run_sha256(cell.scenario, (made.func.__module__,), repr((made.args, made.keywords)))
    return run_sha256(cell.scenario, (made.__module__,))


@dataclass(frozen=True, slots=True)
class Store:
    """Results in a folder, one file a run."""

    folder: Path
    code_of: Callable[[Cell], str] = code_of

    def find(self, cell: Cell) -> list[dict[str, float]] | None:
        """Return each seed's figures; None where they aren't made, or by other code."""
        cell = same_run(cell)
        path = self.folder / f"{cell.key}.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found["figures"] if found["code_sha256"] == self.code_of(cell) else None

    def keep(self, cell: Cell, figures: Sequence[Mapping[str, float]], took_s: float) -> None:
        """Write a result, whole or not at all."""
        cell = same_run(cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            **asdict(cell),
            "figures": list(figures),
            "took_s": took_s,
            "code_sha256": self.code_of(cell),
        }
        path = self.folder / f"{cell.key}.json"
        begun = path.with_suffix(".begun")
        begun.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        begun.replace(path)


def run_cell(cell: Cell) -> tuple[list[dict[str, float]], float]:
    """Do one run; returns each seed's figures and how long it took."""
    began = time.monotonic()
    if cell.policy in BOUNDS:
        figures = _run_bound(cell)
    elif cell.variation:
        figures = [_run_varied(cell, seed) for seed in cell.seeds]
    else:
        figures = [_run_plain(cell, cell.policy, seed, cell.setting) for seed in cell.seeds]
    return figures, time.monotonic() - began


def _run_bound(cell: Cell) -> list[dict[str, float]]:
    scenario = load_scenario(cell.scenario)
    first, rest = cell.seeds[:SEARCHED_SEEDS], cell.seeds[SEARCHED_SEEDS:]
    best = best_of(raise_headroom(scenario, cell.policy, first, workers=1, done=lambda _: None))
    more = [_run_plain(cell, cell.policy, seed, f"{best.ratio:.2f}") for seed in rest]
    return [*(run.figures for run in best.runs), *more]


def _run_varied(cell: Cell, seed: int) -> dict[str, float]:
    changed = {**ROBUSTNESS, **ABLATIONS}[cell.variation](load_scenario(cell.scenario))
    keda = cell.policy == "wva-keda"
    factory = late(
        lambda world: wva_policy(world, changed.settings, keda=keda), changed.metrics_late_s
    )
    return summarize(play(changed.scenario, cell.label, factory, seed=seed)).figures


def _run_plain(cell: Cell, policy: str, seed: int, setting: str) -> dict[str, float]:
    if cell.setting and cell.setting not in GRIDS[policy]:
        raise KeyError(cell.setting)
    scenario = load_scenario(cell.scenario)
    job = Job(scenario=scenario, policy=policy, seed=seed, setting=setting)
    return run_job(job).figures
