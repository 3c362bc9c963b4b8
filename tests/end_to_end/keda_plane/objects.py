"""ScaledObjects, as a person would write them."""

from typing import Any

from tests.end_to_end.control_plane.objects import fast_behavior

__all__ = ["KEDA_API", "scaled_object", "trigger"]

KEDA_API = "keda.sh/v1alpha1"


def trigger(kind: str, address: str, **metadata: str) -> dict[str, Any]:
    """Return a trigger that leads to the adapter."""
    return {
        "type": kind,
        "metricType": "AverageValue",
        "metadata": {"scalerAddress": address, **metadata},
    }


def scaled_object(
    name: str,
    *triggers: dict[str, Any],
    namespace: str,
    least: int = 0,
    most: int = 20,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a ScaledObject for the Deployment of the same name, with waits of seconds."""
    return {
        "apiVersion": KEDA_API,
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "pollingInterval": 1,
            "cooldownPeriod": 3,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": fast_behavior()}},
            "triggers": list(triggers),
            **spec,
        },
    }
