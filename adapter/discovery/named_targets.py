"""Scale targets of other kinds than those that are watched, and Services that replicas are behind.

Few variants need one, so each is followed by itself for as long as somebody names it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from ..kube.transport import KubeTransport
from ..kube.watch import Pace
from .declarations import Problem
from .followed_target import FollowedTarget
from .pods import Owner, Pod
from .workloads import NamedTarget, Workload

__all__ = ["NamedTargets"]


class NamedTargets:
    """Those that somebody wants, each followed by a task of its own.

    Parameters
    ----------
    transport : KubeTransport
    pace : Pace
        Of their watches.
    """

    def __init__(self, transport: KubeTransport, *, pace: Pace) -> None:
        self._transport, self._pace = transport, pace
        self._wanted: frozenset[NamedTarget] = frozenset()
        self._followed: dict[NamedTarget, tuple[FollowedTarget, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Follow what is wanted until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.want(self._wanted)
            await asyncio.Event().wait()

    def want(self, targets: frozenset[NamedTarget]) -> None:
        """Follow these, and no others."""
        self._wanted = targets
        if self._group is None:
            return
        for gone in self._followed.keys() - targets:
            self._followed.pop(gone)[1].cancel()
        for new in targets - self._followed.keys():
            followed = FollowedTarget(self._transport, new, self._pace)
            self._followed[new] = (followed, self._group.create_task(followed.run()))

    def stamp(self) -> tuple[Any, ...]:
        """Return what changes when something does."""
        return tuple((target, each.stamp()) for target, (each, _) in self._followed.items())

    def workloads(self) -> dict[tuple[str, Owner], Workload]:
        """Return the scale targets that are known."""
        return {
            (target.namespace, target.owner): each.workload
            for target, (each, _) in self._followed.items()
            if each.workload is not None
        }

    def pods(self, known: Mapping[tuple[str, str], Pod]) -> dict[tuple[str, Owner], list[Pod]]:
        """Return the pods of each target of which it is known which they are."""
        found = {}
        for target, (each, _) in self._followed.items():
            replicas = each.replicas(known)
            if replicas is not None:
                found[(target.namespace, target.owner)] = list(replicas)
        return found

    def problems(self) -> list[Problem]:
        """Return what is amiss with any of them."""
        return [problem for each, _ in self._followed.values() for problem in each.problems()]

    def faults(self) -> dict[tuple[str, Owner], str]:
        """Return why a target can't be read, by target."""
        return {
            (target.namespace, target.owner): each.problem
            for target, (each, _) in self._followed.items()
            if each.problem
        }
