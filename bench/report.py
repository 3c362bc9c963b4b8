"""What a bench reports: rows with a named baseline, as a table and as JSON."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Row", "print_rows", "run_bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: `ratio` is value / baseline in the same run, None where none fits."""

    name: str
    value: float
    unit: str
    baseline: str
    ratio: float | None
    command: str
    holds: bool | None = None  # whether a bound is held; None where there is none


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    width = max((len(row.name) for row in rows), default=4)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:8.3g}x"
        missed = "  MISSED" if row.holds is False else ""
        print(
            f"  {row.name:<{width}} {row.value:>12.5g} {row.unit:<14} {ratio:>9}  {row.baseline}"
            f"{missed}"
        )


def run_bench(measure: Callable[[], Sequence[Row]]) -> None:
    """Measure, print, and write JSON where `--json FILE` asks for it."""
    parser = argparse.ArgumentParser(description=(measure.__doc__ or "").strip())
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = measure()
    print_rows(rows)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
