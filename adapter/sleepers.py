"""Models without a replica, and whether a first request waits for one of them. Pure.

Nobody but the router knows of such a request, and each second that it waits is part of
what its sender sees, so the router is asked more often than a tick comes.
"""

import numpy as np
from numpy.typing import NDArray

from .records import ModelKey, Readings, Snapshot

__all__ = ["Sleepers"]


class Sleepers:
    """The models at zero, or sent there, and whose waiting requests were acted on."""

    def __init__(self) -> None:
        self._asleep: frozenset[ModelKey] = frozenset()
        self._answered: frozenset[ModelKey] = frozenset()
        self._waited: frozenset[ModelKey] = frozenset()

    def __bool__(self) -> bool:
        """Return whether there is a model at zero for which nobody is known to wait."""
        return bool(self._asleep - self._answered)

    def follow(self, snapshot: Snapshot) -> None:
        """Take up what the snapshot of a tick says; the tick answers whoever waited by then."""
        awake = np.zeros(len(snapshot.models), dtype=np.bool_)
        # An unknown count, -1, is not zero.
        awake[snapshot.variant_model[snapshot.current_replicas != 0]] = True
        self._asleep = _chosen(snapshot.models, ~awake)
        queue = snapshot.model.get("router_queue_requests")
        waited = _chosen(snapshot.models, _waiting(queue)) if queue is not None else frozenset()
        self._waited = waited
        self._answered = self._asleep & waited

    def send(self, snapshot: Snapshot, desired: NDArray[np.float64]) -> None:
        """Take up what was decided: who is sent to zero may be there before the next tick.

        A request that comes in between would wait for that tick otherwise.
        """
        kept = np.zeros(len(snapshot.models), dtype=np.bool_)
        kept[snapshot.variant_model[desired != 0]] = True
        self._asleep |= _chosen(snapshot.models, ~kept)
        self._answered = self._asleep & self._waited

    def called_by(self, models: tuple[ModelKey, ...], queue: Readings) -> bool:
        """Return whether a request waits for a model at zero whose call isn't answered yet."""
        return bool((self._asleep - self._answered) & _chosen(models, _waiting(queue)))


def _waiting(queue: Readings) -> NDArray[np.bool_]:
    return np.asarray(queue.values > 0)  # NaN, missing, compares false


def _chosen(models: tuple[ModelKey, ...], where: NDArray[np.bool_]) -> frozenset[ModelKey]:
    return frozenset(models[row] for row in np.flatnonzero(where))
