"""One row per scenario, printed as a table when all have run."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["Outcome", "table"]

HEADINGS = ("scenario", "outcome", "time", "engine to HPA", "decisions", "failed reads")


@dataclass
class Outcome:
    """What a scenario came to; what it doesn't measure stays None."""

    scenario: str
    result: str = "not run"
    time_s: float = 0.0
    reaction_s: float | None = None  # from a change of the engines' state to HPA's new size
    honoured: tuple[int, int] | None = None  # decisions that HPA followed, of those made
    failures: list[str] | None = None  # what HPA said of reads that failed
    started_s: float = field(default_factory=time.monotonic)

    def cells(self) -> tuple[str, ...]:
        followed = "" if self.honoured is None else f"{self.honoured[0]}/{self.honoured[1]}"
        return (
            self.scenario,
            self.result,
            f"{self.time_s:.0f} s",
            "" if self.reaction_s is None else f"{self.reaction_s:.1f} s",
            followed,
            "" if self.failures is None else str(len(self.failures)),
        )


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the lines of a table as Markdown has it, columns in line."""
    rows = [HEADINGS, *(each.cells() for each in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for place, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"
        if place == 0:
            yield f"| {' | '.join('-' * width for width in widths)} |"
