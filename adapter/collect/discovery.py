"""Ask the discovery endpoints which replicas there are. A list that can't be had keeps the last.

The form is the JSON of Prometheus's http_sd:
`[{"targets": ["10.0.0.7:8000"], "labels": {"namespace": "default", "variant": "llama-h100",
"replica": "llama-7f9-abcde", "state": "ready"}}]`; state is ready, starting or draining.
"""

import asyncio

from ..config import Settings
from ..errors import SourceMalformedError
from ..records import Reason
from .faults import FaultBook
from .fetch import Failure, Fetcher
from .fleet import Fleet, Group, Sighting, build_fleet, parse_groups

__all__ = ["Discovery"]

_TIMEOUT_S = 2.0
_MAX_BYTES = 16 * 1024 * 1024


class Discovery:
    """The last good list of every source, and the fleet they make."""

    def __init__(self, settings: Settings, faults: FaultBook) -> None:
        self._faults = faults
        self._settings = settings
        self._bodies: dict[str, bytes] = {}
        self._groups: dict[str, tuple[Group, ...]] = {}
        self._sighting: Sighting | None = None
        self._fleet: Fleet | None = None

    def see(self, sighting: Sighting) -> None:
        """Take what the cluster shows from now on."""
        if sighting is not self._sighting:
            self._sighting, self._fleet = sighting, None

    def reconfigure(self, settings: Settings) -> None:
        """Go on with other settings; lists of sources that stay are kept."""
        self._settings = settings
        self._fleet = None
        for url in self._groups.keys() - self._timeouts().keys():
            del self._groups[url], self._bodies[url]

    async def refresh(self, fetcher: Fetcher, *, now_s: float) -> Fleet:
        """Return the replicas as the sources list them now, or did when they last answered."""
        timeouts = self._timeouts()
        async with asyncio.TaskGroup() as tasks:
            for url, timeout_s in timeouts.items():
                tasks.create_task(self._ask(fetcher, url, timeout_s=timeout_s, now_s=now_s))
        if self._fleet is None:
            source = self._settings.sources.discovery
            # Without any source that could list them, a variant without endpoints has none.
            shared = self._groups.get(source.url) if source is not None else None
            own = {url: self._groups.get(url) for url in timeouts}
            self._fleet = build_fleet(
                self._settings, shared=shared, own=own, sighting=self._sighting
            )
        return self._fleet

    def sources(self) -> set[str]:
        """Return the URLs that are asked."""
        return set(self._timeouts())

    def _timeouts(self) -> dict[str, float]:
        asked = {v.discovery: _TIMEOUT_S for v in self._settings.variants if v.discovery}
        shared = self._settings.sources.discovery
        if shared is not None:
            asked[shared.url] = shared.timeout_s
        return asked

    async def _ask(self, fetcher: Fetcher, url: str, *, timeout_s: float, now_s: float) -> None:
        answer = await fetcher.get(
            url, timeout_s=timeout_s, max_bytes=_MAX_BYTES, headers={"Accept": "application/json"}
        )
        if isinstance(answer, Failure):
            self._fail(url, answer.reason, answer.error.detail, now_s)
            return
        if answer.body != self._bodies.get(url):
            try:
                self._groups[url] = parse_groups(answer.body)
            except ValueError as exc:
                error = SourceMalformedError(url, str(exc))
                self._fail(url, Reason.MALFORMED, error.detail, now_s)
                return
            self._bodies[url] = answer.body
            self._fleet = None
        self._faults.answered(url)

    def _fail(self, url: str, reason: Reason, detail: str, now_s: float) -> None:
        kept = "; the last list stands" if url in self._groups else "; no list yet"
        self._faults.failed(url, reason, detail + kept, now_s=now_s)
