"""What docs/proof.md shows: its tables as lists of runs, the important ones first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.policies.table import GRIDS
from simulator.scenario import shipped_scenarios

from .proof_cells import Cell, Store
from .proof_variations import ABLATIONS, ROBUSTNESS

__all__ = [
    "CLAIRVOYANT",
    "DAY",
    "HEADLINE",
    "ORACLE",
    "PAPER",
    "PUBLIC",
    "SURPRISES",
    "VARIED",
    "Table",
    "best_settings",
    "tables",
]

PAPER, PUBLIC, DAY = "paper-tiers", "public-ramp", "azure-day"
HEADLINE = (PAPER, PUBLIC)
# Grids are searched on other seeds than the tables are made with.
GRID_SEEDS = (1001, 1002, 1003)
# Settings whose attainment is this close to the best one's are as good; the cheapest is taken.
AS_GOOD = 0.005
CLAIRVOYANT, ORACLE = "clairvoyant", "oracle"
REFEREES = ("wva", "wva-keda", "hpa-kv", "hpa-queue", "hpa-gpu", "wva-v1", "wva-v2")
EVERYBODY = (
    *REFEREES,
    "static",
    "melange",
    "keda-queue",
    "keda-slo",
    "keda-slo-mean",
    "keda-tokens",
    "dynamo",
    "knative",
)
EVERYWHERE = ("wva", "hpa-kv", "hpa-queue", "wva-v2", "knative", "static")
VARIED = ("symmetrical", "bursty")
# What nobody can foresee: there the oracle of the present is the bound.
SURPRISES = ("flash-crowd", "node-loss", "spot-loss", "stock-out", "token-shift", "modulated")
FROM_ZERO = "scale-to-zero"


@dataclass(frozen=True, slots=True)
class Table:
    """A heading and its runs."""

    name: str
    cells: tuple[Cell, ...]


def tables(seeds: int, best: Mapping[tuple[str, str], str] | None = None) -> list[Table]:
    """Return all tables, for so many seeds; `best` is what the grids' search has found."""
    every = tuple(range(1, seeds + 1))
    others = [name for name in shipped_scenarios() if name not in {*HEADLINE, DAY}]
    return [
        Table("paper", tuple(_each(PAPER, EVERYBODY, every))),
        Table("ramp", tuple(_each(PUBLIC, EVERYBODY, every))),
        Table("grid", tuple(c for name in HEADLINE for c in _grid(name))),
        Table("tuned", tuple(_tuned(best or {}, every))),
        Table("clairvoyant", tuple(_bound(CLAIRVOYANT, [*HEADLINE, *others], every))),
        Table("oracle", tuple(_bound(ORACLE, [PUBLIC, *SURPRISES], every))),
        Table("everywhere", tuple(c for name in others for c in _each(name, _of(name), every))),
        Table("robustness", tuple(_varied(ROBUSTNESS, (*HEADLINE, *VARIED), every))),
        Table("ablation", tuple(_varied(ABLATIONS, (*HEADLINE, "bursty"), every))),
        Table(
            "day",
            (*_each(DAY, (*EVERYWHERE, "melange"), every), *_bound(CLAIRVOYANT, [DAY], every)),
        ),
    ]


def best_settings(store: Store) -> dict[tuple[str, str], str]:
    """Return the best setting of each grid that has been searched whole, by scenario and policy."""
    found: dict[tuple[str, str], str] = {}
    for scenario in HEADLINE:
        for policy, grid in GRIDS.items():
            runs = {
                setting: [
                    store.find(Cell(scenario=scenario, policy=policy, seeds=(s,), setting=setting))
                    for s in GRID_SEEDS
                ]
                for setting in grid
            }
            if all(run is not None for own in runs.values() for run in own):
                found[scenario, policy] = _best(
                    {k: [r[0] for r in v if r] for k, v in runs.items()}
                )
    return found


def _best(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    def mean(setting: str, figure: str) -> float:
        return float(np.mean([run[figure] for run in runs[setting]]))

    most = max(mean(setting, "attainment") for setting in runs)
    good = [setting for setting in runs if mean(setting, "attainment") >= most - AS_GOOD]
    return min(good, key=lambda setting: mean(setting, "cost"))


def _of(scenario: str) -> tuple[str, ...]:
    return (*EVERYWHERE, "wva-keda", "keda-queue") if scenario == FROM_ZERO else EVERYWHERE


def _each(scenario: str, policies: Sequence[str], seeds: Sequence[int]) -> Iterator[Cell]:
    for seed in seeds:  # seed by seed: whatever stops early has all policies of the first seeds
        for policy in policies:
            yield Cell(scenario=scenario, policy=policy, seeds=(seed,))


def _bound(policy: str, scenarios: Sequence[str], seeds: tuple[int, ...]) -> Iterator[Cell]:
    for scenario in scenarios:
        yield Cell(scenario=scenario, policy=policy, seeds=seeds)


def _varied(
    variations: Iterable[str], scenarios: Sequence[str], seeds: Sequence[int]
) -> Iterator[Cell]:
    variations = tuple(variations)
    for seed in seeds:
        for scenario in scenarios:
            yield Cell(scenario=scenario, policy="wva", seeds=(seed,))
            for variation in variations:
                yield Cell(scenario=scenario, policy="wva", seeds=(seed,), variation=variation)


def _grid(scenario: str) -> Iterator[Cell]:
    for policy, grid in GRIDS.items():
        for setting in grid:
            for seed in GRID_SEEDS:
                yield Cell(scenario=scenario, policy=policy, seeds=(seed,), setting=setting)


def _tuned(best: Mapping[tuple[str, str], str], seeds: Sequence[int]) -> Iterator[Cell]:
    for (scenario, policy), setting in best.items():
        for seed in seeds:
            yield Cell(scenario=scenario, policy=policy, seeds=(seed,), setting=setting)
