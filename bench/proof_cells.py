"""The runs behind docs/proof.md: which scenario, policy and seed, under which variation.

A cell is a run. Its result depends on the code, so results carry a hash of it and are made anew
when it changes; a run that is there already isn't repeated.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapter.commands.replay_runs import CLAIRVOYANT, OURS, Job, run_clairvoyant, run_job
from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import wva_policy
from adapter.config import Settings
from simulator.closed_loop import play
from simulator.cluster_spec import Event
from simulator.policies.table import GRIDS
from simulator.scenario import Scenario, load_scenario
from simulator.summary import summarize

__all__ = ["ABLATIONS", "ROBUSTNESS", "Cell", "Store", "code_sha256", "run_cell"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).with_name("proof_results")

Changed = tuple[Scenario, Settings]


def _profiles_off(factor: float) -> Callable[[Scenario], Changed]:
    return lambda scenario: (scenario, replay_settings(scenario, profile_factor=factor))


def _scrapes_fail(scenario: Scenario) -> Changed:
    failure = Event(at_s=0.0, kind="scrape-failure", share=0.05)
    broken = scenario.model_copy(update={"events": (*scenario.events, failure)})
    return broken, replay_settings(scenario)


def _cold_starts_doubled(scenario: Scenario) -> Changed:
    """Return the scenario with the adapter told half of what a start takes."""
    settings = replay_settings(scenario)
    variants = tuple(
        told.model_copy(update={"cold_start_s": max(true.cold_start.mean_s / 2.0, 1.0)})
        for told, true in zip(settings.variants, scenario.variants, strict=True)
    )
    return scenario, settings.model_copy(update={"variants": variants})


def _without_profiles(scenario: Scenario) -> Changed:
    settings = replay_settings(scenario)
    models = {
        name: model.model_copy(update={"profiles": {}}) for name, model in settings.models.items()
    }
    return scenario, settings.model_copy(update={"models": models})


def _setting(**changes: float) -> Callable[[Scenario], Changed]:
    def change(scenario: Scenario) -> Changed:
        return scenario, replay_settings(scenario).model_copy(update=changes)

    return change


ROBUSTNESS: Mapping[str, Callable[[Scenario], Changed]] = {
    "5 % of scrapes fail": _scrapes_fail,
    "profiles 30 % too slow": _profiles_off(1.3),
    "profiles 30 % too fast": _profiles_off(0.7),
    "starts take twice what is declared": _cold_starts_doubled,
}
ABLATIONS: Mapping[str, Callable[[Scenario], Changed]] = {
    "no forecast quantile (upper_need_ratio 0.5)": _setting(upper_need_ratio=0.5),
    "no margin to stability (stability_margin_ratio 0)": _setting(stability_margin_ratio=0.0),
    "change is free (change_price_ratio 0)": _setting(change_price_ratio=0.0),
    "no patience (patience_ratio 0)": _setting(patience_ratio=0.0),
    "no given profiles, learned only": _without_profiles,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run; the clairvoyant's is one for all seeds, since they share its headroom."""

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
    def key(self) -> str:
        """A file name of its own."""
        text = json.dumps(asdict(self), sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.scenario}-{self.policy}-{short}"


@dataclass(frozen=True, slots=True)
class Store:
    """Results in a folder, one file a cell."""

    folder: Path
    sha256: str

    def find(self, cell: Cell) -> list[dict[str, float]] | None:
        """Return each seed's figures; None where they aren't made, or by other code."""
        path = self.folder / f"{cell.key}.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found["figures"] if found["code_sha256"] == self.sha256 else None

    def keep(self, cell: Cell, figures: Sequence[Mapping[str, float]], took_s: float) -> None:
        """Write a result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            **asdict(cell),
            "figures": list(figures),
            "took_s": took_s,
            "code_sha256": self.sha256,
        }
        path = self.folder / f"{cell.key}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def code_sha256() -> str:
    """Return the hash of all code and scenarios that a run's result depends on."""
    found = hashlib.sha256()
    packages = ("adapter/commands/replay_*.py", "adapter/*.py", "adapter/collect/*")
    own = ("optimizer/**/*.py", "simulator/**/*.py", "simulator/scenarios/*.yaml")
    files = {path for pattern in (*packages, *own) for path in ROOT.glob(pattern)}
    for path in sorted(file for file in files if file.is_file()):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def run_cell(cell: Cell) -> tuple[list[dict[str, float]], float]:
    """Do one run; returns each seed's figures and how long it took."""
    began = time.monotonic()
    scenario = load_scenario(cell.scenario)
    if cell.policy == CLAIRVOYANT:
        runs, _ = run_clairvoyant(scenario, cell.seeds, workers=1, done=lambda _: None)
        return [run.figures for run in runs], time.monotonic() - began
    if cell.variation:
        change = {**ROBUSTNESS, **ABLATIONS}[cell.variation]
        changed, settings = change(scenario)
        keda = cell.policy == "wva-keda"
        figures = [
            summarize(
                play(changed, cell.label, lambda w: wva_policy(w, settings, keda=keda), seed=seed)
            ).figures
            for seed in cell.seeds
        ]
        return figures, time.monotonic() - began
    if cell.policy not in OURS and cell.setting and cell.setting not in GRIDS[cell.policy]:
        raise KeyError(cell.setting)
    jobs = [
        Job(scenario=scenario, policy=cell.policy, seed=seed, setting=cell.setting)
        for seed in cell.seeds
    ]
    return [run_job(job).figures for job in jobs], time.monotonic() - began
