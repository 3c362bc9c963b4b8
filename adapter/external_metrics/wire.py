"""The JSON of external.metrics.k8s.io/v1beta1: items, lists, tables, Status. Pure.

HPA reads only an item's value, but everything must decode: whole seconds with a Z, labels
that are strings, no scientific notation. A Status is the only error whose message HPA
shows to people.

Shapes: Kubernetes API types (metrics.external_metrics/v1beta1, meta/v1 Status and Table).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import AdapterError
from .negotiation import Offer
from .quantity import encode_quantity
from .request import GROUP, VERSION

__all__ = [
    "JSON",
    "LIST_FORMS",
    "TABLE_COLUMNS",
    "as_json",
    "encode_item",
    "encode_list",
    "encode_status",
    "encode_table",
    "error_status",
    "timestamp",
]

JSON = Offer("application/json")
_TABLES = tuple(
    Offer("application/json", (("as", "Table"), ("v", version), ("g", "meta.k8s.io")))
    for version in ("v1", "v1beta1")
)
LIST_FORMS = (JSON, *_TABLES)

# Made once: json.dumps makes one per call when it isn't the default.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

_LIST_HEAD = (
    f'{{"kind":"ExternalMetricValueList","apiVersion":"{GROUP}/{VERSION}","metadata":{{}},"items":['
).encode()

# Priority 0 is always shown by kubectl, 1 with `-o wide`.
TABLE_COLUMNS = (
    ("Variant", 0, "The variant that the value belongs to."),
    ("Value", 0, "What HPA and KEDA read; <unknown> where it is refused."),
    ("State", 0, "fresh, held (the count may not fall) or refused (HPA keeps what it has)."),
    ("Age", 0, "Age of the oldest engine reading behind the value."),
    ("Model", 1, "The model that the variant serves."),
    ("Accelerator", 1, "The accelerator that it runs on."),
    ("Message", 1, "What is wrong with the readings, if anything."),
)


def as_json(document: Any) -> bytes:
    """Return `document` as compact JSON; NaN is a fault, never a token."""
    return _ENCODER.encode(document).encode()


def timestamp(unix_s: float) -> str:
    """Return the time as Kubernetes writes it: UTC, whole seconds, Z."""
    return datetime.fromtimestamp(int(unix_s), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode_item(metric: str, labels: Mapping[str, str], value: float, read_unix_s: float) -> bytes:
    """Return one ExternalMetricValue, stamped with when its readings were made."""
    return as_json(
        {
            "metricName": metric,
            "metricLabels": dict(labels),
            "timestamp": timestamp(read_unix_s),
            "value": encode_quantity(value),
        }
    )


def encode_list(items: Iterable[bytes]) -> bytes:
    """Return an ExternalMetricValueList of encoded items."""
    return b"".join((_LIST_HEAD, b",".join(items), b"]}"))


def encode_table(version: str, rows: Sequence[Sequence[str]]) -> bytes:
    """Return a meta.k8s.io Table with a row of cells per variant, in TABLE_COLUMNS' order."""
    columns = [
        {"name": name, "type": "string", "format": "", "description": text, "priority": priority}
        for name, priority, text in TABLE_COLUMNS
    ]
    return as_json(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": {},
            "columnDefinitions": columns,
            "rows": [{"cells": list(cells), "object": None} for cells in rows],
        }
    )


def encode_status(
    code: int, reason: str, message: str, *, details: Mapping[str, str] | None = None
) -> bytes:
    """Return a Status failure."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details:
        status["details"] = dict(details)
    return as_json({**status, "code": code})


def error_status(error: AdapterError, *, details: Mapping[str, str] | None = None) -> bytes:
    """Return the Status that one of our errors becomes."""
    return encode_status(error.http_status, error.kube_reason, str(error), details=details)
