"""The cluster as it was known at one moment. Frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .autoscalers import Hpa, ScaledObject
from .declarations import Problem, VariantAutoscaling
from .nodes import Node, Quota
from .pods import Owner, Pod
from .workloads import WATCHED_KINDS, Workload

__all__ = ["ClusterView"]


def _none() -> Any:
    return field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterView:
    """Objects as they are kept; None where a kind can't be had."""

    version: int = 0
    hpas: tuple[Hpa, ...] = ()
    scaled_objects: tuple[ScaledObject, ...] = ()
    variants: tuple[VariantAutoscaling, ...] = ()
    workloads: Mapping[tuple[str, Owner], Workload]
    listed: frozenset[str] = WATCHED_KINDS  # kinds of workloads that could be listed
    unread: Mapping[tuple[str, Owner], str] = _none()  # why a named target isn't
    placed: Mapping[tuple[str, Owner], Sequence[Pod]] = _none()  # by target, named
    pods: tuple[Pod, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    quotas: tuple[Quota, ...] | None = None
    problems: tuple[Problem, ...] = ()
