"""What follows the adapter's decision: HPAs and ScaledObjects, read as they are written."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .evidence import Object, Target, dig, name_of

__all__ = [
    "MANAGED",
    "OURS",
    "is_declared",
    "made_by_keda",
    "metrics_of_ours",
    "patch_command",
    "target_of",
    "triggers_of_ours",
    "variant_of",
]

MANAGED = "llm-d.ai/managed"
OURS = "wva_"
EXTERNAL = ("external", "external-push")


def is_declared(content: Object) -> bool:
    """Return whether annotations declare a variant."""
    return bool(dig(content, "metadata", "annotations", MANAGED) == "true")


def made_by_keda(hpa: Object) -> bool:
    """Return whether KEDA made this HPA for a ScaledObject, which is then what is looked at."""
    owners = dig(hpa, "metadata", "ownerReferences", default=())
    return any(owner.get("kind") == "ScaledObject" for owner in owners)


def metrics_of_ours(hpa: Object) -> list[tuple[int, Object]]:
    """Return (place in the list, metric) of the external metrics that are the adapter's."""
    metrics: Sequence[Any] = dig(hpa, "spec", "metrics", default=())
    return [
        (place, metric["external"])
        for place, metric in enumerate(metrics)
        if str(dig(metric, "external", "metric", "name", default="")).lower().startswith(OURS)
    ]


def triggers_of_ours(scaled_object: Object) -> list[tuple[int, Object]]:
    """Return (place in the list, trigger) of the triggers that lead to the adapter."""
    triggers: Sequence[Any] = dig(scaled_object, "spec", "triggers", default=())
    return [
        (place, trigger)
        for place, trigger in enumerate(triggers)
        if (trigger.get("type") in EXTERNAL and dig(trigger, "metadata", "variantName"))
        or OURS in str(dig(trigger, "metadata", "query", default=""))
    ]


def variant_of(content: Object) -> str:
    """Return the variant's name: as selector or trigger say, else the object's own."""
    for _, metric in metrics_of_ours(content):
        name = dig(metric, "metric", "selector", "matchLabels", "variant_name")
        if name:
            return str(name)
    for _, trigger in triggers_of_ours(content):
        name = dig(trigger, "metadata", "variantName")
        if name:
            return str(name)
    return str(dig(content, "metadata", "name"))


def target_of(content: Object) -> Target:
    """Return (namespace, kind, name) of what is scaled."""
    return (
        str(dig(content, "metadata", "namespace")),
        str(dig(content, "spec", "scaleTargetRef", "kind", default="Deployment")),
        str(dig(content, "spec", "scaleTargetRef", "name", default="")),
    )


def patch_command(kind: str, content: Object, change: Mapping[str, Any]) -> str:
    """Return the command that makes one change (JSON 6902) to an object."""
    namespace, name = name_of(content).split("/")
    return f"kubectl -n {namespace} patch {kind} {name} --type=json -p '{json.dumps([change])}'"
