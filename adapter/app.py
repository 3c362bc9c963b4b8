"""The composition root of the serving process: builds, starts, drains, stops.

Owns the signals. Servers only read the store; the loop runs in a process of its own
(see worker.py) and nothing here waits for it.
"""

import asyncio
import logging
from pathlib import Path

from .clock import Clock, SystemClock
from .config import Settings

__all__ = ["serve"]

logger = logging.getLogger(__name__)

# Between "not ready" and closing the doors: a load balancer needs a moment to look away.
DRAIN_S = 1.0


async def serve(settings: Settings, settings_path: Path, *, clock: Clock | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return."""
    clock = clock or SystemClock()
    stop = asyncio.Event()
    with _signals(stop):
        pass
