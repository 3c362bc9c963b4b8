"""Kubernetes objects as the API server sends them, with defaults filled in."""

import copy
from collections.abc import Mapping
from typing import Any

__all__ = ["deployment", "hpa", "leader_worker_set", "node", "pod", "scaled_object", "variant"]

CREATED = "2027-01-01T00:00:00Z"


def _metadata(name: str, namespace: str, **more: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": CREATED,
    }
    return {**base, **{key: value for key, value in more.items() if value}}


def hpa(
    name: str = "chat",
    *,
    namespace: str = "default",
    model: str | None = "m",
    notes: Mapping[str, str] | None = None,
    least: int | None = 1,
    most: int = 20,
    variant_name: str = "",
    target: str = "",
    conditions: list[dict[str, str]] | None = None,
    tolerance: str | None = None,
    behavior: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    annotations = dict(notes or {})
    if model is not None:
        annotations = {
            "llm-d.ai/managed": "true",
            "llm-d.ai/model-id": model,
            **annotations,
        }
    selector = {"matchLabels": {"variant_name": variant_name}} if variant_name else None
    metric: dict[str, Any] = {"name": "wva_desired_replicas"}
    if selector:
        metric["selector"] = selector
    rules: dict[str, Any] = {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
    }
    if tolerance is not None:
        rules["tolerance"] = tolerance
    spec: dict[str, Any] = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": target or name,
        },
        "maxReplicas": most,
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": metric,
                    "target": {"type": "AverageValue", "averageValue": "1"},
                },
            }
        ],
        "behavior": behavior or {"scaleUp": rules, "scaleDown": copy.deepcopy(rules)},
    }
    if least is not None:
        spec["minReplicas"] = least
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(name, namespace, annotations=annotations, **metadata),
        "spec": spec,
        "status": {
            "currentReplicas": 1,
            "desiredReplicas": 1,
            "conditions": conditions or [],
        },
    }


def scaled_object(
    name: str = "chat",
    *,
    namespace: str = "default",
    model: str | None = "m",
    notes: Mapping[str, str] | None = None,
    trigger: Mapping[str, Any] | None = None,
    target: str = "",
    **spec: Any,
) -> dict[str, Any]:
    annotations = dict(notes or {})
    if model is not None:
        annotations = {"llm-d.ai/managed": "true", "llm-d.ai/model-id": model, **annotations}
    address = {"scalerAddress": "wva.wva-system.svc:6000"}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(name, namespace, annotations=annotations),
        "spec": {
            "scaleTargetRef": {"name": target or name},
            "triggers": [trigger or {"type": "external-push", "metadata": address}],
            **spec,
        },
    }


def variant(
    name: str = "chat",
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "llmd.ai/v1alpha1",
        "kind": "VariantAutoscaling",
        "metadata": _metadata(name, namespace, labels=dict(labels or {})),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "modelID": "m",
            **spec,
        },
    }


def engine(
    *args: str, gpus: int = 1, resource: str = "nvidia.com/gpu", **container: Any
) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--model=m", *args],
        "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "8", "memory": "64Gi"}},
    }
    if gpus:
        base["resources"]["limits"][resource] = str(gpus)
        base["resources"]["requests"] = {resource: str(gpus)}
    return {**base, **container}


def deployment(
    name: str = "chat",
    *,
    namespace: str = "default",
    replicas: int = 1,
    containers: list[dict[str, Any]] | None = None,
    pod: Mapping[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name, namespace),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": containers or [engine()], **(pod or {})},
            },
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            **status,
        },
    }


def leader_worker_set(
    name: str = "big",
    *,
    namespace: str = "default",
    replicas: int = 1,
    size: int = 2,
    gpus: int = 8,
) -> dict[str, Any]:
    template = {"spec": {"containers": [engine(gpus=gpus)]}}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(name, namespace),
        "spec": {
            "replicas": replicas,
            "leaderWorkerTemplate": {
                "size": size,
                "leaderTemplate": template,
                "workerTemplate": template,
            },
        },
        "status": {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas},
    }


def pod(
    name: str = "chat-6f7-abcde",
    *,
    namespace: str = "default",
    owner: tuple[str, str] = ("ReplicaSet", "chat-6f7"),
    labels: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    address: str = "10.0.0.1",
    ready: bool = True,
    waiting: str = "",
    unschedulable: bool = False,
    leaving: bool = False,
    node: str = "node-1",
    containers: list[dict[str, Any]] | None = None,
    phase: str = "Running",
    ready_at: str = "",
    restarts: int = 0,
) -> dict[str, Any]:
    metadata = _metadata(
        name,
        namespace,
        labels={"pod-template-hash": "6f7"} if labels is None else dict(labels),
        annotations=dict(notes or {}),
        ownerReferences=[
            {
                "apiVersion": "apps/v1",
                "kind": owner[0],
                "name": owner[1],
                "uid": "uid-owner",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    )
    if leaving:
        metadata["deletionTimestamp"] = CREATED
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if ready_at:
        conditions[0]["lastTransitionTime"] = ready_at
    if unschedulable:
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    status: dict[str, Any] = {"phase": phase, "conditions": conditions}
    if address and not unschedulable:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if waiting:
        status["containerStatuses"] = [
            {"name": "vllm", "ready": False, "state": {"waiting": {"reason": waiting}}}
        ]
    if restarts:
        status["containerStatuses"] = [{"name": "vllm", "ready": ready, "restartCount": restarts}]
    spec: dict[str, Any] = {"containers": containers or [engine()]}
    if node and not unschedulable:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def node(
    name: str = "node-1", *, product: str = "NVIDIA-H100-80GB-HBM3", gpus: int = 8, **spec: Any
) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": product} if product else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "creationTimestamp": CREATED},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "96", "nvidia.com/gpu": str(gpus)} if gpus else {"cpu": "4"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
