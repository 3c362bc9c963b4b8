"""Which replicas a Prometheus server tells of, and what they speak. Pure.

A replica that disappears from the answers is silent, not gone, until its last reading is older
than a reading may be; the ones that the settings name are never gone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import Settings, Variant
from ..records import Reason, ReplicaState
from .dialect_table import Dialect
from .fleet import Sighting
from .prometheus_api import Rows
from .series_map import SeriesMap

__all__ = ["QueriedFleet", "served_names"]

FloatArray = NDArray[np.float64]

UNKNOWN_MODEL = frozenset({"", "undefined"})


def served_names(settings: Settings, variant: Variant) -> frozenset[str]:
    """Return what engines may call a variant's model, in lower case."""
    model = settings.models.get(variant.model)
    served = model.served_names if model is not None else ()
    return frozenset(name.lower() for name in (variant.model, *served))


@dataclass(slots=True)
class _Replica:
    """A replica that the settings name or that the server has told of."""

    variant: int
    declared: bool = False
    read_s: float = math.nan  # when its series were last scraped, on our clock
    dialect: Dialect | None = None
    other_model: str = ""
    heard: bool = False  # in the last answer


class QueriedFleet:
    """The replicas, in the order of `names`."""

    def __init__(self, settings: Settings, series_map: SeriesMap) -> None:
        self._settings, self._map = settings, series_map
        self._served = [served_names(settings, variant) for variant in settings.variants]
        self._replicas = {
            url: _Replica(row, declared=True)
            for row, variant in enumerate(settings.variants)
            for url in series_map.declared(variant)
        }
        self._rows: dict[str, int] = {}
        self._sighting: Sighting | None = None
        self._index()

    def see(self, sighting: Sighting) -> None:
        """Take the cluster's pods and counts; replicas that it doesn't have are gone at once."""
        self._sighting = sighting
        variants = self._settings.variants
        there = {
            f"{group.namespace}/{group.replica}"
            for groups in sighting.groups.values()
            for group in groups
        }
        for name, one in list(self._replicas.items()):
            if variants[one.variant].key in sighting.current and name not in there:
                del self._replicas[name]
        self._index()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the replicas' names."""
        return tuple(self._rows)

    def meet(
        self, ages: Sequence[tuple[Dialect, Rows]], *, now_s: float, max_age_s: float, whole: bool
    ) -> None:
        """Take note of who is there; forget whom a whole answer has left out for too long."""
        for replica in self._replicas.values():
            replica.heard, replica.other_model = False, ""
        for dialect, answer in ages:
            for row in answer.rows:
                self._hear(dialect, row.labels, now_s - max(row.value, 0.0))
        for name, one in list(self._replicas.items()):
            old = not one.read_s > now_s - max_age_s
            if whole and old and not (one.heard or one.declared or one.other_model):
                del self._replicas[name]
        self._index()

    def row_of(self, labels: Mapping[str, str]) -> int | None:
        """Return whose a row with these labels is; None: nobody's, or of another model."""
        place = self._map.place(labels)
        row = self._rows.get(place.replica) if place is not None else None
        if place is None or row is None:
            return None
        dialect = self._replicas[place.replica].dialect
        if dialect is None or not self._is_ours(dialect, labels, place.variant):
            return None
        return row

    def dialects(self) -> list[Dialect | None]:
        """Return what the replicas speak."""
        return [one.dialect for one in self._replicas.values()]

    def variant_dialects(self) -> tuple[str, ...]:
        """Return what each variant's replicas speak, "" if that isn't known."""
        names = [""] * len(self._settings.variants)
        for one in self._replicas.values():
            if one.dialect is not None:
                names[one.variant] = one.dialect.name
        return tuple(names)

    def other_models(self) -> dict[str, str]:
        """Return the replicas that serve another model than their variant's."""
        others = self._replicas.items()
        return {name: one.other_model for name, one in others if one.other_model and not one.heard}

    def variants(self) -> NDArray[np.int64]:
        """Return the replicas' variants."""
        return np.array([one.variant for one in self._replicas.values()], dtype=np.int64)

    def read_s(self) -> FloatArray:
        """Return when the replicas were last scraped, on our clock; NaN: never."""
        return np.array([one.read_s for one in self._replicas.values()], dtype=np.float64)

    def unread(self, fresh: NDArray[np.bool_], why: Reason) -> NDArray[np.uint8]:
        """Return why replicas have no reading, `why` where the server couldn't be asked."""
        silent = why if why is not Reason.PRESENT else Reason.STALE
        reasons = []
        for one, is_fresh in zip(self._replicas.values(), fresh.tolist(), strict=True):
            if one.other_model and not one.heard:
                reasons.append(Reason.WRONG_MODEL)
            elif one.heard and is_fresh:
                reasons.append(Reason.PRESENT)
            else:
                never = math.isnan(one.read_s) and why is Reason.PRESENT
                reasons.append(Reason.NOT_READ_YET if never else silent)
        return np.array(reasons, dtype=np.uint8)

    def states(self, fresh: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Return whether replicas are up: those that a server has told of are, while it does."""
        up = [
            is_fresh or (one.heard or not one.declared)
            for one, is_fresh in zip(self._replicas.values(), fresh.tolist(), strict=True)
        ]
        states = [ReplicaState.READY if one else ReplicaState.STARTING for one in up]
        return np.array(states, dtype=np.int8)

    def counts(self, state: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return current and ready replicas where the settings name them, else -1."""
        variants, size = self.variants(), len(self._settings.variants)
        declared = np.array([not v.series and bool(v.endpoints) for v in self._settings.variants])
        current = np.bincount(variants, minlength=size)
        ready = np.bincount(variants[state == ReplicaState.READY], minlength=size)
        current, ready = np.where(declared, current, -1), np.where(declared, ready, -1)
        if self._sighting is None:
            return current, ready
        shown, keys = self._sighting, [variant.key for variant in self._settings.variants]
        return _replaced(current, keys, shown.current), _replaced(ready, keys, shown.ready)

    def _hear(self, dialect: Dialect, labels: Mapping[str, str], read_s: float) -> None:
        place = self._map.place(labels)
        if place is None:
            return
        replica = self._replicas.setdefault(place.replica, _Replica(place.variant))
        if not self._is_ours(dialect, labels, place.variant):
            replica.other_model = labels[dialect.model_label]
        elif not replica.heard:
            replica.read_s, replica.heard, replica.dialect = read_s, True, dialect
        elif replica.dialect is dialect:
            # Of several ports of a pod, the one that was read longest ago.
            replica.read_s = min(replica.read_s, read_s)

    def _is_ours(self, dialect: Dialect, labels: Mapping[str, str], variant: int) -> bool:
        model = labels.get(dialect.model_label, "")
        return model in UNKNOWN_MODEL or model.lower() in self._served[variant]

    def _index(self) -> None:
        self._rows = {name: row for row, name in enumerate(self._replicas)}


def _replaced(
    counts: NDArray[np.int64], keys: list[tuple[str, str]], known: Mapping[tuple[str, str], int]
) -> NDArray[np.int64]:
    """Return `counts` with those of `known` in their places."""
    rows = zip(keys, counts.tolist(), strict=True)
    return np.array([known.get(key, count) for key, count in rows], dtype=np.int64)
