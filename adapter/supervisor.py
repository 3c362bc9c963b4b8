"""Keeps the loop's process running, puts what it sends into the store, keeps its state.

A loop that is started again goes on from the state that the last one sent.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .clock import Clock
from .errors import AdapterError
from .frames import Frame, TickFailure, encode_state_frame, read_frame
from .keeper import StateKeeper
from .records import Publication
from .store import Store

__all__ = ["supervise"]

logger = logging.getLogger(__name__)

RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0)
STOP_TIMEOUT_S = 5.0


async def supervise(
    settings_path: Path | None,
    store: Store,
    keeper: StateKeeper,
    clock: Clock,
    stop: asyncio.Event,
    *,
    leads: Callable[[], bool] = lambda: True,
    tick_failed: Callable[[], None],
    log_arguments: Sequence[str] = (),
) -> None:
    """Keep the loop's process running and take what it sends, until `stop` is set.

    What comes while this replica doesn't lead (`leads`) isn't taken: somebody else decides.
    `tick_failed` is told of each tick that came to no decision.
    """
    command = [sys.executable, "-m", "adapter", "_loop", *log_arguments]
    if settings_path is not None:
        command += ["--settings", str(settings_path)]
    failures = 0
    while not stop.is_set():
        taking = _Taking(
            store, keeper, clock, lambda: leads() and not stop.is_set(), tick_failed=tick_failed
        )
        received = await _run_once(command, taking, keeper, stop)
        if stop.is_set():
            return
        failures = 0 if received else failures + 1
        wait_s = RESTART_S[min(failures, len(RESTART_S) - 1)]
        logger.error("the loop's process ended; starting it again in %.1f s", wait_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=wait_s)


async def _run_once(
    command: Sequence[str], taking: "_Taking", keeper: StateKeeper, stop: asyncio.Event
) -> int:
    """Run one child until it ends or `stop` is set; return how many frames it sent."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A terminal's Ctrl-C goes to the whole group; the child is stopped by us.
        start_new_session=True,
    )
    assert child.stdin is not None  # noqa: S101 - asked for above
    assert child.stdout is not None  # noqa: S101
    reading = asyncio.ensure_future(taking.read(child.stdout))
    stopping = asyncio.ensure_future(stop.wait())
    latest = keeper.latest
    child.stdin.write(
        encode_state_frame(latest.data, sent_s=latest.age_s or 0.0)
        if latest is not None
        else encode_state_frame(b"", sent_s=0.0)
    )
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await _end(child)
    return await reading


class _Taking:
    """Takes what a loop sends, while it may."""

    def __init__(
        self,
        store: Store,
        keeper: StateKeeper,
        clock: Clock,
        may: Callable[[], bool],
        *,
        tick_failed: Callable[[], None],
    ) -> None:
        self._store, self._keeper, self._clock, self._may = store, keeper, clock, may
        self._tick_failed = tick_failed

    async def read(self, reader: asyncio.StreamReader) -> int:
        """Take frames until the pipe ends; return how many came."""
        frames = 0
        try:
            while (frame := await read_frame(reader)) is not None:
                frames += 1
                if self._may():
                    self._take(frame)
        except AdapterError as exc:
            logger.error("the loop's pipe broke: %s", exc)
        return frames

    def _take(self, frame: Frame) -> None:
        if isinstance(frame.content, TickFailure):
            self._tick_failed()
        elif isinstance(frame.content, Publication):
            now_s = self._clock.monotonic_s()
            self._store.swap(frame.content.set_back(frame.sent_s - now_s), received_s=now_s)
        else:
            self._keeper.take(frame.content)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), timeout=STOP_TIMEOUT_S)
    except TimeoutError:
        logger.warning("the loop's process did not end in %.0f s; killing it", STOP_TIMEOUT_S)
        child.kill()
        await child.wait()
