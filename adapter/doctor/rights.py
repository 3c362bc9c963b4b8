"""Which permissions the adapter needs, who else needs one, and what they are for.

The same as the rules in manifests/, which a test compares. Rights on one named object are
not asked: a review of them needs the names of things that may not be there yet.
"""

from typing import NamedTuple

__all__ = ["AUTOSCALER", "YOU", "Need", "needs"]

AUTOSCALER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
YOU = "you"  # whoever runs the doctor
READ = ("list", "watch")
ABOUT = ("get", *READ)  # an event needs the uid of the object that it is about


class Need(NamedTuple):
    """Verbs on one resource, and what doesn't work without them."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    needed_for: str
    where: str = "cluster"  # or "own": in the adapter's namespace


BASE = (
    Need("authentication.k8s.io", "tokenreviews", ("create",), "callers with a token are refused"),
    Need("authorization.k8s.io", "subjectaccessreviews", ("create",), "every caller is refused"),
    Need("autoscaling", "horizontalpodautoscalers", ABOUT, "variants on HPAs aren't found"),
    Need("keda.sh", "scaledobjects", ABOUT, "variants on ScaledObjects aren't found"),
    Need("llmd.ai", "variantautoscalings", ABOUT, "VariantAutoscaling objects aren't found"),
    Need("llmd.ai", "variantautoscalings/status", ("patch",), "they get no status"),
    Need("apps", "deployments", READ, "current replicas and GPUs aren't known"),
    Need("apps", "statefulsets", READ, "current replicas and GPUs aren't known"),
    Need("leaderworkerset.x-k8s.io", "leaderworkersets", READ, "groups of pods aren't known"),
    Need("", "pods", READ, "engines aren't found"),
    Need("discovery.k8s.io", "endpointslices", READ, "pods behind a named Service aren't found"),
    Need("", "nodes", READ, "accelerators aren't counted: no limit but the settings'"),
    Need("", "resourcequotas", READ, "quotas aren't known"),
    Need("", "events", ("create", "patch"), "nothing is told with events"),
    Need("coordination.k8s.io", "leases", ("create",), "no leader is elected", "own"),
    Need("", "configmaps", ("create",), "a restart begins from nothing", "own"),
    Need("", "secrets", ("create",), "replicas can't share a certificate", "own"),
)
FOR_HPA = (
    Need(
        "apiregistration.k8s.io",
        "apiservices",
        ("create",),
        "external.metrics.k8s.io isn't routed to the adapter (KEDA needs none of that)",
    ),
)


def needs(*, api_service: bool) -> tuple[Need, ...]:
    """Return what the adapter's account needs; with `api_service`, for stock HPA, too."""
    return BASE + (FOR_HPA if api_service else ())
