"""Runs inside the referee's own environment: requests in, its report out. No import of ours.

    python referee_worker.py < points.json > reports.json

A point has the law of the step time [ms], the engine's limits and its requests.
"""

import json
import sys
import tempfile
from pathlib import Path

from dynamo.replay.api import run_trace_replay
from referee_engine import TRACE_BLOCK, engine_of, trace_of

FIGURES = ("mean_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "p95_tpot_ms", "completed_requests")


def main() -> None:
    """Read points, replay each, write what was seen."""
    with tempfile.TemporaryDirectory() as name:
        reports = [_replay(point, Path(name)) for point in json.load(sys.stdin)]
    json.dump(reports, sys.stdout)


def _replay(point: dict, folder: Path) -> dict:
    report = run_trace_replay(
        trace_of(point, folder),
        extra_engine_args=engine_of(point, folder),
        trace_block_size=TRACE_BLOCK,
    )
    return {figure: report[figure] for figure in FIGURES}


if __name__ == "__main__":
    main()
