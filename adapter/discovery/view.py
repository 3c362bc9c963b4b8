"""The cluster as it was known at one moment. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass

from .autoscalers import Hpa, ScaledObject
from .declarations import Problem, VariantAutoscaling
from .nodes import Node, Quota
from .pods import Owner, Pod
from .workloads import Workload

__all__ = ["ClusterView"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterView:
    """Objects as they are kept; None where a kind can't be had."""

    version: int = 0
    hpas: tuple[Hpa, ...] = ()
    scaled_objects: tuple[ScaledObject, ...] = ()
    variants: tuple[VariantAutoscaling, ...] = ()
    workloads: Mapping[tuple[str, Owner], Workload]
    pods: tuple[Pod, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    quotas: tuple[Quota, ...] | None = None
    problems: tuple[Problem, ...] = ()
