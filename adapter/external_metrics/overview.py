"""Decisions at a glance: a line per variant, for people. Pure.

One variant's whole story is told by `adapter/explain.py`; this is the list that leads there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..profiles_in_force import profile_of
from ..records import Publication
from ..store import Edition
from .wire import timestamp

__all__ = ["overview", "overview_text"]

_HEAD = ("NAMESPACE", "VARIANT", "DESIRED", "NOW", "STATE", "READ", "BECAUSE", "MISSING")

_LABELS = ("model_name", "accelerator_type", "service_class")

# Name in the list -> name among the publication's details.
_FIGURES = {
    "arrival_rate_rps": "input.arrival_rate_rps",
    "waiting_requests": "input.waiting_requests",
    "kv_usage_ratio": "input.kv_usage_ratio",
    "ttft_target_s": "slo.ttft_s",
    "ttft_predicted_s": "predicted.ttft_s",
    "itl_target_s": "slo.itl_s",
    "itl_predicted_s": "predicted.itl_s",
    "cost_now_per_hour": "cost.now_per_hour",
    "cost_desired_per_hour": "cost.desired_per_hour",
}


def overview(edition: Edition, rows: Sequence[int], now_s: float, *, whole: bool) -> dict[str, Any]:
    """Return a record per row; sources' faults too, where the reader may see the `whole`."""
    publication = edition.publication
    report = publication.report
    faults = [
        {"source": fault.source, "reason": fault.reason.name.lower(), "message": fault.message}
        for fault in report.faults
    ]
    return {
        "sequence": publication.sequence,
        "published_at": timestamp(publication.published_unix_s),
        "variants": [_line(edition, row, now_s) for row in rows],
        "faults": faults if whole else [],
        "settings_error": report.settings_error if whole else "",
    }


def overview_text(summary: Mapping[str, Any]) -> str:
    """Return `overview`'s answer as a table."""
    rows = [_HEAD, *map(_cells, summary["variants"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"decision {summary['sequence']}, published {summary['published_at']}"]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    lines.extend(f"{fault['source']}: {fault['message']}" for fault in summary["faults"])
    if summary["settings_error"]:
        lines.append(f"settings not reloaded: {summary['settings_error']}")
    return "\n".join(lines) + "\n"


def _line(edition: Edition, row: int, now_s: float) -> dict[str, Any]:
    publication = edition.publication
    key = publication.variants[row]
    age_s = edition.age_s(row, now_s)
    return {
        "namespace": key.namespace,
        "variant": key.name,
        "desired_replicas": edition.served("wva_desired_replicas", row, now_s),
        "current_replicas": edition.served("wva_current_replicas", row, now_s),
        "state": edition.freshness(row, now_s).name.lower(),
        "age_s": round(age_s, 3) if math.isfinite(age_s) else None,
        "binding": publication.binding_names[int(publication.binding[row])],
        "message": publication.message[row],
        **{name: publication.labels[row].get(name, "") for name in _LABELS},
        "utilization_ratio": edition.served("wva_utilization", row, now_s),
        **{name: _figure(publication, detail, row) for name, detail in _FIGURES.items()},
        **_measured(publication, row),
        "profile": profile_of(publication, row),
    }


def _measured(publication: Publication, row: int) -> dict[str, float | None]:
    """Return what was measured at the percentile that the variant's SLO names."""
    ratio = _figure(publication, "slo.percentile_ratio", row)
    at = "mean" if ratio is None else f"p{100 * ratio:g}"
    return {
        f"{kind}_measured_s": _figure(publication, f"measured.{kind}_{at}_s", row)
        for kind in ("ttft", "itl")
    }


def _figure(publication: Publication, detail: str, row: int) -> float | None:
    column = publication.details.get(detail)
    if column is None or not math.isfinite(column[row]):
        return None
    return float(f"{column[row]:.6g}")


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    age_s = line["age_s"]
    return (
        line["namespace"],
        line["variant"],
        _count(line["desired_replicas"]),
        _count(line["current_replicas"]),
        line["state"],
        "never" if age_s is None else f"{age_s:.1f} s ago",
        line["binding"],
        line["message"],
    )


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
