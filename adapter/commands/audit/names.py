"""Whose series these are: replicas and the workloads that they belong to, by labels. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["LABELS", "ReplicaName", "VariantName", "replica_name"]

# What results keep of the labels that Prometheus gives a target.
LABELS = ("namespace", "pod", "instance", "job")

# Kubernetes' safe alphabet has no vowels and no digits that look like letters.
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_DEPLOYMENT = re.compile(rf"(?P<name>.+)-{_SAFE}{{6,10}}-{_SAFE}{{5}}")
_NUMBERED = re.compile(r"(?P<name>.+?)-\d+(-\d+)?")
_REPLICA_SET = re.compile(rf"(?P<name>.+)-{_SAFE}{{5}}")


class VariantName(NamedTuple):
    """A workload, and the model that it serves."""

    namespace: str
    name: str
    model: str


class ReplicaName(NamedTuple):
    """One pod, or whatever is scraped at one address, and its workload."""

    variant: VariantName
    name: str


def replica_name(
    labels: Mapping[str, str], *, model_labels: Iterable[str], variant_label: str | None
) -> ReplicaName:
    """Return whose series these labels are on.

    A workload is what `variant_label` says, else the pod's name without what a Deployment or
    StatefulSet adds, else the scrape job.
    """
    pod = labels.get("pod", "")
    name = labels.get(variant_label, "") if variant_label is not None else _workload(pod)
    name = name or labels.get("job", "") or "engines"
    models = (labels.get(label, "") for label in model_labels)
    model = next((found for found in models if found), name)
    variant = VariantName(labels.get("namespace") or "default", name, model)
    return ReplicaName(variant, pod or labels.get("instance", "") or name)


def _workload(pod: str) -> str:
    for form in (_DEPLOYMENT, _NUMBERED, _REPLICA_SET):
        found = form.fullmatch(pod)
        if found is not None:
            return found["name"]
    return pod
