"""The demo's live table: one row per variant, from what the adapter's API explains."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

__all__ = ["COLUMNS", "Row", "build_table", "format_row", "plain_line"]

COLUMNS = (
    "variant",
    "requests/s",
    "replicas",
    "desired",
    "TTFT p95 s\npredicted",
    "measured",
    "SLO",
    "ITL p95 ms\npredicted",
    "measured",
    "SLO",
    "cost/h",
    "reason",
)

Row = Mapping[str, Any]


def build_table(title: str, rows: Sequence[Row], *, caption: str) -> Table:
    """Return the table of one moment."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in COLUMNS:
        text = name in {"variant", "reason"}
        table.add_column(name, justify="left" if text else "right", no_wrap=name == "variant")
    for row in rows:
        table.add_row(*format_row(row))
    return table


def plain_line(elapsed_s: float, row: Row) -> str:
    """Return a row as one line, for output that isn't a terminal."""
    cells = format_row(row)
    return (
        f"{elapsed_s:6.1f} s  {cells[0]:<16} {cells[1]:>6} rps  replicas {cells[2]:>5}"
        f" -> {cells[3]:>2}  TTFT p95 {cells[4]}/{cells[5]} s  ITL p95 {cells[7]}/{cells[8]} ms"
        f"  {cells[10]}/h  {cells[11]}"
    )


def format_row(row: Row) -> tuple[str, ...]:
    """Return the cells of one variant: what was explained, else what the fleet knows."""
    told = row.get("explanation") or {}
    inputs, predicted = told.get("inputs", {}), told.get("predicted", {})
    measured, slo = told.get("measured", {}), told.get("slo", {})
    cost = told.get("cost", {})
    starting = f" (+{row['starting']})" if row["starting"] else ""
    return (
        row["variant"],
        _number(inputs.get("arrival_rate_rps"), 1),
        f"{row['ready']}{starting}",
        "-" if row["metric"] is None else f"{row['metric']:g}",
        _number(predicted.get("ttft_s"), 2),
        _number(measured.get("ttft_p95_s"), 2),
        _number(slo.get("ttft_s"), 2),
        _number(predicted.get("itl_s"), 0, scale=1e3),
        _number(measured.get("itl_p95_s"), 0, scale=1e3),
        _number(slo.get("itl_s"), 0, scale=1e3),
        _number(cost.get("now_per_hour"), 2),
        _reason(told),
    )


def _number(measure: Mapping[str, Any] | None, digits: int, *, scale: float = 1.0) -> str:
    if measure is None or measure.get("value") is None:
        return "∞" if measure is not None and measure.get("unbounded") else "-"
    value = float(measure["value"]) * scale
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _reason(told: Mapping[str, Any]) -> str:
    if not told:
        return "waiting for the first decision"
    brake = told.get("brake", "None")
    braked = f" [{brake}]" if brake not in {"None", ""} else ""
    return f"{told.get('binding', '')}{braked}"
