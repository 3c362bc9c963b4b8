"""The world from tick to tick: joined anew when something changed, and put beside the readings."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from ..clock import Clock
from ..collect.faults import FaultBook
from ..collect.fleet import Sighting
from ..config import Settings
from ..records import Circumstances, Reason, Snapshot
from .standing import Standing
from .view import ClusterView
from .workloads import NamedTarget
from .world import World, join

__all__ = ["Cluster", "ClusterFollower"]

# Orders by annotation end by the clock, without any object changing.
_JOIN_AGAIN_S = 15.0


class Cluster(Protocol):
    """Where the cluster's objects come from."""

    def view(self) -> ClusterView:
        """Return the cluster as it is known now."""
        ...

    def want(self, targets: frozenset[NamedTarget]) -> None:
        """Follow these scale targets, too."""
        ...


class ClusterFollower:
    """Settings and the cluster joined, again and again.

    Parameters
    ----------
    cluster : Cluster
    clock : Clock
        For orders that end, and for how long problems have been there.
    """

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._faults = FaultBook()
        self._world: World | None = None
        self._joined_of: tuple[Settings, int] | None = None
        self._joined_s = 0.0
        self._declaring: frozenset[tuple[str, str, str]] = frozenset()

    def joined(self, settings: Settings) -> tuple[Settings, Sighting]:
        """Return `settings` with the cluster's variants, and their replicas.

        The settings are the same object as the last time unless what is declared has changed.
        """
        view, now_s = self._cluster.view(), self._clock.monotonic_s()
        changed = self._joined_of is None or (
            self._joined_of[0] is not settings or self._joined_of[1] != view.version
        )
        if self._world is None or changed or now_s - self._joined_s > _JOIN_AGAIN_S:
            before = self._world
            world = join(settings, view, now_unix_s=self._clock.unix_s())
            if before is not None and world.settings == before.settings:
                world = replace(world, settings=before.settings)
            self._note(world, now_s)
            self._cluster.want(world.named)
            self._declaring = _declaring(view)
            self._world, self._joined_of, self._joined_s = world, (settings, view.version), now_s
        return self._world.settings, self._world.sighting

    def declares_more(self) -> bool:
        """Return whether a variant was declared, or its target made, since the last join."""
        if self._joined_of is None or self._world is None:
            return False
        view = self._cluster.view()
        if view.version == self._joined_of[1]:
            return False
        lacking = (each.absent for each in self._world.standings.values())
        made = any(place in view.workloads for place in lacking if place is not None)
        return made or bool(_declaring(view) - self._declaring)

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with what the cluster says of its variants."""
        if self._world is None:
            return snapshot
        standings = [
            self._world.standings.get((key.namespace, key.name)) for key in snapshot.variants
        ]
        return replace(
            snapshot,
            circumstances=_circumstances(standings),
            faults=(*snapshot.faults, *self._faults.faults()),
        )

    def _note(self, world: World, now_s: float) -> None:
        told: dict[str, list[str]] = {}
        for problem in world.problems:
            told.setdefault(problem.source, []).append(problem.message)
        self._faults.keep_only(set(told))
        for source, messages in told.items():
            self._faults.failed(source, Reason.MALFORMED, "; ".join(messages), now_s=now_s)


def _declaring(view: ClusterView) -> frozenset[tuple[str, str, str]]:
    """Return kind, namespace and name of what is annotated or made to declare variants."""
    found = {
        "HorizontalPodAutoscaler": [each.metadata for each in view.hpas if each.metadata.notes],
        "ScaledObject": [each.metadata for each in view.scaled_objects if each.metadata.notes],
        "VariantAutoscaling": [each.metadata for each in view.variants],
    }
    return frozenset((kind, each.namespace, each.name) for kind in found for each in found[kind])


def _circumstances(standings: list[Standing | None]) -> Circumstances:
    reachable = [_or(each.reachable if each else None, -1) for each in standings]
    tolerance = [_or(each.tolerance_ratio if each else None, np.nan) for each in standings]
    down = [_or(each.tolerance_down_ratio if each else None, np.nan) for each in standings]
    took = [_or(each.cold_start_s if each else None, np.nan) for each in standings]
    return Circumstances(
        reachable_replicas=np.array(reachable, dtype=np.int64),
        rolling=np.array([each is not None and each.rolling for each in standings], dtype=np.bool_),
        tolerance_ratio=np.array(tolerance, dtype=np.float64),
        cold_start_s=np.array(took, dtype=np.float64),
        absent=np.array([each and each.absent is not None for each in standings], dtype=np.bool_),
        followed=np.array([each and each.followed for each in standings], dtype=np.bool_),
        tolerance_down_ratio=np.array(down, dtype=np.float64),
        departing=np.array([each.departing if each else 0 for each in standings], dtype=np.int64),
        texts={
            "declared_by": tuple(each.source if each else "" for each in standings),
            "stuck": tuple(each.stuck if each else "" for each in standings),
            "accelerators": tuple(each.supply if each else "" for each in standings),
            "hpa_limit": tuple("; ".join(each.limits) if each else "" for each in standings),
            "departing": tuple(_departing(each.departing if each else 0) for each in standings),
            "zero": tuple(each.zero if each else "" for each in standings),
            "fallback_risk": tuple(each.fallback_risk if each else "" for each in standings),
        },
    )


def _departing(count: int) -> str:
    return f"{count} on cordoned nodes: replaced before they go" if count else ""


def _or(value: float | None, absent: float) -> float:
    return absent if value is None else value
