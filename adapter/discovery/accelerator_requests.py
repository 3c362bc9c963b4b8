"""Accelerators that a pod asks for, and what nodes say of theirs. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..accelerators import common_name
from ..kube.fields import items_at, mapping_at, quantity, text_at, texts_at

__all__ = ["ACCELERATOR_LABELS", "is_accelerator", "named_by", "requested"]

# Extended resources; whatever Intel's plugins call theirs begins the same.
_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi")
_RESOURCE_PREFIXES = ("gpu.intel.com/", "nvidia.com/mig-")
# Labels by which nodes tell their accelerator's type, and node selectors ask for it.
ACCELERATOR_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "amd.com/gpu.product-name",
    "beta.amd.com/gpu.product-name",
    "habana.ai/product.name",
    "gpu.intel.com/product",
    "karpenter.k8s.aws/instance-gpu-name",
    "gpu.nvidia.com/class",
)


def is_accelerator(resource: str) -> bool:
    """Return whether a resource's name is that of an accelerator."""
    return resource in _RESOURCES or resource.startswith(_RESOURCE_PREFIXES)


def requested(spec: Mapping[str, Any]) -> tuple[str, int]:
    """Return which accelerators a pod asks for and how many; ("", 0): none.

    Kubernetes takes a limit as the request where there is none, and extended resources can't
    be asked for by both in different amounts. Init containers run before the others and don't
    add to them.
    """
    total: dict[str, float] = {}
    for container in items_at(spec, "containers"):
        for name, number in _of(container):
            total[name] = total.get(name, 0.0) + number
    for container in items_at(spec, "initContainers"):
        for name, number in _of(container):
            total[name] = max(total.get(name, 0.0), number)
    if not total:
        return ("", 0)
    name = max(total, key=lambda each: total[each])
    return (name, int(total[name]))


def _of(container: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    resources = mapping_at(container, "resources")
    asked = {**mapping_at(resources, "limits"), **mapping_at(resources, "requests")}
    for name, value in asked.items():
        number = quantity(value)
        if is_accelerator(name) and number is not None and number >= 1:
            yield name, number


def named_by(spec: Mapping[str, Any]) -> str:
    """Return the type of accelerator that a pod's node selector or affinity asks for.

    An affinity counts if it is required and leaves one type: a pod that takes any of two
    could be on either.
    """
    selector = mapping_at(spec, "nodeSelector")
    for label in ACCELERATOR_LABELS:
        if value := text_at(selector, label):
            return common_name(value)
    required = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    names = {
        common_name(value)
        for term in items_at(spec, *required, "nodeSelectorTerms")
        for rule in items_at(term, "matchExpressions")
        if rule.get("key") in ACCELERATOR_LABELS and rule.get("operator") == "In"
        for value in texts_at(rule, "values")
    }
    return names.pop() if len(names) == 1 else ""
