"""Going on after a restart: nothing falls before a new process has seen enough itself. Pure.

A process that takes over knows what was published and what was learned, but has read
nothing: rates need two scrapes, means a window. Until it has watched complete readings
for as long as the decision looks back, no count falls below the last one published, and
a variant that it hasn't reached yet has the age of its predecessor's reading, so that it
is held and not refused. So has one whose replicas are all new: what was known a moment ago,
of others or of none, gets old as time goes by and not at once.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from optimizer import BoolArray, FloatArray, aligned, rows_of

from .records import Publication

__all__ = ["Resume", "resumed", "watched"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resume:
    """What was published before the restart, per variant.

    Times are the decision's clock, which goes on over restarts.
    """

    names: tuple[str, ...]
    published: FloatArray  # counts; 0: none
    watched_s: FloatArray  # complete readings since the restart
    read_s: FloatArray  # when readings were last made, before the restart or since; -inf: never
    seen_s: float  # the last look

    @classmethod
    def nothing(cls) -> Self:
        """Return that there was nothing before."""
        empty = np.empty(0)
        return cls(names=(), published=empty, watched_s=empty, read_s=empty, seen_s=-np.inf)

    def aligned(self, names: tuple[str, ...]) -> Self:
        """Return the rows of `names`; a variant that wasn't there has nothing to keep."""
        if names == self.names:
            return self
        rows = rows_of(names, self.names)
        return replace(
            self,
            names=names,
            published=aligned(self.published, rows, absent=0.0),
            watched_s=aligned(self.watched_s, rows, absent=0.0),
            read_s=aligned(self.read_s, rows, absent=-np.inf),
        )

    def reading_age_s(self, age_s: FloatArray, now_s: float) -> FloatArray:
        """Return the ages with those before the restart where there is nothing newer."""
        return np.fmin(age_s, now_s - self.read_s)

    def floor(self, look_back_s: float, highest: FloatArray) -> FloatArray:
        """Return the least that may be published, per variant.

        `highest` bounds it: limits that were lowered during the restart hold.
        """
        kept = np.where(self.watched_s < look_back_s, self.published, 0.0)
        return np.minimum(kept, highest)


def resumed(publication: Publication, *, published_s: float) -> Resume:
    """Return what to go on from, given the last publication and when it was made."""
    desired = publication.values["wva_desired_replicas"]
    age_s = np.where(np.isnan(publication.reading_age_s), np.inf, publication.reading_age_s)
    return Resume(
        names=tuple(f"{key.namespace}/{key.name}" for key in publication.variants),
        published=np.where(np.isfinite(desired), desired, 0.0),
        watched_s=np.zeros(len(publication.variants)),
        read_s=published_s - age_s,
        seen_s=np.inf,
    )


def watched(
    resume: Resume,
    *,
    names: tuple[str, ...],
    complete: BoolArray,
    reading_age_s: FloatArray,
    now_s: float,
) -> Resume:
    """Return the state after one more tick; `complete` says whose readings are."""
    resume = resume.aligned(names)
    elapsed_s = max(0.0, now_s - resume.seen_s) if np.isfinite(resume.seen_s) else 0.0
    watched_s = resume.watched_s + np.where(complete, elapsed_s, 0.0)
    read_s = np.fmax(resume.read_s, now_s - reading_age_s)
    return replace(resume, watched_s=watched_s, read_s=read_s, seen_s=now_s)
