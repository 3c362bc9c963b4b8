"""Everything that a restart must not forget, as bytes: the last publication and the memory.

The publication is what a restarted adapter serves until it has one of its own; the memory
(learned profiles, demand, brakes) is what its decisions go on from. They are read apart:
memory that can't be used is begun anew, and what was published is still not taken back.

No clock of one machine is compared with another's where it can be helped. The decision's
own clock goes on over restarts: saved with the state, it is set forward by the time that
has passed, which the same machine's monotonic clock tells exactly until a reboot, and
otherwise whoever kept the state (its `age_s`), or at worst the two wall clocks.
"""

import struct
from collections.abc import Sized
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from .codec import CodecError, pack, unpack
from .decide import DecisionMemory
from .records import Publication
from .resume import resumed

__all__ = [
    "Moment",
    "SavedState",
    "Stamp",
    "aged_publication",
    "encode_state",
    "read_state",
    "recalled",
]

VERSION = 1
_HEAD = struct.Struct(">4sIII")
_MAGIC = b"WVAS"
# Past a limit by more than what adding up times rounds away. [s]
_MOMENT_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Now, on all clocks of a machine."""

    boot_id: str  # of the machine's last start, "" unknown
    monotonic_s: float  # since then
    unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When a state was saved, and a digest that changes when a decision does."""

    version: int
    decision_s: float  # the decision's clock
    saved: Moment
    decisions: str

    def age_s(self, now: Moment, *, kept_age_s: float | None = None) -> float:
        """Return how long ago that was; `kept_age_s` is what the state's keeper knows. [s]"""
        if now.boot_id and now.boot_id == self.saved.boot_id:
            return max(0.0, now.monotonic_s - self.saved.monotonic_s)
        if kept_age_s is not None:
            return max(0.0, kept_age_s)
        return max(0.0, now.unix_s - self.saved.unix_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A state of which only the stamp has been read."""

    stamp: Stamp
    publication_part: bytes
    memory_part: bytes

    def publication(self) -> Publication:
        """Return the last publication.

        Raises
        ------
        CodecError
            If it can't be read, or its columns don't belong together.
        """
        publication = unpack(self.publication_part, Publication)
        columns: tuple[Sized, ...] = (
            publication.labels,
            publication.message,
            *publication.texts.values(),
            *publication.values.values(),
            *publication.details.values(),
            publication.held_values,
            publication.reading_age_s,
            publication.read_unix_s,
            publication.binding,
        )
        count = len(publication.variants)
        if any(len(column) != count for column in columns):
            raise CodecError(f"a publication of {count} variants with columns of other lengths")
        if "wva_desired_replicas" not in publication.values:
            raise CodecError("a publication without wva_desired_replicas")
        return publication

    def publication_at(self, now_s: float, age_s: float, *, restored: bool = False) -> Publication:
        """Return the publication for a clock that is at `now_s` when it is `age_s` old.

        Raises
        ------
        CodecError
            As `publication`.
        """
        publication = self.publication().set_back(self.stamp.decision_s + age_s - now_s)
        return aged_publication(publication, age_s, restored=restored)

    def memory(self) -> DecisionMemory:
        """Return the memory.

        Raises
        ------
        CodecError
            If it can't be read.
        """
        return unpack(self.memory_part, DecisionMemory)


def encode_state(
    publication: Publication, memory: DecisionMemory, *, decision_s: float, saved: Moment
) -> bytes:
    """Return the state as bytes; `decision_s` and `saved` are one moment on two clocks."""
    stamp = Stamp(
        version=VERSION, decision_s=decision_s, saved=saved, decisions=_decisions(publication)
    )
    parts = (pack(stamp), pack(publication), pack(memory))
    return _HEAD.pack(_MAGIC, *(len(part) for part in parts)) + b"".join(parts)


def read_state(data: bytes) -> SavedState:
    """Return the state in `data`, its stamp read.

    Raises
    ------
    CodecError
        If `data` is damaged or of a version that isn't known here.
    """
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise CodecError(f"{len(data)} bytes that aren't a saved state")
    _, *lengths = _HEAD.unpack_from(data)
    ends = np.cumsum([_HEAD.size, *lengths]).tolist()
    if ends[-1] != len(data):
        raise CodecError(f"a saved state of {ends[-1]} bytes of which {len(data)} are there")
    first, publication, memory = (data[a:b] for a, b in pairwise(ends))
    stamp = unpack(first, Stamp)
    if stamp.version != VERSION:
        raise CodecError(f"a saved state of version {stamp.version}; this adapter reads {VERSION}")
    return SavedState(stamp=stamp, publication_part=publication, memory_part=memory)


def aged_publication(publication: Publication, age_s: float, *, restored: bool) -> Publication:
    """Return the publication as it is `age_s` after it was made.

    A restored one is never fresh, whatever its age: nobody stands behind it any more, so
    it is held, which means that no count falls by it.
    """
    reading_age_s = publication.reading_age_s + age_s
    if not restored:
        return replace(publication, reading_age_s=reading_age_s)
    held_s = publication.max_decision_age_s + _MOMENT_S
    note = "restored after a restart; no reading of this process yet"
    return replace(
        publication,
        reading_age_s=np.maximum(reading_age_s, held_s),
        message=tuple(f"{note}; {text}" if text else note for text in publication.message),
    )


def recalled(state: SavedState, *, decision_s: float) -> tuple[DecisionMemory, str]:
    """Return the memory to go on with, and what of it couldn't be used, "" if all could.

    `decision_s` is now on the decision's clock, set forward by the state's age.

    Raises
    ------
    CodecError
        If not even the publication can be read.
    """
    publication = state.publication()
    resume = resumed(publication, published_s=state.stamp.decision_s)
    try:
        memory = state.memory()
        guard = memory.guard.interrupted(decision_s)
        return replace(memory, guard=guard, resume=resume), ""
    except CodecError as exc:
        empty = DecisionMemory.empty()
        return replace(empty, resume=resume, sequence=publication.sequence), str(exc)


def _decisions(publication: Publication) -> str:
    """Return a digest of whom what was told."""
    told = blake2b(digest_size=8)
    told.update(repr(publication.variants).encode())
    told.update(publication.values["wva_desired_replicas"].tobytes())
    return told.hexdigest()
