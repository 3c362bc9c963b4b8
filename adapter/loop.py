"""The loop: one tick (collect, decide, send) and its cadence. No business rule lives here.

It runs in a process of its own, so that a tick never makes a request wait: with a thread
the two would share one interpreter lock.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .catalog import Catalog, build_catalog
from .clock import ShiftedClock, boot_id
from .collect.collector import Collector
from .config import Settings, load_settings
from .decide import DecisionMemory, decide
from .discovery.following import Cluster, ClusterFollower
from .errors import ConfigError
from .frames import encode_failure_frame, encode_frame, encode_state_frame
from .heap import return_free_pages, settle_heap
from .records import Publication, Snapshot, TickReport
from .saved_state import Moment, encode_state
from .sleepers import Sleepers

__all__ = ["Loop", "SettingsFile"]

logger = logging.getLogger(__name__)

FIRST_SCRAPE_GAP_S = 1.0


class SettingsFile:
    """The settings file and what is known of its last state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._read_stamp()
        self.error = ""

    def changed(self) -> Settings | None:
        """Return new settings if the file changed and they are good, else None.

        A file that can't be used leaves the settings in force as they are; `error` says
        why until the file is mended.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            settings = load_settings(self._path)
        except ConfigError as exc:
            self.refuse(exc)
            return None
        self.error = ""
        logger.info("settings reloaded from %s", self._path)
        return settings

    def refuse(self, fault: ConfigError) -> None:
        """Note why the file's settings aren't in force."""
        self.error = str(fault)
        logger.error("settings not reloaded, the old ones stay in force: %s", fault)

    def _read_stamp(self) -> tuple[int, int, int]:
        """Return what changes when the file does; a ConfigMap swap changes the inode."""
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)


class Loop:
    """Collects, decides and hands each publication on, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        settings_file: SettingsFile | None,
        clock: ShiftedClock,
        memory: DecisionMemory,
        send: Callable[[bytes], None],
        cluster: Cluster | None = None,
    ) -> None:
        self._follower = ClusterFollower(cluster, clock) if cluster is not None else None
        self._declared = settings
        self._settings = settings
        self._file = settings_file
        self._clock = clock
        self._send = send
        self._catalog: Catalog = build_catalog(settings)
        self._collector = Collector(settings, clock)
        self._memory = memory
        self._recalled = memory.sequence > 0
        self._boot_id = boot_id()
        self._sleepers = Sleepers()
        self._encode_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Tick at the settings' interval until `stop` is set."""
        await self._collector.start()
        try:
            # Rates need two readings: the second follows soon, not an interval later.
            await self._guarded_tick()
            await self._pause(min(FIRST_SCRAPE_GAP_S, self._settings.interval_s), stop)
            tidy = settle_heap
            while not stop.is_set():
                started_s = self._clock.monotonic_s()
                await self._guarded_tick()
                # All engines' pages were in memory a moment ago.
                tidy()
                tidy = return_free_pages
                await self._rest(started_s + self._settings.interval_s, stop)
        finally:
            await self._collector.stop()

    async def tick(self) -> None:
        """Collect once, decide, and send the publication."""
        await self._reload()
        await self._follow()
        begun_s = self._clock.monotonic_s()
        snapshot = await self._collector.collect()
        if self._follower is not None:
            snapshot = self._follower.added_to(snapshot)
        collected_s = self._clock.monotonic_s()
        report = TickReport(
            collect_s=collected_s - begun_s,
            decide_s=0.0,
            encode_s=self._encode_s,
            faults=snapshot.faults,
            settings_error=self._file.error if self._file is not None else "",
            scrapes=len(snapshot.replica_id),
        )
        self._sleepers.follow(snapshot)
        publication, self._memory = self._decide(snapshot, report)
        self._sleepers.send(snapshot, publication.values["wva_desired_replicas"])
        decided_s = self._clock.monotonic_s()
        report = replace(report, decide_s=decided_s - collected_s)
        publication = replace(publication, report=report)
        # First what others go on from: nothing is served that a fail-over would not know of.
        self._send_state(publication)
        self._send(encode_frame(publication, sent_s=decided_s))
        self._encode_s = self._clock.monotonic_s() - decided_s
        logger.info(
            "tick",
            extra={
                "sequence": publication.sequence,
                "variants": len(publication.variants),
                "collect_s": round(report.collect_s, 4),
                "decide_s": round(report.decide_s, 4),
                "faults": len(snapshot.faults),
            },
        )

    def _decide(self, snapshot: Snapshot, report: TickReport) -> tuple[Publication, DecisionMemory]:
        try:
            decided = decide(snapshot, self._catalog, self._memory, report=report)
        except Exception:
            if not self._recalled:
                raise
            # What was saved passed every check and still breaks decisions: it must not do
            # so for ever. What was published before is kept.
            logger.exception("what was learned before the restart can't be used: begun anew")
            memory = replace(
                DecisionMemory.empty(),
                resume=self._memory.resume,
                sequence=self._memory.sequence,
            )
            decided = decide(snapshot, self._catalog, memory, report=report)
        self._recalled = False
        return decided

    def _send_state(self, publication: Publication) -> None:
        now_s = self._clock.monotonic_s()
        saved = Moment(
            boot_id=self._boot_id,
            monotonic_s=now_s - self._clock.ahead_s,
            unix_s=self._clock.unix_s(),
        )
        state = encode_state(publication, self._memory, decision_s=now_s, saved=saved)
        self._send(encode_state_frame(state, sent_s=now_s))

    async def _guarded_tick(self) -> None:
        try:
            await self.tick()
        except BrokenPipeError:
            raise  # nobody is left to decide for
        except Exception as exc:
            # One of the two places for it: a tick that fails leaves the last decision,
            # which ages, is held and is then refused; the next tick tries again.
            logger.exception("tick failed; the last decision stands and ages")
            self._send(encode_failure_frame(f"{type(exc).__name__}: {exc}"))

    async def _reload(self) -> None:
        if self._file is None or (settings := self._file.changed()) is None:
            return
        whole = settings if self._follower is None else self._follower.joined(settings)[0]
        try:
            # First what can refuse them: rows and readings must be of one set of settings.
            await self._collector.reconfigure(whole)
        except ConfigError as exc:
            self._file.refuse(exc)
            return
        self._declared, self._settings = settings, whole
        self._catalog = build_catalog(whole)

    async def _follow(self) -> None:
        """Take what the cluster declares and shows now."""
        if self._follower is None:
            return
        settings, sighting = self._follower.joined(self._declared)
        if settings is not self._settings:
            await self._collector.reconfigure(settings)
            self._settings = settings
            self._catalog = build_catalog(settings)
        self._collector.see(sighting)

    async def _rest(self, until_s: float, stop: asyncio.Event) -> None:
        """Wait for the next tick's time, or for what can't wait for it.

        That is a first request for a model without replicas, and a variant that has just been
        declared: its HPA asks soon.
        """
        while not stop.is_set() and (left_s := until_s - self._clock.monotonic_s()) > 0:
            watching = bool(self._sleepers) and self._collector.reads_routers
            looking = watching or self._follower is not None
            step_s = min(left_s, self._settings.wake_interval_s) if looking else left_s
            await self._pause(step_s, stop)
            if self._follower is not None and self._follower.declares_more():
                logger.info("a variant has been declared; deciding at once")
                return
            if watching and self._sleepers.called_by(*await self._collector.read_queues()):
                logger.info("a request waits for a model without replicas; deciding at once")
                return

    async def _pause(self, seconds: float, stop: asyncio.Event) -> None:
        try:
            await asyncio.wait_for(stop.wait(), timeout=seconds)
        except TimeoutError:
            return
