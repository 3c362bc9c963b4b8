"""What goes through the pipes between the loop's process and the serving process.

A frame is its kind, the sender's decision time, its length, and a body. Publications are
pickles: both ends are our own code of one version in one pod, joined by an anonymous pipe
that nobody else can write to, so pickle's trust in the sender is well placed; it moves
columns without copying them twice. A state (see saved_state) is passed on as it is.
"""

import asyncio
import math
import pickle
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Protocol

from .errors import AdapterError
from .records import Publication

__all__ = [
    "Frame",
    "FrameError",
    "StateFrame",
    "TickFailure",
    "encode_failure_frame",
    "encode_frame",
    "encode_state_frame",
    "read_frame",
    "read_state_frame",
    "write_frame",
]

_HEADER = struct.Struct(">BdQ")
MAX_FRAME_BYTES = 1 << 28


class _Kind(IntEnum):
    PUBLICATION = 1
    STATE = 2
    FAILURE = 3


@dataclass(frozen=True, slots=True)
class TickFailure:
    """A tick that came to no decision, and what failed."""

    message: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What the loop sends, and when it was sent on the sender's decision clock. [s]"""

    content: Publication | TickFailure | bytes
    sent_s: float


@dataclass(frozen=True, slots=True)
class StateFrame:
    """A saved state, and its age when it was sent. [s]"""

    content: bytes
    age_s: float


class ByteReader(Protocol):
    """What is read from: a pipe, or a connection to another replica."""

    async def readexactly(self, n: int, /) -> bytes: ...


class FrameError(AdapterError):
    """The pipe ended inside a frame, or the frame isn't one of ours."""


def encode_frame(publication: Publication, *, sent_s: float = 0.0) -> bytes:
    """Return the publication as one frame."""
    body = pickle.dumps(publication, protocol=5)
    return _HEADER.pack(_Kind.PUBLICATION, sent_s, len(body)) + body


def encode_failure_frame(message: str) -> bytes:
    """Return the news of a tick that failed as one frame."""
    body = message.encode()
    return _HEADER.pack(_Kind.FAILURE, 0.0, len(body)) + body


def encode_state_frame(state: bytes, *, sent_s: float) -> bytes:
    """Return a saved state as one frame.

    From the loop, `sent_s` is its time; towards a loop or another replica, the state's age.
    """
    return _HEADER.pack(_Kind.STATE, sent_s, len(state)) + state


def write_frame(pipe: BinaryIO, frame: bytes) -> None:
    """Write a frame and flush it."""
    pipe.write(frame)
    pipe.flush()


async def read_frame(reader: ByteReader) -> Frame | None:
    """Return the next frame, None when the sender has closed the pipe.

    Raises
    ------
    FrameError
        If the pipe ended inside a frame or the frame can't be decoded.
    """
    parts = await _read(reader)
    if parts is None:
        return None
    kind, sent_s, body = parts
    if kind == _Kind.STATE:
        return Frame(body, sent_s)
    if kind == _Kind.FAILURE:
        return Frame(TickFailure(body.decode(errors="replace")), sent_s)
    publication = pickle.loads(body)  # noqa: S301 - our own child's pipe, see the docstring
    if not isinstance(publication, Publication):
        raise FrameError(f"expected a Publication, got {type(publication).__name__}")
    return Frame(publication, sent_s)


async def read_state_frame(reader: ByteReader) -> StateFrame | None:
    """Return the next state, None at the end; what comes may come from anybody.

    Raises
    ------
    FrameError
        If the end comes inside a frame, or it isn't a state with an age.
    """
    parts = await _read(reader)
    if parts is None:
        return None
    kind, age_s, body = parts
    if kind != _Kind.STATE or not 0.0 <= age_s < math.inf:
        raise FrameError(f"not a state with an age: kind {kind}, {age_s} s")
    return StateFrame(body, age_s)


async def _read(reader: ByteReader) -> tuple[int, float, bytes] | None:
    try:
        header = await reader.readexactly(_HEADER.size)
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise FrameError("the pipe ended inside a frame's header") from exc
        return None
    kind, sent_s, length = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes is above the bound of {MAX_FRAME_BYTES}")
    try:
        return kind, sent_s, await reader.readexactly(length)
    except asyncio.IncompleteReadError as exc:
        raise FrameError(f"the pipe ended after {len(exc.partial)} of {length} bytes") from exc
