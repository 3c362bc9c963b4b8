"""What the adapter's own /metrics page says of variants, in the shape of an explanation. Pure.

For an adapter that the API server doesn't lead to, since KEDA alone asks it. Only the leader's
page has variants.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .evidence import Object

__all__ = ["explanations_of"]

# Sample -> where an explanation has its value; a label picks the sample.
_VALUES = {
    ("wva_ready_replicas", "", ""): ("inputs", "ready_replicas"),
    ("wva_request_tokens_mean", "part", "output"): ("inputs", "output_tokens_mean"),
    ("wva_measured_ttft_seconds", "statistic", "p95"): ("measured", "ttft_p95_s"),
    ("wva_measured_itl_seconds", "statistic", "p95"): ("measured", "itl_p95_s"),
}
_INFO, _FRESHNESS = "wva_variant_info", "wva_decision_freshness"


def explanations_of(page: str) -> dict[tuple[str, str], Object]:
    """Return what a page says, by namespace and variant.

    Raises
    ------
    ValueError
        If it is no exposition.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, labels, value in _samples(page):
        key = (labels.get("namespace", ""), labels.get("variant_name", ""))
        told = found.setdefault(key, {})
        if name == _INFO:
            told["labels"] = dict(labels)
        elif name == _FRESHNESS and value == 1.0:
            told["freshness"] = {"state": labels.get("state", "")}
        for (sample, label, wanted), (section, field) in _VALUES.items():
            if sample == name and labels.get(label, "") == wanted:
                told.setdefault(section, {})[field] = {"value": value}
    return {key: told for key, told in found.items() if "freshness" in told}


def _samples(page: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if "variant_name" in sample.labels:
                yield sample.name, sample.labels, sample.value
