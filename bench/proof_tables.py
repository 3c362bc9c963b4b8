"""What docs/proof.md shows: its tables as lists of runs, the important ones first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulator.policies.table import GRIDS
from simulator.scenario import shipped_scenarios

from .proof_cells import ABLATIONS, ROBUSTNESS, Cell

__all__ = ["CLAIRVOYANT", "DAY", "HEADLINE", "PAPER", "PUBLIC", "VARIED", "Table", "tables"]

PAPER, PUBLIC, DAY = "paper-tiers", "public-ramp", "azure-day"
HEADLINE = (PAPER, PUBLIC)
# Grids are searched on other seeds than the tables are made with.
GRID_FROM = 1001
CLAIRVOYANT = "clairvoyant"
REFEREES = ("wva", "wva-keda", "hpa-kv", "hpa-queue", "wva-v1", "wva-v2")
RAMP = (*REFEREES, "static", "keda-slo", "keda-slo-mean", "keda-tokens", "dynamo", "knative")
EVERYWHERE = ("wva", "hpa-kv", "hpa-queue", "wva-v2", "knative", "static")
VARIED = ("symmetrical", "bursty")


@dataclass(frozen=True, slots=True)
class Table:
    """A heading and its runs."""

    name: str
    cells: tuple[Cell, ...]


def tables(seeds: int) -> list[Table]:
    """Return all tables, for so many seeds."""
    every = tuple(range(1, seeds + 1))
    others = [name for name in shipped_scenarios() if name not in {*HEADLINE, DAY}]
    return [
        Table("paper", tuple(_each(PAPER, (*REFEREES, "knative", "static"), every))),
        Table("ramp", tuple(_each(PUBLIC, RAMP, every))),
        Table("clairvoyant", tuple(_clairvoyant([*HEADLINE, *others], every))),
        Table("everywhere", tuple(c for name in others for c in _each(name, EVERYWHERE, every))),
        Table("robustness", tuple(_varied(ROBUSTNESS, every))),
        Table("ablation", tuple(_varied(ABLATIONS, every))),
        Table("grid", tuple(_grid(PAPER, "hpa-kv", seeds))),
        Table("day", tuple(_each(DAY, EVERYWHERE, every))),
    ]


def _each(scenario: str, policies: Sequence[str], seeds: Sequence[int]) -> Iterator[Cell]:
    for seed in seeds:  # seed by seed: whatever stops early has all policies of the first seeds
        for policy in policies:
            yield Cell(scenario=scenario, policy=policy, seeds=(seed,))


def _clairvoyant(scenarios: Sequence[str], seeds: tuple[int, ...]) -> Iterator[Cell]:
    for scenario in scenarios:
        yield Cell(scenario=scenario, policy=CLAIRVOYANT, seeds=seeds)


def _varied(variations: Iterable[str], seeds: Sequence[int]) -> Iterator[Cell]:
    for seed in seeds:
        for scenario in (*HEADLINE, *VARIED):
            yield Cell(scenario=scenario, policy="wva", seeds=(seed,))
            for variation in variations:
                yield Cell(scenario=scenario, policy="wva", seeds=(seed,), variation=variation)


def _grid(scenario: str, policy: str, seeds: int) -> Iterator[Cell]:
    for setting in GRIDS[policy]:
        for seed in range(GRID_FROM, GRID_FROM + seeds):
            yield Cell(scenario=scenario, policy=policy, seeds=(seed,), setting=setting)
