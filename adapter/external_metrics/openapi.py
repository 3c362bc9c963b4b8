"""OpenAPI v2 and v3 of the external metrics API, for kube-apiserver to merge. Pure.

Nothing functional depends on it, but without it kube-apiserver logs an error a minute, and
`kubectl explain` knows nothing of the group.

Shapes: OpenAPI 2.0 and 3.0 specifications, with Kubernetes' group-version-kind extension.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .request import API_PREFIX, GROUP, VERSION

__all__ = ["GROUP_PATH", "content_hash", "openapi_v2", "openapi_v3", "openapi_v3_root"]

GROUP_PATH = API_PREFIX.removeprefix("/")

_LIST = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList"
_VALUE = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue"


@dataclass(frozen=True, slots=True)
class _Operation:
    """One GET; `schema` is its answer's, "" for a plain object; parameters are (place, name)."""

    path: str
    description: str
    schema: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        return {"description": self.description, "tags": ["externalMetrics_v1beta1"]}

    def answer(self, prefix: str) -> dict[str, str]:
        return _ref(prefix, self.schema) if self.schema else {"type": "object"}


def content_hash(body: bytes) -> str:
    """Return a hash of a document, upper-case hex, for its ETag and its v3 address."""
    return hashlib.sha256(body).hexdigest().upper()


def openapi_v2(metrics: Sequence[str], adapter_version: str) -> dict[str, Any]:
    """Return the document of /openapi/v2."""
    return {
        "swagger": "2.0",
        "info": _info(adapter_version),
        "paths": {one.path: {"get": _operation_v2(one)} for one in _operations(metrics)},
        "definitions": _schemas("#/definitions/"),
    }


def openapi_v3(metrics: Sequence[str], adapter_version: str) -> dict[str, Any]:
    """Return the document of the group's version under /openapi/v3."""
    return {
        "openapi": "3.0.0",
        "info": _info(adapter_version),
        "paths": {one.path: {"get": _operation_v3(one)} for one in _operations(metrics)},
        "components": {"schemas": _schemas("#/components/schemas/")},
    }


def openapi_v3_root(group_hash: str) -> dict[str, Any]:
    """Return the document of /openapi/v3, which says where the group's document is."""
    address = f"/openapi/v3/{GROUP_PATH}?hash={group_hash}"
    return {"paths": {GROUP_PATH: {"serverRelativeURL": address}}}


def _info(adapter_version: str) -> dict[str, str]:
    return {"title": "WVA external metrics", "version": adapter_version}


def _operations(metrics: Sequence[str]) -> list[_Operation]:
    return [
        _Operation(f"{API_PREFIX}/", "list the metrics that are served"),
        *(
            _Operation(
                f"{API_PREFIX}/namespaces/{{namespace}}/{metric}",
                f"read {metric} of the variants that labelSelector matches",
                _LIST,
                (("path", "namespace"), ("query", "labelSelector")),
            )
            for metric in metrics
        ),
    ]


def _operation_v2(operation: _Operation) -> dict[str, Any]:
    return {
        **operation.document,
        "produces": ["application/json"],
        "parameters": [
            {"in": place, "name": name, "type": "string", "required": place == "path"}
            for place, name in operation.parameters
        ],
        "responses": {"200": {"description": "OK", "schema": operation.answer("#/definitions/")}},
    }


def _operation_v3(operation: _Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": operation.answer("#/components/schemas/")}}
    return {
        **operation.document,
        "parameters": [
            {"in": place, "name": name, "schema": {"type": "string"}, "required": place == "path"}
            for place, name in operation.parameters
        ],
        "responses": {"200": {"description": "OK", "content": content}},
    }


def _ref(prefix: str, schema: str) -> dict[str, str]:
    return {"$ref": f"{prefix}{schema}"}


def _schemas(prefix: str) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        _LIST: {
            "description": "A list of values of one external metric.",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": text,
                "kind": text,
                "metadata": {"type": "object"},
                "items": {"type": "array", "items": _ref(prefix, _VALUE)},
            },
            "x-kubernetes-group-version-kind": [_kind("ExternalMetricValueList")],
        },
        _VALUE: {
            "description": "The value of an external metric for one variant.",
            "type": "object",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                "metricName": text,
                "metricLabels": {"type": "object", "additionalProperties": text},
                "timestamp": {"type": "string", "format": "date-time"},
                "window": {"type": "integer", "format": "int64"},
                "value": {**text, "description": "A quantity, such as 3 or 2500m."},
            },
            "x-kubernetes-group-version-kind": [_kind("ExternalMetricValue")],
        },
    }


def _kind(kind: str) -> dict[str, str]:
    return {"group": GROUP, "kind": kind, "version": VERSION}
