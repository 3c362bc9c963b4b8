"""The documents that say what is served: for the aggregator, kubectl, helm. Pure.

They depend on the served metrics' names alone, which are known from the start: discovery
must answer whatever happens behind (design 4.1). The only verb is `get`: with list,
watch or delete the garbage collector, quota and namespace deletion would come by.

Shapes: Kubernetes API types (meta/v1 APIGroup, apidiscovery.k8s.io/v2).
"""

import platform
from collections.abc import Sequence
from typing import Any

from .negotiation import Offer
from .request import GROUP, VERSION
from .wire import JSON

__all__ = [
    "AGGREGATED_FORMS",
    "aggregated_discovery",
    "api_group",
    "api_group_list",
    "api_resource_list",
    "version_info",
]

_KIND = "ExternalMetricValueList"
_GROUP_VERSION = f"{GROUP}/{VERSION}"

AGGREGATED_FORMS = (
    JSON,
    *(
        Offer(
            "application/json",
            (("g", "apidiscovery.k8s.io"), ("v", version), ("as", "APIGroupDiscoveryList")),
        )
        for version in ("v2", "v2beta1")
    ),
)


def api_group() -> dict[str, Any]:
    """Return the APIGroup document of /apis/external.metrics.k8s.io."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def api_group_list() -> dict[str, Any]:
    """Return the APIGroupList document of /apis for clients that know no aggregated one."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def api_resource_list(metrics: Sequence[str]) -> dict[str, Any]:
    """Return the APIResourceList document of the group's version."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": _GROUP_VERSION,
        "resources": [
            {
                "name": metric,
                "singularName": "",
                "namespaced": True,
                "kind": _KIND,
                "verbs": ["get"],
            }
            for metric in metrics
        ],
    }


def aggregated_discovery(metrics: Sequence[str], *, version: str) -> dict[str, Any]:
    """Return the APIGroupDiscoveryList document of /apis, `version` v2 or v2beta1.

    A resource without responseKind is dropped by clients.
    """
    kind = {"group": GROUP, "version": VERSION, "kind": _KIND}
    resources = [
        {
            "resource": metric,
            "responseKind": kind,
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
        }
        for metric in metrics
    ]
    served = {"version": VERSION, "freshness": "Current", "resources": resources}
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {"metadata": {"name": GROUP, "creationTimestamp": None}, "versions": [served]},
        ],
    }


def version_info(adapter_version: str) -> dict[str, str]:
    """Return the document of /version; what doesn't apply to us is empty."""
    major, minor = (*adapter_version.split("."), "", "")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{adapter_version}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def _group() -> dict[str, Any]:
    version = {"groupVersion": _GROUP_VERSION, "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}
