import json
from datetime import UTC, datetime

import pytest

from adapter import errors
from adapter.external_metrics import discovery, openapi, wire
from adapter.publish import SERVED_METRICS


def test_an_item_holds_what_kubernetes_decodes():
    item = json.loads(wire.encode_item("m", {"a": "b"}, 2.5, 1_700_000_000.9))
    assert item == {
        "metricName": "m",
        "metricLabels": {"a": "b"},
        "timestamp": "2023-11-14T22:13:20Z",
        "value": "2500m",
    }
    datetime.strptime(item["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def test_a_list_is_json_whatever_the_number_of_items():
    item = wire.encode_item("m", {}, 1.0, 0.0)
    for count in range(3):
        document = json.loads(wire.encode_list([item] * count))
        assert document["kind"] == "ExternalMetricValueList"
        assert document["apiVersion"] == "external.metrics.k8s.io/v1beta1"
        assert document["metadata"] == {}
        assert len(document["items"]) == count


def test_a_table_has_a_cell_for_each_column():
    cells = [str(i) for i in range(len(wire.TABLE_COLUMNS))]
    table = json.loads(wire.encode_table("v1", [cells]))
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [row["cells"] for row in table["rows"]] == [cells]
    assert {column["type"] for column in table["columnDefinitions"]} == {"string"}
    assert len(table["columnDefinitions"]) == len(cells)


def test_nan_is_never_written():
    with pytest.raises(ValueError):
        wire.as_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.BadSelectorError("x"), 400, "BadRequest"),
        (errors.UnauthorizedError("x"), 401, "Unauthorized"),
        (errors.ForbiddenError("x"), 403, "Forbidden"),
        (errors.UnknownMetricError("x"), 404, "NotFound"),
        (errors.MethodNotAllowedError("x"), 405, "MethodNotAllowed"),
        (errors.NotAcceptableError("x"), 406, "NotAcceptable"),
        (errors.StalePublicationError("x"), 503, "ServiceUnavailable"),
        (errors.AdapterError("x"), 500, "InternalError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_error_becomes_a_status(error, code, reason):
    assert json.loads(wire.error_status(error)) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "x",
        "reason": reason,
        "code": code,
    }


class TestDiscovery:
    def test_every_form_lists_every_metric_with_the_verb_get_alone(self):
        plain = discovery.api_resource_list(SERVED_METRICS)["resources"]
        assert [one["name"] for one in plain] == list(SERVED_METRICS)
        assert all(one["verbs"] == ["get"] and one["namespaced"] for one in plain)
        for version in ("v2", "v2beta1"):
            document = discovery.aggregated_discovery(SERVED_METRICS, version=version)
            assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
            (group,) = document["items"]
            resources = group["versions"][0]["resources"]
            assert [one["resource"] for one in resources] == list(SERVED_METRICS)
            assert all(one["verbs"] == ["get"] and one["responseKind"] for one in resources)

    def test_there_is_something_to_list_before_any_publication(self):
        assert SERVED_METRICS

    def test_the_group_prefers_its_version(self):
        assert discovery.api_group()["preferredVersion"] == {
            "groupVersion": "external.metrics.k8s.io/v1beta1",
            "version": "v1beta1",
        }
        assert discovery.api_group_list()["groups"][0]["name"] == "external.metrics.k8s.io"

    def test_version(self):
        info = discovery.version_info("1.2.3")
        assert (info["major"], info["minor"], info["gitVersion"]) == ("1", "2", "v1.2.3")
        assert all(isinstance(value, str) for value in info.values())


class TestOpenApi:
    @pytest.mark.parametrize("version", ["v2", "v3"])
    def test_references_resolve_and_paths_stay_in_the_group(self, version):
        make = openapi.openapi_v2 if version == "v2" else openapi.openapi_v3
        document = make(SERVED_METRICS, "1.2.3")
        assert all(path.startswith(f"/{openapi.GROUP_PATH}/") for path in document["paths"])
        text = json.dumps(document)
        for reference in set(_references(document)):
            node = document
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]
            assert node["type"] == "object"
        assert "ExternalMetricValueList" in text
        assert len(document["paths"]) == 1 + len(SERVED_METRICS)

    def test_the_root_points_to_the_group_s_document_by_its_hash(self):
        digest = openapi.content_hash(b"{}")
        address = openapi.openapi_v3_root(digest)["paths"][openapi.GROUP_PATH]["serverRelativeURL"]
        assert address == f"/openapi/v3/{openapi.GROUP_PATH}?hash={digest}"


def _references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
