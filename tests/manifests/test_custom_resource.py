"""VariantAutoscaling takes every object that the published llmd.ai/v1alpha1 takes."""

from typing import Any

import jsonschema
import pytest

from tests.helpers.manifests import installed

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-8b"}
MODEL = "meta/llama-3.1-8b"

ACCEPTED = [
    pytest.param({"scaleTargetRef": TARGET, "modelID": MODEL}, id="smallest"),
    pytest.param(
        {"scaleTargetRef": TARGET, "modelID": MODEL, "variantCost": "10.0"}, id="february"
    ),
    pytest.param(
        {
            "scaleTargetRef": {"kind": "LeaderWorkerSet", "name": "vllm-lws"},
            "modelID": MODEL,
            "variantCost": "7",
            "minReplicas": 0,
            "maxReplicas": 1,
        },
        id="with bounds, target without a version",
    ),
    pytest.param(
        {
            "scaleTargetRef": TARGET,
            "modelID": MODEL,
            "serviceClass": "premium",
            "accelerator": "H100",
        },
        id="with our fields",
    ),
]
REFUSED = [
    pytest.param({"modelID": MODEL}, "scaleTargetRef", id="no target"),
    pytest.param(
        {"scaleTargetRef": {"kind": "Deployment"}, "modelID": MODEL}, "name", id="unnamed"
    ),
    pytest.param({"scaleTargetRef": TARGET, "modelID": ""}, "short|non-empty", id="empty model"),
    pytest.param(
        {"scaleTargetRef": TARGET, "modelID": MODEL, "variantCost": "-1"}, "match", id="cost"
    ),
    pytest.param(
        {"scaleTargetRef": TARGET, "modelID": MODEL, "maxReplicas": 0}, "minimum", id="max of none"
    ),
]


def version() -> Any:
    (definition,) = installed("CustomResourceDefinition")
    (only,) = definition["spec"]["versions"]
    return only


def check(**content: Any) -> None:
    schema = version()["schema"]["openAPIV3Schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(
        {"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling", "metadata": {}, **content},
        schema,
    )


def test_definition_is_the_published_name() -> None:
    (definition,) = installed("CustomResourceDefinition")
    spec = definition["spec"]
    assert definition["metadata"]["name"] == "variantautoscalings.llmd.ai"
    assert (spec["group"], version()["name"], spec["scope"]) == (
        "llmd.ai",
        "v1alpha1",
        "Namespaced",
    )
    assert spec["names"]["shortNames"] == ["va"]
    assert version()["subresources"] == {"status": {}}


@pytest.mark.parametrize("spec", ACCEPTED)
def test_valid_object_is_accepted(spec: dict[str, Any]) -> None:
    check(spec=spec)


@pytest.mark.parametrize(("spec", "words"), REFUSED)
def test_invalid_object_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=words):
        check(spec=spec)


def test_published_status_is_accepted() -> None:
    check(
        status={
            "desiredOptimizedAlloc": {
                "lastRunTime": "2026-02-01T10:00:00Z",
                "accelerator": "H100",
                "numReplicas": 3,
            },
            "actuation": {"applied": True},
            "conditions": [
                {
                    "type": "MetricsAvailable",
                    "status": "True",
                    "lastTransitionTime": "2026-02-01T10:00:00Z",
                    "reason": "MetricsFound",
                    "message": "",
                }
            ],
        }
    )


def test_columns_are_those_that_people_know() -> None:
    names = [column["name"] for column in version()["additionalPrinterColumns"]]
    assert names == ["Target", "Model", "Min", "Max", "Optimized", "MetricsReady", "Age"]


def test_cost_is_what_the_published_definition_assumes() -> None:
    spec = version()["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["variantCost"]["default"] == "10.0"
    assert spec["required"] == ["scaleTargetRef", "modelID"]
