"""What is read of targets, in the form that readings are taken from: any source can fill it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..records import Reason

__all__ = ["Buckets", "TargetTable", "Targets"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ReasonArray = NDArray[np.uint8]


class Buckets(Protocol):
    """The buckets of the targets that share a list of bounds."""

    bounds: FloatArray

    def members(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows of the target table, and rows of `totals` that belong to them."""
        ...

    def totals(self) -> FloatArray:
        """Return cumulative counts over the window."""
        ...


class TargetTable(Protocol):
    """What is known of targets, in rows; columns as in `signals`."""

    gauges: FloatArray
    gauge_reasons: ReasonArray
    lacking: ReasonArray  # per raw signal: why there is no flow of it
    read_s: FloatArray

    def flows(self) -> FloatArray:
        """Return the flows over the window."""
        ...

    def bucket_tables(self, histogram: str) -> Sequence[Buckets]:
        """Return the tables of a histogram, one for each list of bounds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The targets that are read: their rows in the table, and what they belong to."""

    row: IntArray
    group: IntArray  # their replica, or their variant
    groups: int
    unread: ReasonArray  # why a target has no reading; PRESENT: it has one

    def only(self, where: BoolArray) -> "Targets":
        """Return the targets `where`."""
        return replace(
            self, row=self.row[where], group=self.group[where], unread=self.unread[where]
        )

    def why_unread(self) -> ReasonArray:
        """Return per group why one of its targets, or all that it has, can't be read."""
        why = np.zeros(self.groups, dtype=np.uint8)
        np.maximum.at(why, self.group, self.unread)
        nobody = np.bincount(self.group, minlength=self.groups) == 0
        return np.where(nobody, Reason.NOT_READ_YET, why).astype(np.uint8)
