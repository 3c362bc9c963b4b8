"""Accelerators that a cluster has and allows, as bounds of the decision. Pure.

A ResourceQuota bounds always: the API server refuses what is above it. What nodes have
bounds only with `strict_capacity`, since a node autoscaler starts from no nodes at all. A cap
in the settings counts before both. No bound lies below what the variants hold already.
"""

from collections.abc import Iterable, Mapping

from ..accelerators import common_name
from ..config import Accelerator, Settings, Variant
from .declarations import Problem
from .nodes import Quota, free_accelerators
from .replicas import Replicas
from .standing import Key
from .view import ClusterView

__all__ = ["bounded", "free_of_others", "supply_in_words"]


def free_of_others(view: ClusterView, replicas: Mapping[Key, Replicas]) -> dict[str, int] | None:
    """Return accelerators that others don't hold, by type; None where that can't be known."""
    if view.nodes is None:
        return None
    ours = frozenset(
        (namespace, pod) for (namespace, _), seen in replicas.items() for pod in seen.pods
    )
    return free_accelerators(view.nodes, view.pods or (), ours)


def bounded(
    settings: Settings,
    view: ClusterView,
    replicas: Mapping[Key, Replicas],
    free: Mapping[str, int] | None,
    reports: list[Problem],
) -> Settings:
    """Return the settings with the cluster's bounds added.

    Parameters
    ----------
    settings : Settings
        With all variants.
    free : mapping of str to int or None
        Accelerators by type that others don't hold; None: nodes can't be read.
    reports : list of Problem
        Added to where a bound that is asked for can't be known.
    """
    changes: dict[str, object] = {}
    quotas = _quotas(settings, view.quotas or (), replicas)
    if quotas != settings.quotas:
        changes["quotas"] = quotas
    if settings.strict_capacity:
        changes["accelerators"] = _accelerators(settings, replicas, free, reports)
    return settings.model_copy(update=changes) if changes else settings


def _quotas(
    settings: Settings, quotas: Iterable[Quota], replicas: Mapping[Key, Replicas]
) -> dict[str, dict[str, int]]:
    """Return the settings' quotas, and what ResourceQuotas leave to the variants."""
    limits = {namespace: dict(each) for namespace, each in settings.quotas.items()}
    for quota in quotas:
        mine = [v for v in settings.variants if v.namespace == quota.namespace]
        for resource, hard, used in quota.bounds:
            asking = [v for v in mine if v.accelerator_resource == resource]
            if not asking:
                continue
            # A quota counts a pod at once, before any other count tells of it: what was asked
            # for is taken for ours.
            others = max(used - _of(asking, replicas, asked=True), 0)
            left = max(hard - others, _of(asking, replicas))
            known = limits.setdefault(quota.namespace, {})
            given = known.get(resource, -1)
            known[resource] = left if given < 0 else min(given, left)
    return limits


def _accelerators(
    settings: Settings,
    replicas: Mapping[Key, Replicas],
    free: Mapping[str, int] | None,
    reports: list[Problem],
) -> dict[str, Accelerator]:
    """Return the settings' accelerators, with counts from the nodes where they have none."""
    found = dict(settings.accelerators)
    missing = sorted(
        name
        for name in {v.accelerator for v in settings.variants if v.key in replicas}
        if name not in found or found[name].count is None
    )
    if missing and free is None:
        message = (
            f"strict_capacity: nodes can't be read, so that {', '.join(missing)} can't be counted "
            "and count as unlimited; allow nodes to be listed, or set accelerators.NAME.count"
        )
        reports.append(Problem(source="kubernetes nodes", message=message))
    for name in missing:
        mine = [v for v in settings.variants if v.accelerator == name]
        count = -1 if free is None else max(free.get(common_name(name), 0), _of(mine, replicas))
        found[name] = (found.get(name) or Accelerator()).model_copy(update={"count": count})
    return found


def _of(
    variants: Iterable[Variant], replicas: Mapping[Key, Replicas], *, asked: bool = False
) -> int:
    """Return the accelerators that variants have; with `asked`, or have asked for."""
    total = 0
    for variant in variants:
        seen = replicas.get(variant.key)
        if seen is not None:
            wanted = max(seen.asked, len(seen.groups)) if asked else 0
            total += max(seen.current, wanted, 0) * variant.accelerators_per_replica
    return total


def supply_in_words(
    variant: Variant, free: Mapping[str, int] | None, quotas: Iterable[Quota], *, strict: bool
) -> str:
    """Return how many accelerators a variant can have, as a person is told."""
    kind = common_name(variant.accelerator)
    words = ["no limit known: nodes can't be read"]
    if free is not None:
        bounds = ", which bounds it" if strict else ""
        words = [f"{free.get(kind, 0)} {kind} on nodes that others don't hold{bounds}"]
    words += [
        f"the namespace's quota has {used} of {hard} {resource} used"
        for quota in quotas
        if quota.namespace == variant.namespace
        for resource, hard, used in quota.bounds
    ]
    return "; ".join(words)
