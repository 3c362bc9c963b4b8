"""Who decides: leader election by a Lease, as Kubernetes' own components do it.

Whoever holds the Lease renews it; who doesn't watches, by its own monotonic clock, how long
it has stayed unchanged, and takes it when that is longer than it was given for. No clock of
another machine is read. The holder stops leading `MARGIN_S` before anybody else can take
it: `leads()` looks at the clock each time, so a process that was suspended wakes up as
nobody's leader.

API: coordination.k8s.io/v1 Lease; updates carry the resourceVersion, so that of two
candidates one is refused (409).
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..clock import Clock
from ..errors import KubeApiError, KubeError
from .transport import KubeTransport

__all__ = ["ADDRESS", "Election", "Pace"]

logger = logging.getLogger(__name__)

# Where the holder is reached by the others, on the Lease.
ADDRESS = "wva.llm-d.ai/address"
NOT_FOUND, CONFLICT = 404, 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a Lease lasts and how often it is looked at. [s]

    A dead leader is replaced after lease + 2 x retry at most.
    """

    lease_s: int = 10
    renew_s: float = 2.0
    retry_s: float = 0.5
    margin_s: float = 2.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """The Lease as it was last read, and since when it has been so."""

    document: Mapping[str, Any]
    since_s: float

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.document.get("spec") or {}
        return spec

    @property
    def holder(self) -> str:
        return str(self.spec.get("holderIdentity") or "")

    @property
    def lease_s(self) -> float:
        return float(self.spec.get("leaseDurationSeconds") or 0.0)

    @property
    def address(self) -> str:
        annotations = self.document.get("metadata", {}).get("annotations") or {}
        return str(annotations.get(ADDRESS, ""))


