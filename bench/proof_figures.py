"""What the runs of the proof came to, by scenario and label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.measures import Interval, interval

from .proof_cells import Store
from .proof_tables import GRID_SEEDS, HEADLINE, Table

__all__ = ["Results", "best_of_grid"]


def best_of_grid(policy: str) -> str:
    """Return what a policy with the best settings of its grid is called."""
    return f"{policy}, best of grid"


@dataclass(frozen=True, slots=True)
class Results:
    """Figures by (scenario, label), and of these by seed."""

    figures: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
    tuned: Mapping[tuple[str, str], str]  # the best setting of a policy's grid in a scenario
    made: int
    wanted: int

    @classmethod
    def of(cls, store: Store, every: Sequence[Table]) -> "Results":
        """Collect what there is."""
        figures: dict[tuple[str, str], dict[int, Mapping[str, float]]] = {}
        tuned: dict[tuple[str, str], str] = {}
        cells = list(dict.fromkeys(cell for table in every for cell in table.cells))
        made = 0
        for cell in cells:
            found = store.find(cell)
            if found is None:
                continue
            made += 1
            if cell.setting and cell.seeds[0] in GRID_SEEDS:
                continue  # searched with, not shown
            if cell.setting:
                tuned[cell.scenario, cell.policy] = cell.setting
            key = (cell.scenario, best_of_grid(cell.policy) if cell.setting else cell.label)
            figures.setdefault(key, {}).update(zip(cell.seeds, found, strict=True))
        return cls(figures, tuned, made, len(cells))

    def scenarios(self) -> list[str]:
        """Return the scenarios with a run of ours, the headline ones first."""
        ours = [scenario for scenario, label in self.figures if label == "wva"]
        return list(dict.fromkeys([*(s for s in HEADLINE if s in ours), *sorted(ours)]))

    def labels(self, scenario: str) -> list[str]:
        """Return what ran in a scenario, without variations."""
        known = [label for name, label in self.figures if name == scenario]
        return [label for label in known if " [" not in label]

    def mean(self, scenario: str, label: str, figure: str) -> Interval:
        """Return a figure's mean and interval over seeds."""
        runs = self.figures.get((scenario, label), {})
        return interval(np.array([run[figure] for run in runs.values()], dtype=np.float64))

    def paired(
        self, scenario: str, one: str, other: str
    ) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
        """Return the figures of two labels, seed by seed, of the seeds that both have."""
        mine = self.figures.get((scenario, one), {})
        theirs = self.figures.get((scenario, other), {})
        return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]

    def against(self, scenario: str, peer: str, figure: str) -> tuple[float, float]:
        """Return ours and a peer's mean of a figure, on the same seeds; NaN without any."""
        pairs = [
            (ours[figure], theirs[figure]) for ours, theirs in self.paired(scenario, "wva", peer)
        ]
        if not pairs:
            return np.nan, np.nan
        ours, theirs = np.mean(pairs, axis=0)
        return float(ours), float(theirs)

    def seeds(self, scenario: str, label: str) -> int:
        """Return how many seeds there are."""
        return len(self.figures.get((scenario, label), {}))
