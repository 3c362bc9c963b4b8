"""Follows the leader: takes each of its states over TLS and serves its publication.

The leader is told by the Lease and believed by its certificate: the authority that all
replicas share, and the Service's name. To it this replica shows its service account's
token. What comes is read by the codec, never unpickled. Its age is the age at the leader
plus the time since it came; no clock of the leader's is read.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

import aiohttp

from .clock import Clock
from .errors import AdapterError, SourceUnavailableError
from .frames import read_state_frame
from .keeper import StateKeeper
from .saved_state import read_state
from .store import Store

__all__ = ["Follower"]

logger = logging.getLogger(__name__)

RETRY_S = (0.2, 0.5, 1.0, 2.0)
# The leader says something every second.
SILENCE_S = 4.0
CONNECT_S = 3.0


class Follower:
    """One replica's view of whoever leads.

    Parameters
    ----------
    keeper, store
        Take what comes.
    leader_address : callable
        host:port of the leader, "" if nobody else leads.
    authorization : callable
        The Authorization header to show.
    context : callable
        TLS context that trusts the replicas' authority, for the next connection.
    path, server_name : str
        What is asked for, and the name in the leader's certificate.
    clock : Clock
    """

    def __init__(
        self,
        keeper: StateKeeper,
        store: Store,
        *,
        leader_address: Callable[[], str],
        authorization: Callable[[], Awaitable[str]],
        context: Callable[[], ssl.SSLContext],
        path: str,
        server_name: str,
        clock: Clock,
        retry_s: tuple[float, ...] = RETRY_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._keeper, self._store = keeper, store
        self._leader_address = leader_address
        self._authorization = authorization
        self._context = context
        self._path, self._server_name = path, server_name
        self._clock = clock
        self._retry_s = retry_s
        self._silence_s = silence_s
        self.problem = "the leader has not been reached yet"

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            before = self._keeper.latest
            try:
                await self._follow()
                self._report("the leader ended the stream")
            except (AdapterError, aiohttp.ClientError, OSError, TimeoutError) as exc:
                self._report(_words(exc))
            failures = 0 if self._keeper.latest != before else failures + 1
            await asyncio.sleep(self._retry_s[min(failures, len(self._retry_s) - 1)])

    async def _follow(self) -> None:
        """Take states from one connection until it ends."""
        address = self._leader_address()
        if not address:
            raise SourceUnavailableError("leader", "nobody leads at the moment")
        headers = {"Authorization": await self._authorization()}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=self._silence_s)
        url = f"https://{address}{self._path}"
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(
                url, headers=headers, ssl=self._context(), server_hostname=self._server_name
            ) as answer,
        ):
            if answer.status != 200:
                text = (await answer.content.read(500)).decode(errors="replace")
                raise SourceUnavailableError(url, f"{answer.status}: {text}")
            while (frame := await read_state_frame(answer.content)) is not None:
                self.problem = ""
                if frame.content:
                    await self._take(frame.content, frame.age_s)

    async def _take(self, data: bytes, age_s: float) -> None:
        """Take a state unless there is a younger one: a new leader may know less than we."""
        latest = self._keeper.latest
        if latest is not None and latest.age_s is not None and latest.age_s < age_s:
            return
        now_s = self._clock.monotonic_s()
        # Half of it is unpacking, which lets requests be answered meanwhile.
        publication = await asyncio.to_thread(read_state(data).publication_at, now_s, age_s)
        self._keeper.take(data, age_s=age_s + self._clock.monotonic_s() - now_s)
        self._store.swap(publication, received_s=now_s)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("not following: %s", problem)
        self.problem = problem


def _words(exc: Exception) -> str:
    """Return what went wrong, the same words each time: aiohttp's have addresses in memory."""
    cause = getattr(exc, "certificate_error", None) or getattr(exc, "os_error", None) or exc
    return str(cause) or type(cause).__name__
