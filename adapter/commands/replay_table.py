"""The results of a replay as a table and as JSON: means over seeds, with 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from simulator.measures import MEASURES, Interval, interval
from simulator.summary import Summary

__all__ = ["as_json", "build_table", "intervals"]


def intervals(runs: Sequence[Summary]) -> dict[str, Interval]:
    """Return every figure's mean and interval over the runs of one policy."""
    names = runs[0].figures
    return {name: interval(np.array([run.figures[name] for run in runs])) for name in names}


def build_table(title: str, results: Mapping[str, Sequence[Summary]]) -> Table:
    """Return the table: a row per policy."""
    table = Table(
        title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("policy", no_wrap=True)
    for heading, _, _ in MEASURES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for policy, runs in results.items():
        figures = intervals(runs)
        table.add_row(
            policy,
            *(_text(figures[name], form, wide) for name, (_, form, wide) in MEASURES.items()),
        )
    return table


def _text(value: Interval, form: str, wide: bool) -> str:  # noqa: FBT001 - a column's property
    """Return a figure, with its interval in `wide` columns; a unit stands after the format."""
    form, _, unit = form.partition(" ")
    if math.isnan(value.mean):
        return "-"
    text = f"{format(value.mean, form)} {unit}".rstrip()
    if not wide or math.isnan(value.half_width):
        return text
    return f"{text} ±{format(value.half_width, form).removesuffix('%')}"


def as_json(
    scenario: str,
    seeds: Sequence[int],
    results: Mapping[str, Sequence[Summary]],
    *,
    settings_sha256: str,
    frontier: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Return the results for scripts; what is not known is null."""
    return {
        "scenario": scenario,
        "seeds": list(seeds),
        "wva_settings_sha256": settings_sha256,
        "policies": {
            policy: {
                "figures": {
                    name: {"mean": _number(one.mean), "half_width_95": _number(one.half_width)}
                    for name, one in intervals(runs).items()
                },
                "runs": [
                    {"seed": run.seed, **{k: _number(v) for k, v in run.figures.items()}}
                    for run in runs
                ],
            }
            for policy, runs in results.items()
        },
        "clairvoyant_frontier": [
            {"cost": cost, "attainment": attainment} for cost, attainment in frontier
        ],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
