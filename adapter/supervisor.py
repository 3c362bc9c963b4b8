"""Keeps the loop's process running, puts what it sends into the store, keeps its state.

A loop that is started again goes on from the state that the last one sent. A replica that
follows has its loop's process standing by, all loaded: it begins when it is given a state,
so that taking over costs no start.
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
from .kept_state import KeptState
from .records import Publication
from .store import Store

__all__ = ["LoopProcess", "supervise"]

logger = logging.getLogger(__name__)

RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0)
STOP_TIMEOUT_S = 5.0


class LoopProcess:
    """How the loop's process is started, and the one that stands by."""

    def __init__(self, settings_path: Path | None, *, log_arguments: Sequence[str] = ()) -> None:
        named = ("--settings", str(settings_path)) if settings_path is not None else ()
        self._command = (sys.executable, "-m", "adapter", "_loop", *log_arguments, *named)
        self._ready: asyncio.subprocess.Process | None = None

    async def stand_by(self) -> None:
        """Have a process ready that waits for its state."""
        if self._ready is None or self._ready.returncode is not None:
            self._ready = await self._spawn()

    async def begin(self, state: KeptState | None) -> asyncio.subprocess.Process:
        """Return a process that decides from `state` on."""
        child, self._ready = self._ready, None
        if child is None or child.returncode is not None:
            child = await self._spawn()
        assert child.stdin is not None  # noqa: S101 - asked for
        data, age_s = (state.data, state.age_s or 0.0) if state is not None else (b"", 0.0)
        child.stdin.write(encode_state_frame(data, sent_s=age_s))
        return child

    async def close(self) -> None:
        """End the process that stands by."""
        child, self._ready = self._ready, None
        if child is not None:
            await _end(child)

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A terminal's Ctrl-C goes to the whole group; the child is stopped by us.
            start_new_session=True,
        )


async def supervise(
    process: LoopProcess,
    store: Store,
    keeper: StateKeeper,
    clock: Clock,
    stop: asyncio.Event,
    *,
    leads: Callable[[], bool] = lambda: True,
    tick_failed: Callable[[], None],
) -> None:
    """Keep the loop's process running and take what it sends, until `stop` is set.

    What comes while this replica doesn't lead (`leads`) isn't taken: somebody else decides.
    `tick_failed` is told of each tick that came to no decision.
    """
    taking = _Taking(
        store, keeper, clock, lambda: leads() and not stop.is_set(), tick_failed=tick_failed
    )
    failures = 0
    while not stop.is_set():
        received = await _run_once(process, taking, keeper, stop)
        if stop.is_set():
            return
        failures = 0 if received else failures + 1
        wait_s = RESTART_S[min(failures, len(RESTART_S) - 1)]
        logger.error("the loop's process ended; starting it again in %.1f s", wait_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=wait_s)


async def _run_once(
    process: LoopProcess, taking: "_Taking", keeper: StateKeeper, stop: asyncio.Event
) -> int:
    """Run one child until it ends or `stop` is set; return how many frames it sent."""
    child = await process.begin(keeper.latest)
    assert child.stdout is not None  # noqa: S101 - asked for
    reading = asyncio.ensure_future(taking.read(child.stdout))
    stopping = asyncio.ensure_future(stop.wait())
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
