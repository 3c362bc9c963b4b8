"""Pods as the replicas of a scale target, and how far it can be scaled now. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from ..collect.fleet import Group
from ..records import ReplicaState
from .pods import Owner, Pod
from .workloads import Workload

__all__ = ["Replicas", "group_pods", "replicas_of"]

PodsByOwner = dict[tuple[str, Owner], list[Pod]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """The replicas of one scale target."""

    groups: tuple[Group, ...]
    pods: tuple[str, ...]  # all of them, workers of groups too
    current: int  # -1: not known
    asked: int  # spec.replicas; -1: not known
    ready: int
    reachable: int | None  # how many there can be now; None: nothing says
    stuck: str  # why there can't be more, with an example; "" if nothing keeps them
    node: str  # where one of them runs
    accelerators: tuple[str, int] = ("", 0)  # that the pods of one replica ask for
    cold_start_s: float | None = None  # that replicas took; None: no pod shows it
    departing: int = 0  # on a node that is cordoned: they will have to go


def group_pods(pods: Iterable[Pod]) -> PodsByOwner:
    """Return the pods that are there to stay, by whom they belong to."""
    owned: PodsByOwner = {}
    for pod in pods:
        if not pod.leaving and pod.owner[1]:
            owned.setdefault((pod.namespace, pod.owner), []).append(pod)
    return owned


def replicas_of(
    namespace: str,
    variant: str,
    workload: Workload | None,
    pods: list[Pod] | None,
    *,
    absent: int = 0,
    cordoned: frozenset[str] = frozenset(),
) -> Replicas:
    """Return a variant's replicas.

    Parameters
    ----------
    pods : list of Pod or None
        None where pods can't be listed.
    absent : int
        How many a target has that isn't known and has no pods: 0 where it isn't there, -1
        where it can't be read.
    cordoned : frozenset of str
        Nodes that take no more pods, and will lose those that they have.
    """
    current, ready = _counts(workload)
    asked = workload.wanted if workload is not None else -1
    if pods is None:
        return Replicas(
            groups=(), pods=(), current=current, asked=asked, ready=ready, reachable=None,
            stuck="", node="",
        )  # fmt: skip
    members: dict[str, list[Pod]] = {}
    for pod in pods:
        members.setdefault(pod.group, []).append(pod)
    groups, stuck = [], []
    for group in members.values():
        held = next((pod for pod in group if pod.stuck), None)
        if held is not None:
            stuck.append(held)
        groups.append(_group(namespace, variant, group))
    serving = sum(group.state is ReplicaState.READY for group in groups)
    if workload is not None and workload.rolling:
        serving = min(serving, workload.wanted)  # surge pods are no capacity
    return Replicas(
        groups=tuple(groups),
        pods=tuple(pod.name for pod in pods),
        current=current if workload is not None else len(groups) or absent,
        asked=asked,
        ready=serving if workload is None else min(serving, current),
        reachable=len(groups) - len(stuck) + 1 if stuck else None,
        stuck=_why(stuck),
        node=next((pod.node for pod in pods if pod.node), ""),
        accelerators=_asked_for(next(iter(members.values()), [])),
        cold_start_s=_took_s(members.values()),
        departing=sum(any(pod.node in cordoned for pod in g) for g in members.values()),
    )


def _took_s(groups: Iterable[list[Pod]]) -> float | None:
    """Return the middle of what replicas took to start; the last pod of a group ends its start."""
    took = [
        max(pod.took_s for pod in group if pod.took_s is not None)
        for group in groups
        if all(pod.took_s is not None for pod in group)
    ]
    return median(took) if took else None


def _asked_for(members: list[Pod]) -> tuple[str, int]:
    resource = next((pod.accelerators[0] for pod in members if pod.accelerators[0]), "")
    return resource, sum(pod.accelerators[1] for pod in members)


def _counts(workload: Workload | None) -> tuple[int, int]:
    if workload is None:
        return -1, -1
    current = min(workload.current, workload.wanted) if workload.rolling else workload.current
    return current, min(workload.ready, current)


def _group(namespace: str, variant: str, members: list[Pod]) -> Group:
    """Return one replica: the leader answers for all its pods, which all must be ready."""
    leader = next((pod for pod in members if pod.leader), None)
    ready = leader is not None and all(pod.ready for pod in members)
    return Group(
        namespace=namespace,
        variant=variant,
        replica=leader.name if leader is not None else members[0].group,
        state=ReplicaState.READY if ready else ReplicaState.STARTING,
        # Who isn't ready is expected not to answer.
        urls=(leader.url,) if leader is not None and leader.url and ready else (),
    )


def _why(stuck: list[Pod]) -> str:
    if not stuck:
        return ""
    first = stuck[0]
    others = f" and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    return f"{first.stuck}: {first.name}{others}"
