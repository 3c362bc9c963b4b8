"""The leader's state, streamed to the other replicas: each new one, whole, with its age.

Who follows has to have the permission for the path (nonResourceURLs), as for everything
here. A follower that reads slowly gets the newest state and misses those between: nothing
is queued for it. An empty frame every second says that the leader is alive and has nothing
new. The stream ends when this replica no longer leads.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..errors import StalePublicationError
from ..frames import encode_state_frame
from ..kept_state import KeptState

__all__ = ["STREAM_PATH", "StateFeed", "state_stream"]

STREAM_PATH = "/wva/state"
HEARTBEAT_S = 1.0


class StateFeed(Protocol):
    """Where states come from."""

    @property
    def latest(self) -> KeptState | None: ...

    async def changed(self, after: int) -> int: ...


def state_stream(
    feed: StateFeed, leads: Callable[[], bool], *, heartbeat_s: float = HEARTBEAT_S
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint; `leads` says whether this replica may be followed."""

    async def answer(_request: Request) -> Response:
        if not leads():
            raise StalePublicationError("this replica doesn't lead: follow the Lease's holder")
        return StreamingResponse(
            _frames(feed, leads, heartbeat_s), media_type="application/octet-stream"
        )

    return answer


async def _frames(
    feed: StateFeed, leads: Callable[[], bool], heartbeat_s: float
) -> AsyncIterator[bytes]:
    sequence = 0
    while leads():
        try:
            async with asyncio.timeout(heartbeat_s):
                sequence = await feed.changed(sequence)
        except TimeoutError:
            yield encode_state_frame(b"", sent_s=0.0)
            continue
        latest = feed.latest
        if latest is not None:
            yield encode_state_frame(latest.data, sent_s=latest.age_s or 0.0)
