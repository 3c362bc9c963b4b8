"""The examples follow variants of the example settings, and can't shrink on our silence."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from adapter.config import Settings, load_settings
from tests.helpers.manifests import KUBERNETES, MANIFESTS, name_of, objects, read, the

EXAMPLES = MANIFESTS / "examples"
BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 20, "periodSeconds": 60}],
    },
}
SCALED_OBJECT_FILES = [MANIFESTS / name for name, _ in objects("ScaledObject")]
SCALED_OBJECTS = [pytest.param(content, id=name) for name, content in objects("ScaledObject")]


def example_settings() -> Settings:
    return load_settings(EXAMPLES / "settings.yaml")


def test_example_hpa_follows_a_variant_of_the_example_settings() -> None:
    hpa = read(EXAMPLES / "hpa.yaml")
    (metric,) = hpa["spec"]["metrics"]
    assert hpa["spec"]["behavior"] == BEHAVIOR
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    assert metric["external"]["metric"]["name"] == "wva_desired_replicas"
    wanted = metric["external"]["metric"]["selector"]["matchLabels"]["variant_name"]
    (variant,) = [v for v in example_settings().variants if v.name == wanted]
    assert variant.namespace == hpa["metadata"]["namespace"]
    bounds = (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"])
    assert (variant.min_replicas, variant.max_replicas) == bounds


def test_example_settings_know_the_tolerance_of_the_examples() -> None:
    """They set none: it is the cluster's."""
    assert example_settings().hpa_tolerance == Settings().hpa_tolerance == 0.1


@pytest.mark.parametrize("path", [EXAMPLES / "hpa.yaml", *SCALED_OBJECT_FILES], ids=name_of)
def test_example_declares_a_model_of_the_example_settings(path: Path) -> None:
    annotations = read(path)["metadata"]["annotations"]
    assert annotations["llm-d.ai/managed"] == "true"
    assert annotations["llm-d.ai/model-id"] in example_settings().models


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_scaled_object_follows_a_variant_of_the_example_settings(content: Any) -> None:
    spec = content["spec"]
    trigger, *_ = spec["triggers"]
    service = the("Service")["metadata"]
    address = f"{service['name']}.{service['namespace']}.svc:{Settings().keda.port}"
    assert trigger["type"] in {"external", "external-push"}
    assert trigger["metricType"] == "AverageValue"
    assert trigger["metadata"]["scalerAddress"] == address
    wanted = trigger["metadata"]["variantName"]
    (variant,) = [v for v in example_settings().variants if v.name == wanted]
    assert variant.namespace == content["metadata"]["namespace"]
    bounds = (spec["minReplicaCount"], spec["maxReplicaCount"])
    assert (variant.min_replicas, variant.max_replicas) == bounds


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_scaled_object_cannot_shrink_on_our_silence(content: Any) -> None:
    fallback = content["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert fallback["replicas"] >= 1


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_behavior_of_a_scaled_object_is_a_valid_hpa_behavior(content: Any) -> None:
    behavior = content["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == BEHAVIOR
    hpa = read(EXAMPLES / "hpa.yaml")
    hpa["spec"]["behavior"] = behavior
    kubernetes_validate.validate(hpa, KUBERNETES[-1], strict=True)


def test_backstop_trigger_does_not_read_silence_as_no_queue() -> None:
    """KEDA's default makes a missing series 0, which would let the workload shrink."""
    ours, backstop = read(EXAMPLES / "scaled-object-backstop.yaml")["spec"]["triggers"]
    assert (ours["type"], backstop["type"]) == ("external", "prometheus")
    assert backstop["metadata"]["ignoreNullValues"] == "false"
    assert float(backstop["metadata"]["threshold"]) >= 10
