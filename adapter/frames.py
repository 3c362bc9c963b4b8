"""Publications over a pipe between the loop's process and the serving process.

A frame is its length, 8 bytes big-endian, and a pickle. Both ends are our own code of
one version in one pod, joined by an anonymous pipe that nobody else can write to, so
pickle's trust in the sender is well placed; it moves columns without copying them twice.
"""

import asyncio
import pickle
import struct
from typing import BinaryIO

from .errors import AdapterError
from .records import Publication

__all__ = ["FrameError", "encode_frame", "read_frame", "write_frame"]

_HEADER = struct.Struct(">Q")
MAX_FRAME_BYTES = 1 << 30


class FrameError(AdapterError):
    """The pipe ended inside a frame, or the frame isn't one of ours."""


def encode_frame(publication: Publication) -> bytes:
    """Return the publication as one frame."""
    body = pickle.dumps(publication, protocol=5)
    return _HEADER.pack(len(body)) + body


def write_frame(pipe: BinaryIO, frame: bytes) -> None:
    """Write a frame and flush it."""
    pipe.write(frame)
    pipe.flush()


async def read_frame(reader: asyncio.StreamReader) -> Publication | None:
    """Return the next publication, None when the sender has closed the pipe.

    Raises
    ------
    FrameError
        If the pipe ended inside a frame or the frame can't be decoded.
    """
    try:
        header = await reader.readexactly(_HEADER.size)
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise FrameError("the pipe ended inside a frame's header") from exc
        return None
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes is above the bound of {MAX_FRAME_BYTES}")
    try:
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as exc:
        raise FrameError(f"the pipe ended after {len(exc.partial)} of {length} bytes") from exc
    publication = pickle.loads(body)  # noqa: S301 - our own child's pipe, see the docstring
    if not isinstance(publication, Publication):
        raise FrameError(f"expected a Publication, got {type(publication).__name__}")
    return publication
