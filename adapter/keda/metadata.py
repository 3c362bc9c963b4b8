"""A trigger's metadata -> which number is asked for. Pure.

Decides nothing about the number. A key that means nothing to us is an error, so that a
misspelt one is noticed when the ScaledObject is applied and not when it should scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from adapter.errors import BadRequestError, ForbiddenError

__all__ = ["DEFAULT_METRIC", "KEYS", "ScalerRef", "check_namespace", "parse_scaler_ref"]

DEFAULT_METRIC = "wva_desired_replicas"
KEYS = ("variantName", "namespace", "metricName")

# For KEDA itself, which passes a trigger's whole metadata on; tlsCertFile until KEDA 2.16.
_KEDA_KEYS = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile"})
_KEDA_SUFFIX = "FromEnv"
_MAX_LENGTH = 253  # of a Kubernetes name
_SHOWN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerRef:
    """What a trigger asks for, and on behalf of whom."""

    owner: str  # the ScaledObject
    owner_namespace: str
    variant: str
    namespace: str
    metric: str  # lower case


def parse_scaler_ref(name: str, namespace: str, metadata: Mapping[str, str]) -> ScalerRef:
    """Return what the trigger of ScaledObject `namespace`/`name` asks for.

    `variantName` defaults to the ScaledObject's name, `namespace` to its namespace and
    `metricName` to `wva_desired_replicas`.

    Raises
    ------
    BadRequestError
        If a key isn't known or a value can't be a name; the message names the key.
    """
    for key in metadata:
        if key not in KEYS and key not in _KEDA_KEYS and not key.endswith(_KEDA_SUFFIX):
            raise BadRequestError(
                f"unknown key {_shown(key)} in the trigger's metadata; known keys are "
                f"{', '.join(KEYS)} and KEDA's own"
            )
    owner_namespace = _name("the ScaledObject's namespace", namespace)
    return ScalerRef(
        owner=name,
        owner_namespace=owner_namespace,
        variant=_name("variantName", metadata.get("variantName", name)),
        namespace=_name("namespace", metadata.get("namespace", owner_namespace)),
        metric=_name("metricName", metadata.get("metricName", DEFAULT_METRIC)).lower(),
    )


def check_namespace(ref: ScalerRef, listed: tuple[str, ...]) -> None:
    """Refuse a variant of a namespace that isn't the ScaledObject's, unless it is listed.

    Raises
    ------
    ForbiddenError
        If the namespace is neither; the message says where to list it.
    """
    if ref.namespace == ref.owner_namespace or ref.namespace in listed or "*" in listed:
        return
    raise ForbiddenError(
        f"a ScaledObject in namespace {ref.owner_namespace!r} may not ask for namespace "
        f"{ref.namespace!r}: remove `namespace` from the trigger's metadata, or list "
        f"{ref.namespace!r} under keda.namespaces in the adapter's settings"
    )


def _name(key: str, value: str) -> str:
    if not value:
        raise BadRequestError(f"{key} is empty: leave it out, or give a name")
    if len(value) > _MAX_LENGTH:
        raise BadRequestError(
            f"{key} has {len(value)} characters, above the {_MAX_LENGTH} of a name"
        )
    if not value.isprintable() or any(c.isspace() for c in value):
        raise BadRequestError(
            f"{key}: {_shown(value)} can't be a name: it has blanks or control characters"
        )
    return value


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
