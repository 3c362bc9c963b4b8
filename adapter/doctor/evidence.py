"""What the doctor has seen of a cluster: raw objects, and what couldn't be read and why.

An object that isn't there is None; one that couldn't be read is `Unread`: the two are not
the same, and no check takes one for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ADAPTER",
    "API_SERVICE",
    "Evidence",
    "Object",
    "Right",
    "Seen",
    "SeenList",
    "Target",
    "Unread",
    "condition",
    "dig",
    "name_of",
]

ADAPTER = "wva"  # the name of the Deployment, Service, account and lease in our manifests
API_SERVICE = "v1beta1.external.metrics.k8s.io"

Object = Mapping[str, Any]
Target = tuple[str, str, str]  # namespace, kind, name


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that couldn't be read."""

    reason: str


Seen = Object | None | Unread
SeenList = tuple[Object, ...] | Unread


@dataclass(frozen=True, slots=True)
class Right:
    """A permission that somebody needs, and whether they have it (None: not known)."""

    who: str
    verb: str
    resource: str  # with its group: "pods", "deployments.apps"
    needed_for: str
    allowed: bool | None
    namespace: str = ""
    why_unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One look at a cluster; `namespace` is where the adapter is looked for."""

    namespace: str
    version: Seen = None  # /version
    api_service: Seen = None
    deployment: Seen = None
    lease: Seen = None
    pods: SeenList = ()  # the adapter's
    rights: tuple[Right, ...] = ()
    hpas: SeenList = ()
    scaled_objects: SeenList = ()
    keda: bool = False  # whether the API server knows ScaledObjects
    targets: Mapping[Target, Seen] = field(default_factory=dict)
    explanations: Mapping[tuple[str, str], Seen] = field(default_factory=dict)
    clock_ahead_s: float | None = None  # this machine's clock minus the API server's
    server_unix_s: float | None = None  # the API server's clock


def dig(content: Any, *keys: str, default: Any = None) -> Any:
    """Return what is below `keys`, `default` where one of them is missing."""
    for key in keys:
        if not isinstance(content, Mapping) or content.get(key) is None:
            return default
        content = content[key]
    return content


def name_of(content: Object) -> str:
    """Return "namespace/name" of an object."""
    return f"{dig(content, 'metadata', 'namespace')}/{dig(content, 'metadata', 'name')}"


def condition(content: Object, kind: str) -> Object:
    """Return a condition of an object's status; empty if it has none of this type."""
    conditions = dig(content, "status", "conditions", default=())
    return next((each for each in conditions if each.get("type") == kind), {})
