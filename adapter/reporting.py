"""Which replicas count, and for what: the readings of a snapshot that are believed. Pure.

* A replica whose last reading failed counts with its last rate at once: the window goes on
  sliding over what it did, so its own rate would fall towards nothing. Its gauges stand
  until they are too old.
* A replica whose page can't be true (see belief.py) is silent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer import BoolArray, FloatArray, IntArray

from .belief import doubts
from .records import Readings, Reason, ReplicaState, Snapshot

__all__ = ["Reporting", "unseen"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reporting:
    """Which replicas count, and for what."""

    variant: IntArray
    count: int  # of variants
    ready: BoolArray
    fresh: BoolArray  # its gauges count
    heard: BoolArray  # its rates do, too
    doubt: NDArray[np.uint8]  # the Reason why a replica that was read isn't believed

    @classmethod
    def of(cls, snapshot: Snapshot, max_age_s: float) -> "Reporting":
        """Return what a snapshot's replicas count for; gauges older than `max_age_s` don't."""
        doubt = doubts(snapshot.replica)
        young = snapshot.replica_age_s <= max_age_s  # NaN, never read, compares false
        fresh = young & (doubt == Reason.PRESENT)
        missed = snapshot.replica_missed
        return cls(
            variant=snapshot.replica_variant,
            count=len(snapshot.variants),
            ready=snapshot.replica_state == ReplicaState.READY,
            fresh=fresh,
            heard=fresh if missed is None else fresh & ~missed,
            doubt=doubt,
        )

    def total(self, values: FloatArray, where: BoolArray) -> FloatArray:
        """Sum over the replicas `where` of each variant."""
        return np.bincount(self.variant[where], weights=values[where], minlength=self.count).astype(
            np.float64
        )

    def mean(self, readings: Readings, where: BoolArray) -> FloatArray:
        """Average the present readings of each variant; NaN where there is none."""
        use = where & readings.present
        number = np.bincount(self.variant[use], minlength=self.count)
        total = self.total(readings.values, use)
        mean = np.divide(total, number, out=np.full(self.count, np.nan), where=number > 0)
        return np.asarray(mean, dtype=np.float64)


def unseen(snapshot: Snapshot) -> BoolArray:
    """Return the variants of which neither the count nor any replica is known."""
    listed = np.bincount(snapshot.replica_variant, minlength=len(snapshot.variants))
    return np.asarray((snapshot.current_replicas < 0) & (listed == 0))
