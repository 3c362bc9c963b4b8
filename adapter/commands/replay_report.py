"""A replay as one HTML file: table, charts, and what it was made with. Needs no network."""

import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from simulator.measures import Interval

from .replay_plots import Plots, color_of
from .replay_table import intervals

__all__ = ["render_report", "write_report"]

# Heading, figure, format, and whether more is better (None: neither).
ROWS: tuple[tuple[str, str, str, bool | None], ...] = (
    ("attainment", "attainment", ".2%", True),
    ("worst 5 minutes", "worst_5_min", ".1%", True),
    ("goodput, requests/s", "goodput_rps", ".2f", True),
    ("failed requests", "failed", ".0f", False),
    ("TTFT p50, s", "ttft_p50_s", ".3f", False),
    ("TTFT p95, s", "ttft_p95_s", ".3f", False),
    ("TTFT p99, s", "ttft_p99_s", ".3f", False),
    ("ITL p50, s", "itl_p50_s", ".4f", False),
    ("ITL p95, s", "itl_p95_s", ".4f", False),
    ("ITL p99, s", "itl_p99_s", ".4f", False),
    ("replicas, mean", "replicas_mean", ".2f", False),
    ("replicas, most", "replicas_max", ".1f", None),
    ("GPU hours", "gpu_hours", ".2f", False),
    ("cost", "cost", ".2f", False),
    ("energy, kWh", "energy_kwh", ".2f", False),
    ("scaling actions", "actions", ".1f", None),
    ("reversals within 10 min", "reversals", ".1f", False),
    ("asked to ready, s", "ready_after_s", ".0f", None),
    ("demand to capacity, s", "covered_after_s", ".0f", None),
)


def write_report(path: Path, plots: Plots, *, seeds: Sequence[int], settings_sha256: str) -> None:
    """Write the report."""
    text = render_report(plots, seeds=seeds, settings_sha256=settings_sha256)
    path.write_text(text, encoding="utf-8")


def render_report(
    plots: Plots,
    *,
    seeds: Sequence[int],
    settings_sha256: str,
    kind: str = "wva replay",
    before: str = "",
) -> str:
    """Return the report; `before` is HTML that goes before the table."""
    scenario = plots.scenario
    style = resources.files(__package__).joinpath("replay_report.css").read_text(encoding="utf-8")
    title = f"{scenario.name}: {', '.join(plots.policies)}"
    sections = [_table(plots), _legend(plots)]
    for model, spec in enumerate(scenario.models):
        name = f" · {spec.name}" if len(scenario.models) > 1 else ""
        sections += [
            _figure(
                f"Demand and capacity{name}",
                "Grey: requests that came, per minute. Lines: what the ready replicas carry "
                "within the targets, by the capacity that the engine alone was measured at.",
                plots.demand_and_capacity(model),
            ),
            _figure(f"Time to first token{name}", "", plots.latency(model, "ttft_p95_s")),
            _figure(f"Inter-token latency{name}", "", plots.latency(model, "itl_p95_s")),
        ]
    frontier = " Dotted: the clairvoyant at rising headroom." if plots.frontier else ""
    sections += [
        _figure(
            "Cost against attainment",
            f"Up and to the left is better. Bars are 95 % intervals over seeds.{frontier}",
            plots.cost_and_attainment(),
        ),
        _replicas(plots),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"<header><p class=kind>{kind}</p><h1>{escape(scenario.name)}</h1>"
        f"<p>{escape(scenario.about)}</p>{_targets(plots)}</header>"
        f"{before}{''.join(sections)}"
        f"{_made_with(plots, seeds, settings_sha256)}</main></body></html>\n"
    )


def _targets(plots: Plots) -> str:
    items = [
        f"<li><b>{escape(m.name)}</b> TTFT {m.ttft_s:g} s, ITL {1e3 * m.itl_s:g} ms "
        f"at p{m.percentile:g}</li>"
        for m in plots.scenario.models
    ]
    return f"<ul class=targets>{''.join(items)}</ul>"


def _table(plots: Plots) -> str:
    figures = {name: intervals(runs) for name, runs in plots.results.items()}
    head = "".join(f"<th>{_swatch(plots, name)}{escape(name)}</th>" for name in figures)
    body = []
    for heading, name, form, more in ROWS:
        row = [one[name] for one in figures.values()]
        best = _best(row, more)
        cells = "".join(
            f"<td{' class=best' if value.mean == best else ''}>{_number(value, form)}</td>"
            for value in row
        )
        body.append(f"<tr><th>{escape(heading)}</th>{cells}</tr>")
    return (
        f"<section><div class=wide><table><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _best(row: Sequence[Interval], more: bool | None) -> float:  # noqa: FBT001 - a row's property
    known = [value.mean for value in row if not math.isnan(value.mean)]
    if more is None or not known or len(set(known)) == 1:
        return math.nan
    return max(known) if more else min(known)


def _number(value: Interval, form: str) -> str:
    if math.isnan(value.mean):
        return "-"
    text = format(value.mean, form)
    if math.isnan(value.half_width) or value.half_width == 0.0:
        return text
    return f"{text}<small> ±{format(value.half_width, form).removesuffix('%')}</small>"


def _swatch(plots: Plots, policy: str) -> str:
    return f'<i style="background:{color_of(plots.policies, policy)}"></i>'


def _legend(plots: Plots) -> str:
    names = "".join(f"<li>{_swatch(plots, name)}{escape(name)}</li>" for name in plots.policies)
    return f"<ul class=legend>{names}</ul>"


def _figure(title: str, caption: str, svg: str) -> str:
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h2>{escape(title)}</h2>{words}{svg}</figure>"


def _replicas(plots: Plots) -> str:
    names = ", ".join(escape(variant.name) for variant in plots.scenario.variants)
    small = "".join(
        f"<div><h3>{_swatch(plots, policy)}{escape(policy)}</h3>{plots.replicas(policy)}</div>"
        for policy in plots.policies
    )
    return (
        f"<figure><h2>Replicas per variant</h2><figcaption>Filled: ready, stacked in the order "
        f"{names}. Dashed: asked for.</figcaption><div class=grid2>{small}</div></figure>"
    )


def _made_with(plots: Plots, seeds: Sequence[int], settings_sha256: str) -> str:
    sources = "".join(f"<li>{escape(source)}</li>" for source in plots.scenario.sources)
    return (
        f"<footer><p>Simulated time; seeds {seeds[0]} to {seeds[-1]}, the same requests for every "
        f"policy. Charts over time show seed {seeds[0]}. Intervals are 95 %, Student's t over "
        f"seeds. WVA's settings: SHA-256 {settings_sha256[:16]}…</p><ul>{sources}</ul></footer>"
    )
