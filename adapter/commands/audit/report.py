"""An audit as text, and as the replay's page with what an audit adds. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from rich import box
from rich.console import Console
from rich.table import Table

from ..replay_plots import Plots
from ..replay_report import render_report
from .outcome import RECORDED, Audit
from .runs import WVA
from .verdict import Check

__all__ = ["print_audit", "render_audit"]

NO_VERDICT = "No verdict: the simulated past isn't close enough to the recorded one:"
WHAT_HELPS = (
    "What helps: a longer --last with more variation of load, measured profiles (`wva fit`, "
    "--settings), --routing as your gateway routes."
)
# Heading, figure, format.
COLUMNS = (
    ("GPU hours", "gpu_hours", ".2f"),
    ("cost", "cost", ".2f"),
    ("replicas", "replicas_mean", ".2f"),
    ("attained", "attainment", ".1%"),
    ("TTFT p95", "ttft_p95_s", ".2f"),
    ("ITL p95", "itl_p95_s", ".3f"),
    ("failed", "failed", ".0f"),
)


def print_audit(audit: Audit, console: Console) -> None:
    """Print what was found, the answer last."""
    past = audit.past
    console.print(f"[bold]{past.scenario.about}[/bold]", highlight=False)
    for line in _workloads(audit):
        console.print(f"  {line}", highlight=False, markup=False)
    _list(console, "assumed", audit.assumptions)
    _list(console, "not readable", past.history.faults)
    console.print(_table("the past, reproduced", _check_rows(audit)))
    console.print(_table("the same requests, another decision", _policy_rows(audit)))
    if audit.moments:
        console.print(_table("the worst moments", _moment_rows(audit)))
    for line in answer(audit):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def render_audit(audit: Audit, *, settings_sha256: str) -> str:
    """Return the page."""
    plots = Plots(scenario=audit.past.scenario, results=audit.summaries(), frontier=[])
    sections = "".join(
        [
            _section("Verdict", "".join(f"<p>{escape(line)}</p>" for line in answer(audit))),
            _section("The past, reproduced", _html_table(_check_rows(audit))),
            _section("The same requests, another decision", _html_table(_policy_rows(audit))),
            _section("The worst moments", _html_table(_moment_rows(audit)))
            if audit.moments
            else "",
            _section("Workloads", _html_list(_workloads(audit))),
            _section("Assumed", _html_list(audit.assumptions)) if audit.assumptions else "",
        ]
    )
    return render_report(
        plots,
        seeds=[1, len(audit.runs[WVA])],
        settings_sha256=settings_sha256,
        kind="wva audit",
        before=sections,
    )


def answer(audit: Audit) -> list[str]:
    """Return the verdict in words, or why there is none."""
    if not audit.verdict.given:
        return [f"{NO_VERDICT} {audit.verdict.why_not}.", WHAT_HELPS]
    base = audit.verdict.base
    hours_was, hours_new = (audit.figure(name, "gpu_hours") for name in (base, WVA))
    cost_was, cost_new = (audit.figure(name, "cost") for name in (base, WVA))
    minutes = audit.missed_minutes()
    hours = audit.past.history.span.length_s / 3600.0
    told = (
        f"In {hours:.3g} h WVA would have used {hours_new:.2f} GPU hours for "
        f"{cost_new:.2f}, {base}: {hours_was:.2f} for {cost_was:.2f} "
        f"({_change(cost_was, cost_new)} money), and broken a promise in {minutes[WVA]:.3g} "
        f"minutes instead of {minutes[base]:.3g} "
        f"({minutes[RECORDED]:.3g} recorded)."
    )
    return [told, "Both are simulated, on the recorded arrivals and lengths."]


def _change(was: float, new: float) -> str:
    return f"{new / was - 1.0:+.0%}" if was > 0 else "no"


def _workloads(audit: Audit) -> list[str]:
    past, lines = audit.past, []
    for row, variant in enumerate(past.history.variants):
        fit, counts = past.fits[row], past.history.counts[row]
        law = "no profile: " + fit.rests_on
        if fit.profile is not None:
            spec = fit.profile
            law = (
                f"step {spec.alpha_ms:.3g} ms + {spec.beta_ms:.3g} per sequence + "
                f"{spec.beta_prefill_ms or spec.beta_ms:.3g} per prompt token + "
                f"{spec.gamma_ms:.2g} per KV token ({fit.rests_on}"
            )
            errors = f"; ITL {fit.itl_error_ratio:.1%}, TTFT {fit.ttft_error_ratio:.1%} off"
            law += (errors if math.isfinite(fit.itl_error_ratio) else "") + ")"
        lines.append(
            f"{variant.namespace}/{variant.name}: {variant.model} on "
            f"{past.supplies[row].accelerators_per_replica}x {past.supplies[row].accelerator}, "
            f"{counts.min()} to {counts.max()} replicas; {law}"
        )
    return lines


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(f"  {title}: {line}", highlight=False, markup=False)


def _check_rows(audit: Audit) -> list[list[str]]:
    return [
        ["figure", "of", "recorded", "simulated", "error", "allowed", ""],
        *(_check_row(check) for check in audit.verdict.checks),
    ]


def _check_row(check: Check) -> list[str]:
    return [
        check.name,
        check.of,
        _figure(check, check.recorded),
        _figure(check, check.simulated),
        _text(check.error, ".1%"),
        f"{check.allowed:.0%}",
        "good" if check.good else "too far",
    ]


def _figure(check: Check, value: float) -> str:
    forms = {"s": ".4g", "ratio": ".1%", "requests": ".0f", "replicas": ".2f"}
    unit = " s" if check.unit == "s" else ""
    return _text(value, forms[check.unit]) + unit


def _policy_rows(audit: Audit) -> list[list[str]]:
    minutes = audit.missed_minutes()
    rows = [["policy", "SLO minutes missed", *(heading for heading, _, _ in COLUMNS)]]
    for name in minutes:
        if name == WVA and not audit.verdict.given:
            continue
        figures = [_text(audit.figure(name, key), form) for _, key, form in COLUMNS]
        rows.append([name, f"{minutes[name]:.1f}", *figures])
    return rows


def _moment_rows(audit: Audit) -> list[list[str]]:
    rows = [["when (UTC)", "model", "met", "missed", "replicas", "why", "WVA would have had"]]
    for moment in audit.moments:
        when = datetime.fromtimestamp(moment.at_unix_s, UTC).strftime("%m-%d %H:%M:%S")
        share = _text(moment.wva_met_ratio, ".0%")
        then = (
            f"{moment.wva_replicas} ready of {moment.wva_wanted}, {share} met ({moment.wva_reason})"
        )
        rows.append(
            [
                when,
                moment.model,
                f"{moment.met_ratio:.0%}",
                f"{moment.missed_requests:.0f}",
                str(moment.replicas),
                moment.why,
                then if audit.verdict.given else "no verdict",
            ]
        )
    return rows


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for at, heading in enumerate(rows[0]):
        words = heading in {"policy", "figure", "of", "model", "why", "WVA would have had", ""}
        table.add_column(heading, justify="left" if words else "right", no_wrap=at == 0)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='wide audit'>{table}</div>"


def _html_list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
