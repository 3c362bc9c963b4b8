"""Record the answers that the tests play back: python -m tests.adapter.commands.audit.record

Needs prometheus and promtool. To be run again when the queries or the past change.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.helpers.prometheus_history import record, served
from tests.helpers.prometheus_tape import recording

from .past import ARGUMENTS, SCRAPE_S, START_UNIX_S, TAPE, own_hpa, scenario


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = folder / "history.om"
        run = record(scenario(), own_hpa, history, scrape_s=SCRAPE_S, start_unix_s=START_UNIX_S)
        with served(history, folder) as prometheus:
            async with recording(prometheus, TAPE) as url:
                command = [sys.executable, "-m", "adapter", "audit", "--prometheus", url]
                process = await asyncio.create_subprocess_exec(*command, *ARGUMENTS)
                await process.wait()
    wanted = sum(sample.wanted[0] for sample in run.samples) / len(run.samples)
    print(f"{TAPE}: {TAPE.stat().st_size} bytes, {wanted:.2f} replicas on average")


if __name__ == "__main__":
    asyncio.run(main())
