"""Who gets what, and why: a plan as rows, as JSON and as a table. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from optimizer import Binding, FloatArray, Plan, PlanRequest
from optimizer.latency import Prediction, predict
from optimizer.robustness import CHECKED_ERRORS
from optimizer.roles import PREFILL, in_roles

from .catalog import Catalog
from .explain import BINDING_MEANINGS
from .routing_words import routing_words

__all__ = ["report", "to_table"]


def report(catalog: Catalog, request: PlanRequest, plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON can hold it: rows of variants, of resources, and totals."""
    median = _median(request, plan)
    routing = routing_words(plan)
    rows = [
        {**_row(catalog, request, plan, median, i), "routing": routing[i]}
        for i in range(len(catalog.variants))
    ]
    return {
        "variants": rows,
        "resources": _resources(catalog, plan),
        "cost_per_hour": float((catalog.cost_per_hour * plan.desired).sum()),
        "power_w": _number(float(np.nansum(plan.power_w))),
        "unmet": {
            name: _number(float(ratio))
            for name, ratio in _unmet(catalog, plan).items()
            if ratio > 0.0
        },
        "gap_ratio": float(plan.gap_ratio.max(initial=0.0)),
    }


def _median(request: PlanRequest, plan: Plan) -> Prediction:
    """Predict the medians at the plan's own shares."""
    request = in_roles(request)
    counts = plan.desired.astype(np.float64)
    each = np.divide(
        plan.share_rps, counts, out=np.full_like(counts, np.nan), where=plan.desired > 0
    )
    half = np.full(len(counts), 0.5)
    return predict(request.profiles, request.workloads, request.limits, each, percentile_ratio=half)


def _row(
    catalog: Catalog, request: PlanRequest, plan: Plan, median: Prediction, row: int
) -> dict[str, Any]:
    labels = catalog.labels[row]
    binding = "".join(w.capitalize() for w in Binding(int(plan.binding[row])).name.split("_"))
    carried = plan.capacity_rps[row] * plan.desired[row]
    unmet = float(plan.unmet_ratio[row])
    return {
        "variant": catalog.variant_names[row],
        "model": labels["model_name"],
        "accelerator": labels["accelerator_type"],
        "service_class": labels["service_class"],
        "replicas": int(plan.desired[row]),
        "accelerators": int(plan.desired[row] * catalog.accelerators_per_replica[row]),
        "binding": binding,
        "reason": BINDING_MEANINGS[binding],
        "cost_per_hour": float(catalog.cost_per_hour[row] * plan.desired[row]),
        "power_w": _number(float(plan.power_w[row])),
        "capacity_rps": _number(float(plan.capacity_rps[row])),
        "share_rps": _number(float(plan.share_rps[row])),
        "headroom_ratio": _number(1.0 - float(plan.share_rps[row]) / carried)
        if carried > 0
        else None,
        "unmet_ratio": _number(unmet),
        "withstands": _withstood(float(plan.withstood_error_ratio[row])),
        "percentile": 100 * float(request.slo.percentile_ratio[row]),
        "ttft_s": {"p50": _at(median.ttft_s, row), "slo": _at(plan.ttft_s, row)},
        "itl_s": {
            which: None if catalog.supply.role[row] == PREFILL else _at(itl_s, row)
            for which, itl_s in (("p50", median.itl_s), ("slo", plan.itl_s))
        },
    }


def _withstood(ratio: float) -> dict[str, Any]:
    """Return the error of demand or capacity that the model bears, and which ones are borne."""
    checks = {f"{100 * e:g}_percent": ratio >= e - 1e-9 for e in CHECKED_ERRORS}
    return {"error_ratio": _number(ratio), **checks}


def _at(values: FloatArray, row: int) -> float | None:
    return _number(float(values[row]))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _resources(catalog: Catalog, plan: Plan) -> list[dict[str, Any]]:
    supply = catalog.supply
    used = supply.uses.used(plan.desired)
    return [
        {"name": name, "used": float(u), "capacity": float(c)}
        for name, u, c in zip(supply.names, used, supply.uses.capacity, strict=True)
    ]


def _unmet(catalog: Catalog, plan: Plan) -> dict[str, float]:
    return {
        catalog.model_names[int(m)]: float(r)
        for m, r in zip(catalog.variant_model, plan.unmet_ratio, strict=True)
    }


def to_table(found: Mapping[str, Any]) -> str:
    """Return what `report` gave as text that a person can read."""
    rows = found["variants"]
    percentile = f"p{rows[0]['percentile']:g}" if rows else "p95"
    head = (
        "variant", "class", "accelerator", "replicas", "why", "cost/h", "power",
        "headroom", "bears", "TTFT p50", percentile, "ITL p50", percentile,
    )  # fmt: skip
    lines = [*_aligned([head, *(_cells(row) for row in rows)]), ""]
    lines.append(f"{found['cost_per_hour']:.2f} per hour, {(found['power_w'] or 0.0) / 1e3:.2f} kW")
    lines += [f"{r['name']}: {r['used']:g} of {r['capacity']:g} used" for r in found["resources"]]
    lines += [
        f"{name}: {100 * ratio:.0f} % of its demand isn't carried within its SLO"
        for name, ratio in found["unmet"].items()
    ]
    if found["gap_ratio"] > 0.0:
        lines.append(f"at most {100 * found['gap_ratio']:.1f} % above the least possible")
    lines += [
        f"{row['variant']}: {row['routing']}"
        for row in rows
        if ": " in row["routing"].partition(")")[2]
    ]
    lines.append(_robustness(rows))
    return "\n".join(lines) + "\n"


def _robustness(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say whose SLO holds where demand or capacity are wrong by each of the checked errors."""
    told = []
    for name in (f"{100 * e:g}_percent" for e in CHECKED_ERRORS):
        missed = sorted({row["model"] for row in rows if not row["withstands"][name]})
        who = f"missed by {', '.join(missed)}" if missed else "no SLO is missed"
        told.append(f"if demand or capacity are {name.removesuffix('_percent')} % off: {who}")
    return "\n".join(told)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    headroom = row["headroom_ratio"]
    power = row["power_w"]
    borne = row["withstands"]["error_ratio"]
    return (
        row["variant"],
        row["service_class"],
        row["accelerator"],
        str(row["replicas"]),
        row["binding"],
        f"{row['cost_per_hour']:.2f}",
        "-" if power is None else f"{power / 1e3:.2f} kW",
        "-" if headroom is None or row["replicas"] == 0 else f"{100 * headroom:.0f} %",
        "-" if borne is None or row["replicas"] == 0 else f"{100 * borne:.0f} %",
        *(
            _milliseconds(row[kind][which])
            for kind in ("ttft_s", "itl_s")
            for which in ("p50", "slo")
        ),
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.0f} ms"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        words = zip(row[:3], widths[:3], strict=True)
        numbers = zip(row[3:], widths[3:], strict=True)
        yield "  ".join(
            [*(w.ljust(n) for w, n in words), *(w.rjust(n) for w, n in numbers)]
        ).rstrip()
