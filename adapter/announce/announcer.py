"""Writes events and statuses while this replica leads, at a bounded rate.

It reads the store like every server, writes at most `WRITES` objects a round, and never
raises what the API server does: what couldn't be told is logged once and told later, if
it still holds then. Nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from ..clock import Clock
from ..errors import KubeApiError, KubeError
from ..kube.transport import APPLY, MERGE, KubeTransport
from ..records import Freshness
from ..store import Edition
from .deletion_cost import DeletionCosts, pods_leaving
from .event_book import EventBook, Write
from .events import Happening, Told, happenings
from .subjects import Subject
from .variant_status import Status, apply_document, statuses_of

__all__ = ["Announcer"]

logger = logging.getLogger(__name__)

ROUND_S = 5.0
WRITES = 50
WAITING = 1000  # happenings that wait for their turn; of more, the oldest go
REFRESH_S = 60.0  # a status that says the same is written anew after so long
MANAGER = "wva-adapter-status"


class StoreView(Protocol):
    """What is needed of the store."""

    @property
    def edition(self) -> Edition | None: ...


class Announcer:
    """Tells the cluster of decisions.

    Parameters
    ----------
    transport : KubeTransport
    store : StoreView
    clock : Clock
    leads : callable
        Whether this replica decides, now.
    instance : str
        Its name, for who reads an event.
    """

    def __init__(
        self,
        transport: KubeTransport,
        store: StoreView,
        clock: Clock,
        *,
        leads: Callable[[], bool],
        instance: str,
    ) -> None:
        self._transport, self._store, self._clock = transport, store, clock
        self._leads, self._book = leads, EventBook(instance)
        self._told: Told | None = None
        self._waiting: list[Happening] = []
        self._written: dict[Subject, tuple[Status, float]] = {}
        self._times: dict[Subject, dict[str, str]] = {}
        self._costs = DeletionCosts(transport)
        self.problem = ""

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        while True:
            try:
                await self.round()
            except Exception:  # what can't be told must not end what is served
                logger.exception("a round of events and statuses failed")
            await asyncio.sleep(ROUND_S)

    async def round(self) -> None:
        """Tell what the publication in force has of news."""
        edition = self._store.edition
        if not self._leads() or edition is None:
            # Whoever leads next begins anew, without repeating what was told.
            self._told, self._waiting = None, []
            self._written.clear()
            self._times.clear()
            return
        now_s = self._clock.monotonic_s()
        rows = range(len(edition.publication.variants))
        freshness = [edition.freshness(row, now_s) for row in rows]
        news, self._told = happenings(edition.publication, freshness, self._told)
        self._waiting = [*self._waiting, *news][-WAITING:]
        try:
            spent = await self._write_events()
            await self._write_statuses(edition, freshness, WRITES - spent)
            # Last: who may not write to pods still tells everything else.
            await self._costs.round(pods_leaving(edition, freshness), WRITES)
        except KubeError as exc:
            self._say(str(exc))
        else:
            self._say("")

    async def _write_events(self) -> int:
        """Write what waits, up to a round's share; what isn't written goes on waiting."""
        written = 0
        while self._waiting and written < WRITES:
            (write,) = self._book.writes(self._waiting[:1], now_unix_s=self._clock.unix_s())
            await self._write_event(write)
            del self._waiting[0]
            written += 1
        return written

    async def _write_event(self, write: Write) -> None:
        try:
            if write.method == "POST":
                body = write.about(await self._uid(write.entry[0]))
                await self._transport.call("POST", write.path, body=body)
            else:
                await self._transport.call(
                    write.method, write.path, body=write.body, content_type=MERGE
                )
        except KubeError as exc:
            self._book.forget(write)
            if not _needs_no_telling(exc):
                raise

    async def _uid(self, subject: Subject) -> str:
        """Return an object's uid: another one of its name is another object."""
        document = (await self._transport.call("GET", subject.path)).document
        metadata = document.get("metadata")
        return str(metadata.get("uid", "")) if isinstance(metadata, Mapping) else ""

    async def _write_statuses(
        self, edition: Edition, freshness: list[Freshness], budget: int
    ) -> None:
        statuses = statuses_of(edition.publication, freshness)
        self._written = {s: seen for s, seen in self._written.items() if s in statuses}
        self._times = {s: times for s, times in self._times.items() if s in statuses}
        for subject, status in statuses.items():
            if budget <= 0:
                return
            before, written_s = self._written.get(subject, (None, float("-inf")))
            due = self._clock.monotonic_s() - written_s >= REFRESH_S
            if due or not status.says_the_same(before):
                budget -= 1
                await self._write_status(subject, status)

    async def _write_status(self, subject: Subject, status: Status) -> None:
        try:
            if subject not in self._times:
                document = (await self._transport.call("GET", subject.path)).document
                self._times[subject] = _times(document)
            body = apply_document(
                subject, status, self._times[subject], now_unix_s=self._clock.unix_s()
            )
            answer = await self._transport.call(
                "PATCH",
                f"{subject.path}/status",
                body=body,
                query={"fieldManager": MANAGER, "force": "true"},
                content_type=APPLY,
            )
        except KubeApiError as exc:
            if exc.status != 404:  # gone since the publication: nobody to tell
                raise
            return
        self._times[subject] = _times(answer.document)
        self._written[subject] = (status, self._clock.monotonic_s())

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.warning("events and statuses can't be written: %s", problem)
        if self.problem and not problem:
            logger.info("events and statuses are written again")
        self.problem = problem


def _needs_no_telling(exc: KubeError) -> bool:
    """Return whether an Event has expired, or an object or its namespace goes away."""
    if not isinstance(exc, KubeApiError):
        return False
    return exc.status in {404, 409} or (exc.status == 403 and "being terminated" in str(exc))


def _times(document: object) -> dict[str, str]:
    """Return when each condition of an object took the status that it has."""
    status = document.get("status") if isinstance(document, dict) else None
    conditions = (status or {}).get("conditions") or []
    return {f"{c['type']}={c['status']}": c["lastTransitionTime"] for c in conditions}
