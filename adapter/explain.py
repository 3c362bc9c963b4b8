"""Why a variant has the number it has: one row of a Publication, as JSON and as text. Pure.

Shows what the decision was made with and nothing else: every number comes out of the
publication. A number that isn't known is null in JSON and "unknown" in text, never 0.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from .records import Freshness, Publication

__all__ = ["BINDING_MEANINGS", "BRAKE_MEANINGS", "explain_variant", "to_text"]

BINDING_MEANINGS: Mapping[str, str] = {
    "Steady": "what is there carries the demand, and nothing cheaper does",
    "Demand": "the queueing model needs this many for the SLO",
    "Saturation": "the engines' KV cache or queues need this many",
    "MinReplicas": "the variant's lower bound",
    "MaxReplicas": "the variant's upper bound; demand asks for more",
    "ScaleDownWindow": "the recent peak of demand still needs what is there",
    "Cost": "a cheaper mix of variants carries the demand",
    "HeldNoData": "no usable reading: frozen at what is there",
    "HeldPartial": "some ready replicas are silent: not down",
    "SloInfeasible": "no count meets the SLO: sized for stability alone",
    "Handover": "kept until its replacement is ready",
    "Idle": "no demand",
    "Capacity": "accelerators, quota or budget run out: shared by what a replica carries",
    "Priority": "given to a higher service class, which needs it",
    "Sturdy": "bears 20 % of error in demand or capacity, for at most 3 % more",
}

BRAKE_MEANINGS: Mapping[str, str] = {
    "WarmUp": "nothing falls before a warm-up of complete readings",
    "DownRate": "falls by a bounded share per minute",
    "UpRate": "rises to a bounded multiple per cold start",
    "Budget": "the budget per hour pays for no more",
    "Restart": "nothing falls until a restarted adapter has seen enough itself",
    "Rollout": "nothing falls while pods are being replaced by a new version",
}

# A detail's prefix names its section; one that isn't here is a section of its own.
_SECTIONS = {"input": "inputs", "bound": "bounds"}

# The longest suffix that fits a detail's name is its unit.
_UNITS = (
    ("_tokens_second_moment", "tokens²"),
    ("_tokens_mean", "tokens"),
    ("_tokens", "tokens"),
    ("_requests", "requests"),
    ("_replicas", "replicas"),
    ("_per_hour", "currency/h"),
    ("_ratio", "ratio"),
    ("_rps", "requests/s"),
    ("_tps", "tokens/s"),
    ("_bytes", "bytes"),
    ("_ms", "ms"),
    ("_w", "W"),
    ("_s", "s"),
)

# What the cluster says of a variant that has a line of its own, and the line's head.
_CIRCUMSTANCES = (
    ("hpa_limit", "HPA"),
    ("stuck", "stuck"),
    ("departing", "leaving"),
    ("zero", "zero"),
    ("fallback_risk", "KEDA"),
)

_ACRONYMS = {"ttft": "TTFT", "itl": "ITL", "kv": "KV", "slo": "SLO", "hpa": "HPA"}


def explain_variant(
    publication: Publication, row: int, age_s: float, freshness: Freshness
) -> dict[str, Any]:
    """Return all that is known of one variant's decision, ready for `json.dumps`.

    Parameters
    ----------
    publication : Publication
    row : int
        The variant's row in it.
    age_s : float
        Age of the variant's last reading, now; infinite if there is none. [s]
    freshness : Freshness
        How far the decision may be obeyed, now.
    """
    key = publication.variants[row]
    binding = publication.binding_names[int(publication.binding[row])]
    texts = {name: column[row] for name, column in publication.texts.items() if column[row]}
    return {
        "namespace": key.namespace,
        "variant": key.name,
        "labels": dict(publication.labels[row]),
        "decision": _decision(publication, row, freshness),
        "binding": binding,
        "reason": BINDING_MEANINGS.get(binding, ""),
        "brake": texts.get("brake", "None"),
        "message": publication.message[row],
        "freshness": {
            "state": freshness.name.lower(),
            "age_s": _number(age_s),
            "read_at": _instant(float(publication.read_unix_s[row]), known=math.isfinite(age_s)),
            "max_decision_age_s": publication.max_decision_age_s,
            "hold_s": publication.hold_s,
        },
        "texts": texts,
        **_sections(publication, row),
        "sequence": publication.sequence,
        "published_at": _instant(publication.published_unix_s, known=True),
    }


def to_text(explanation: Mapping[str, Any]) -> str:
    """Return what `explain_variant` gave as text that a person can read."""
    lines = [*_headline(explanation), "", *_latencies(explanation)]
    for section in ("inputs", "bounds", "predicted", "cost", "power"):
        rows = explanation.get(section, {})
        plain = {name: row for name, row in rows.items() if not _is_latency(section, name)}
        if plain:
            lines += [f"  {section}", *_table(plain), ""]
    return "\n".join(lines).rstrip() + "\n"


def _decision(publication: Publication, row: int, freshness: Freshness) -> dict[str, Any]:
    decided = _value(publication, "wva_desired_replicas", row)
    held = _number(float(publication.held_values[row]))
    served = {Freshness.FRESH: decided, Freshness.HELD: held, Freshness.REFUSED: None}
    return {
        "served_replicas": served[freshness],
        "desired_replicas": decided,
        "current_replicas": _value(publication, "wva_current_replicas", row),
        "recommended_replicas": _value(publication, "wva_recommended_replicas", row),
        "utilization_ratio": _value(publication, "wva_utilization", row),
        "traffic_ratio": _value(publication, "wva_desired_traffic_ratio", row),
    }


def _value(publication: Publication, metric: str, row: int) -> float | None:
    column = publication.values.get(metric)
    return None if column is None else _number(float(column[row]))


def _sections(publication: Publication, row: int) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for full_name, column in publication.details.items():
        prefix, _, name = full_name.partition(".")
        section = sections.setdefault(_SECTIONS.get(prefix, prefix), {})
        section[name] = _measure(float(column[row]), _unit(name))
    return sections


def _measure(value: float, unit: str) -> dict[str, Any]:
    # JSON has no infinity, and one (the TTFT of an overloaded queue) isn't unknown.
    unbounded = {"unbounded": True} if math.isinf(value) else {}
    return {"value": _number(value), "unit": unit, **unbounded}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")


def _instant(unix_s: float, *, known: bool) -> str | None:
    if not (known and math.isfinite(unix_s)):
        return None
    return datetime.fromtimestamp(unix_s, tz=UTC).isoformat(timespec="seconds")


def _headline(explanation: Mapping[str, Any]) -> Iterator[str]:
    decision, labels = explanation["decision"], explanation["labels"]
    now, served = decision["current_replicas"], decision["served_replicas"]
    verdict = "no answer" if served is None else f"{_replicas(served)} served"
    yield f"{explanation['namespace']}/{explanation['variant']}: {verdict}, {_count(now)} now"
    yield f"  because   {_named(explanation['binding'], explanation['reason'])}"
    brake = explanation["brake"]
    if brake != "None":
        yield f"  brake     {_named(brake, BRAKE_MEANINGS.get(brake, ''))}"
    for text, head in _CIRCUMSTANCES:
        if explanation["texts"].get(text):
            yield f"  {head:<9} {explanation['texts'][text]}"
    yield f"  state     {_state(explanation['freshness'], decision)}"
    if explanation["message"]:
        yield f"  missing   {explanation['message']}"
    identity = [
        f"{name} {labels[label]}"
        for name, label in (
            ("model", "model_name"),
            ("accelerator", "accelerator_type"),
            ("class", "service_class"),
        )
        if labels.get(label)
    ]
    told = {"brake", *(text for text, _ in _CIRCUMSTANCES)}
    texts = explanation["texts"].items()
    words = [f"{name.replace('_', ' ')} {word}" for name, word in texts if name not in told]
    yield f"  variant   {', '.join(identity + words)}"


def _state(freshness: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    age = freshness["age_s"]
    read = "nothing was ever read" if age is None else f"read {_quantity(age, 's')} ago"
    limits = f"held after {freshness['max_decision_age_s']:g} s, for {freshness['hold_s']:g} s"
    last = ""
    if freshness["state"] != "fresh":
        last = f"; the last decision was {_count(decision['desired_replicas'])}"
    return f"{freshness['state']}: {read} ({limits}){last}"


def _latencies(explanation: Mapping[str, Any]) -> list[str]:
    """Return target, prediction and measurement side by side, for what any of them knows."""
    slo, predicted, measured = (explanation.get(s, {}) for s in ("slo", "predicted", "measured"))
    ratio = slo.get("percentile_ratio", {}).get("value")
    percentile = "" if ratio is None else f"p{100 * ratio:g}"
    rows = []
    for kind in ("ttft", "itl"):
        tail = (
            _cell(slo, f"{kind}_s"),
            _cell(predicted, f"{kind}_s"),
            _cell(measured, f"{kind}_{percentile}_s"),
        )
        mean = ("-", _cell(predicted, f"{kind}_mean_s"), _cell(measured, f"{kind}_mean_s"))
        rows += [(f"{_words(kind)} {percentile}", tail), (f"{_words(kind)} mean", mean)]
    if all(cell == "-" for _, cells in rows for cell in cells):
        return []
    lines = [f"  {'latency':<30}{'target':>12}{'predicted':>12}{'measured':>12}"]
    for name, cells in rows:
        lines.append(f"    {name.strip():<28}" + "".join(f"{cell:>12}" for cell in cells))
    return [*lines, ""]


def _is_latency(section: str, name: str) -> bool:
    return section == "predicted" and name.startswith(("ttft_", "itl_"))


def _cell(rows: Mapping[str, Any], name: str) -> str:
    text = _told(rows[name]) if name in rows else "unknown"
    return "-" if text == "unknown" else text


def _table(rows: Mapping[str, Any]) -> Iterator[str]:
    for name, row in rows.items():
        yield f"    {_words(_bare(name)):<28}{_told(row)}"


def _bare(name: str) -> str:
    """Return the name without the suffix that the printed unit says already."""
    for suffix in ("_per_hour", "_ratio", "_rps", "_tps", "_w", "_s"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _words(name: str) -> str:
    return " ".join(_ACRONYMS.get(word, word) for word in name.split("_"))


def _named(name: str, meaning: str) -> str:
    return f"{name}: {meaning}" if meaning else name


def _replicas(count: float) -> str:
    return f"{count:g} replica{'' if count == 1 else 's'}"


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _told(measure: Mapping[str, Any]) -> str:
    if measure.get("unbounded"):
        return "unbounded"
    return _quantity(measure["value"], measure["unit"])


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    if unit == "s" and abs(value) < 1.0:
        return f"{1e3 * value:.3g} ms"
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    if unit == "currency/h":
        return f"{value:.2f} per hour"
    if unit == "replicas":
        return f"{value:g}"
    return f"{value:.4g} {unit}".rstrip()
