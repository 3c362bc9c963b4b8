"""The loop's process: its main function.

Apart from the serving process, so that neither loads what only the other needs.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .clock import ShiftedClock, SystemClock
from .codec import CodecError
from .config import KubernetesSettings, Settings, load_settings
from .decide import DecisionMemory
from .discovery.following import Cluster
from .frames import read_frame, write_frame
from .kube.place import in_cluster
from .loop import Loop, SettingsFile
from .saved_state import read_state, recalled

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

NICENESS = 5


async def run_worker(settings_path: Path | None) -> None:
    """Run the loop, writing frames to standard output, until standard input closes.

    Standard input is the supervisor's end of a pipe: one frame comes through it, the state
    to go on from, and it closes when that process ends, however it ends, so no loop is
    ever left behind.
    """
    # A request is waited for, a tick isn't: on a small node serving comes first.
    os.nice(NICENESS)
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Anything that prints must not end up between two frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reader = asyncio.StreamReader()
    transport, _ = await running.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    clock, memory = await _recall(reader)
    settings, settings_file = Settings(), None
    if settings_path is not None:
        settings, settings_file = load_settings(settings_path), SettingsFile(settings_path)

    async def watch_parent() -> None:
        await reader.read()
        stop.set()

    async with asyncio.TaskGroup() as group, _cluster(settings.kubernetes) as cluster:
        watcher = group.create_task(watch_parent())
        loop = Loop(
            settings,
            settings_file=settings_file,
            clock=clock,
            memory=memory,
            send=lambda frame: write_frame(frames, frame),
            cluster=cluster,
        )
        try:
            await loop.run(stop)
        except BrokenPipeError:
            logger.info("the serving process is gone")
        finally:
            watcher.cancel()
    transport.close()
    with contextlib.suppress(BrokenPipeError):
        frames.close()


@asynccontextmanager
async def _cluster(settings: KubernetesSettings) -> AsyncIterator[Cluster | None]:
    """Give the cluster's objects, None where the settings or the place have none."""
    if not settings.wanted(in_cluster=in_cluster()):
        yield None
        return
    # Half a second and 46 MB that only a cluster needs.
    from .discovery.source import cluster_source
    from .kube.transport import connect
    from .kube.watch import Pace

    async with (
        connect() as transport,
        cluster_source(transport, settings, pace=Pace(random.random)) as source,
    ):
        yield source


async def _recall(reader: asyncio.StreamReader) -> tuple[ShiftedClock, DecisionMemory]:
    """Return the clock and the memory that decisions go on with."""
    system = SystemClock()
    frame = await read_frame(reader)
    if frame is None or not isinstance(frame.content, bytes) or not frame.content:
        return ShiftedClock(system, ahead_s=0.0), DecisionMemory.empty()
    try:
        state = read_state(frame.content)
        now_s = state.stamp.decision_s + frame.sent_s
        memory, lost = recalled(state, decision_s=now_s)
    except CodecError as exc:
        logger.error("the saved state can't be used, everything is learned anew: %s", exc)
        return ShiftedClock(system, ahead_s=0.0), DecisionMemory.empty()
    if lost:
        logger.error("what was learned can't be used and begins anew, counts stay: %s", lost)
    return ShiftedClock(system, ahead_s=now_s - system.monotonic_s()), memory
