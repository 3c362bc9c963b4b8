"""`wva _loop`: the loop's own process, started by the serving process."""

import argparse
import asyncio

from adapter.logs import configure_logging
from adapter.worker import run_worker

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the loop until standard input closes."""
    configure_logging(level=options.log_level, style=options.log_format)
    asyncio.run(run_worker(options.settings))
    return 0
