"""`wva doctor`: look at an installation and its variants, and say what mends what is wrong."""

import argparse
import asyncio

from adapter.clock import SystemClock
from adapter.doctor.evidence import Evidence
from adapter.doctor.examine import examine
from adapter.doctor.findings import exit_code, to_json, to_text
from adapter.doctor.gather import gather
from adapter.kube.transport import connect

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 if something doesn't work, 2 if there is no cluster to look at."""
    findings = examine(asyncio.run(_gathered(options.namespace)))
    print(to_json(findings) if options.json else to_text(findings))
    return exit_code(findings)


async def _gathered(namespace: str) -> Evidence:
    async with connect() as transport:
        return await gather(transport, namespace, now_unix_s=SystemClock().unix_s())
