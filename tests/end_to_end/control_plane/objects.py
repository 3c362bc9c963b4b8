"""The Kubernetes objects that tests create, as a person would write them."""

from typing import Any

from .engines import ENGINE_PORT, VARIANT_LABEL
from .nodes import GPU

__all__ = ["METRIC", "api_service", "deployment", "external_name", "fast_behavior", "hpa"]

METRIC = "wva_desired_replicas"
API_SERVICE = "v1beta1.external.metrics.k8s.io"


def deployment(
    name: str, *, namespace: str, replicas: int = 1, accelerator: str = "", **pod: Any
) -> dict[str, Any]:
    """Return a Deployment of one engine per pod, which asks for one GPU."""
    labels = {VARIANT_LABEL: name}
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--model=m", "--max-num-seqs=16"],
        "ports": [{"name": "http", "containerPort": ENGINE_PORT}],
        "resources": {"limits": {GPU: "1"}},
    }
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 10, **pod}
    if accelerator:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": accelerator}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def fast_behavior(*, tolerance: str | None = "0") -> dict[str, Any]:
    """Return a behavior that adds nothing to the decision; None leaves the cluster's tolerance."""
    rules: dict[str, Any] = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
    }
    if tolerance is not None:
        rules["tolerance"] = tolerance
    return {"scaleUp": rules, "scaleDown": rules}


def hpa(
    name: str,
    *,
    namespace: str,
    least: int = 1,
    most: int = 20,
    selector: dict[str, str] | None = None,
    behavior: dict[str, Any] | None = None,
    metric: str = METRIC,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return an HPA that follows the adapter's decision for the Deployment of the same name."""
    labels = selector if selector is not None else {"variant_name": name}
    external = {
        "metric": {"name": metric, "selector": {"matchLabels": labels}},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "namespace": namespace,
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "External", "external": external}],
            "behavior": fast_behavior() if behavior is None else behavior,
        },
    }


def external_name(
    name: str = "wva", *, namespace: str = "wva-system", port: int, host: str = "localhost"
) -> dict[str, Any]:
    """Return a Service that leads out of the cluster, to where the adapter of a test listens."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ExternalName",
            "externalName": host,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        },
    }


def api_service(
    *, port: int, ca_bundle: str, name: str = "wva", namespace: str = "wva-system"
) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": name, "namespace": namespace, "port": port},
            "caBundle": ca_bundle,
        },
    }
