"""How docs/proof.md writes figures, tables, commands and claims."""

import math

from simulator.measures import Interval

from .proof_figures import Results

__all__ = ["claim", "command", "signed", "table", "text_of"]

COLUMNS = (
    ("attained", "attainment", ".1%"),
    ("worst 5 min", "worst_5_min", ".0%"),
    ("goodput, req/s", "goodput_rps", ".2f"),
    ("failed", "failed", ".0f"),
    ("TTFT p95, s", "ttft_p95_s", ".2f"),
    ("p50", "ttft_p50_s", ".2f"),
    ("p99", "ttft_p99_s", ".2f"),
    ("ITL p95, ms", "itl_p95_s", ".0f"),
    ("p50", "itl_p50_s", ".0f"),
    ("p99", "itl_p99_s", ".0f"),
    ("replicas", "replicas_mean", ".2f"),
    ("most", "replicas_max", ".0f"),
    ("GPU h", "gpu_hours", ".2f"),
    ("cost", "cost", ".2f"),
    ("energy, kWh", "energy_kwh", ".2f"),
    ("actions", "actions", ".0f"),
    ("reversals", "reversals", ".1f"),
    ("covered after, s", "covered_after_s", ".0f"),
)


def command(scenario: str, results: Results) -> str:
    policies = " ".join(
        f"--policy {label}" for label in results.labels(scenario) if "," not in label
    )
    seeds = max((results.seeds(scenario, label) for label in results.labels(scenario)), default=1)
    return f"```sh\nwva replay {scenario} {policies} --seeds {seeds}\n```\n"


def table(results: Results, scenario: str) -> str:
    if not results.labels(scenario):
        return "No run yet.\n"
    head = "| policy | seeds | " + " | ".join(heading for heading, _, _ in COLUMNS) + " |"
    rows = [head, "| --- | ---: " + "| ---: " * len(COLUMNS) + "|"]
    for label in results.labels(scenario):
        cells = []
        for _, figure, form in COLUMNS:
            value = results.mean(scenario, label, figure)
            scale = 1e3 if figure.startswith("itl_") else 1.0
            cells.append(
                _cell(Interval(scale * value.mean, scale * value.half_width), figure, form)
            )
        rows.append(f"| {label} | {results.seeds(scenario, label)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(value: Interval, figure: str, form: str) -> str:
    if math.isnan(value.mean):
        return "-"
    text = format(value.mean, form)
    if figure in {"attainment", "cost", "replicas_mean"} and not math.isnan(value.half_width):
        return f"{text} ±{format(value.half_width, form).removesuffix('%')}"
    return text


def text_of(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def signed(change: Interval) -> str:
    text = f"{100.0 * change.mean:+.1f}"
    return text if math.isnan(change.half_width) else f"{text} ±{100.0 * change.half_width:.1f}"


def claim(good: bool, text: str) -> str:
    return f"- {'*holds*' if good else '**fails**'}: {text}"