class Election:
    """One candidate's part in it.

    Parameters
    ----------
    transport : KubeTransport
    namespace, name : str
        Of the Lease.
    identity : str
        Of this candidate; another one for each process.
    address : str
        Where the others reach this candidate while it leads.
    clock : Clock
    pace : Pace
    """

    def __init__(
        self,
        transport: KubeTransport,
        *,
        namespace: str,
        name: str,
        identity: str,
        address: str,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._transport = transport
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace, self._name = namespace, name
        self.identity = identity
        self._address = address
        self._clock = clock
        self._pace = pace or Pace()
        self._seen: _Seen | None = None
        self._leads_until_s = float("-inf")
        self._led = False
        self._turned = asyncio.Event()
        self._releasing = False
        self.problem = ""
        self.terms = 0

    def leads(self) -> bool:
        """Return whether this candidate leads at this moment."""
        return self._clock.monotonic_s() < self._leads_until_s

    @property
    def elected(self) -> bool:
        """Return whether this candidate led when that was last looked at."""
        return self._led

    @property
    def leader_address(self) -> str:
        """Return where the leader is reached, "" if there is none or it is this candidate."""
        seen = self._seen
        if seen is None or seen.holder in {"", self.identity}:
            return ""
        return seen.address

    @property
    def leader(self) -> str:
        """Return who was seen to hold the Lease, "" for nobody."""
        return self._seen.holder if self._seen is not None else ""

    async def until(self, *, leads: bool) -> None:
        """Wait until this candidate leads, or no longer does."""
        while self._led != leads:
            await self._turned.wait()

    async def run(self) -> None:
        """Take part until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._patience_s()):
                    await self._step()
                self._report("")
            except TimeoutError:
                self._report("the API server doesn't answer in time")
            except KubeError as exc:
                self._report(str(exc))
            self._notice()
            pause_s = self._pace.renew_s if self.leads() else self._pace.retry_s
            await self._pause(pause_s)

    async def release(self) -> None:
        """Stop leading, and let others lead at once."""
        self._releasing = True
        led, self._leads_until_s = self.leads(), float("-inf")
        self._notice()
        if led and self._seen is not None:
            with suppress(KubeError, TimeoutError):
                async with asyncio.timeout(self._pace.renew_s):
                    await self._put(self._seen, holder="", lease_s=1)

    def _patience_s(self) -> float:
        """Return how long a step may take: long enough, and time to try again is left."""
        left_s = self._leads_until_s - self._clock.monotonic_s()
        most_s = 2.0 * self._pace.renew_s
        return min(left_s, most_s) if left_s > 0 else most_s

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past the moment at which leading ends."""
        left_s = self._leads_until_s - self._clock.monotonic_s()
        await asyncio.sleep(min(seconds, left_s) if left_s > 0 else seconds)
        self._notice()

    async def _step(self) -> None:
        """Renew the Lease, or take it if it is to be had."""
        if not self.leads():
            await self._look()
        seen = self._seen
        if seen is not None and not self._may_take(seen):
            return
        try:
            await self._take(seen)
        except KubeApiError as exc:
            if exc.status not in {CONFLICT, NOT_FOUND}:
                raise
            await self._look()  # somebody else was faster, wrote on it, or deleted it
            if self._seen is not None and self._seen.holder != self.identity:
                self._leads_until_s = float("-inf")

    def _may_take(self, seen: _Seen) -> bool:
        if self._releasing:
            return False
        waited_s = self._clock.monotonic_s() - seen.since_s
        return seen.holder in {"", self.identity} or waited_s > seen.lease_s

    async def _look(self) -> None:
        try:
            answer = await self._transport.call("GET", f"{self._folder}/{self._name}")
        except KubeApiError as exc:
            if exc.status != NOT_FOUND:
                raise
            self._seen = None
            return
        self._remember(answer.document)

    async def _take(self, seen: _Seen | None) -> None:
        begun_s = self._clock.monotonic_s()
        await self._put(seen, holder=self.identity, lease_s=self._pace.lease_s)
        if not self._releasing:
            self._leads_until_s = begun_s + self._pace.lease_s - self._pace.margin_s

    async def _put(self, seen: _Seen | None, *, holder: str, lease_s: int) -> None:
        document = self._document(seen, holder=holder, lease_s=lease_s)
        if seen is None:
            answer = await self._transport.call("POST", self._folder, body=document)
        else:
            path = f"{self._folder}/{self._name}"
            answer = await self._transport.call("PUT", path, body=document)
        self._remember(answer.document)

    def _remember(self, document: Mapping[str, Any]) -> None:
        seen = self._seen
        if seen is None or _version(seen.document) != _version(document):
            self._seen = _Seen(document, self._clock.monotonic_s())

    def _document(self, seen: _Seen | None, *, holder: str, lease_s: int) -> dict[str, Any]:
        """Return the Lease to write; what others wrote on it stays."""
        now = datetime.fromtimestamp(self._clock.unix_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old, spec = (seen.document, dict(seen.spec)) if seen is not None else ({}, {})
        if spec.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + bool(holder)
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": lease_s, "renewTime": now}
        metadata = {
            **old.get("metadata", {"name": self._name, "namespace": self._namespace}),
        }
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ADDRESS: self._address}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }

    def _notice(self) -> None:
        """Wake who waits for a turn, and say it."""
        leads = self.leads()
        if leads == self._led:
            return
        self._led = leads
        self.terms += leads
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()
        if leads:
            logger.info("leading", extra={"identity": self.identity})
        else:
            logger.warning(
                "no longer leading", extra={"identity": self.identity, "problem": self.problem}
            )

    def _report(self, problem: str) -> None:
        """Log the first failure in a row; health goes on saying it."""
        if problem and not self.problem:
            logger.error(
                "the Lease %s/%s can't be used: %s; trying again",
                self._namespace,
                self._name,
                problem,
            )
        self.problem = problem


def _version(document: Mapping[str, Any]) -> Any:
    return document.get("metadata", {}).get("resourceVersion")
