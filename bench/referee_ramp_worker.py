"""Runs inside the referee's own environment: requests and a schedule of replicas in, its report out.

    python referee_ramp_worker.py < runs.json > reports.json

The schedule is that of somebody's decisions: at each moment so many workers are asked for; new ones
take the start-up time, as everywhere.
"""

import json
import sys
import tempfile
from pathlib import Path

from dynamo._core import PlannerReplayBridge
from dynamo.llm import MockEngineArgs
from referee_worker import TRACE_BLOCK, _write_law, _write_trace

STEP_MS = 10_000.0


def main() -> None:
    """Read runs, replay each, write what was seen."""
    with tempfile.TemporaryDirectory() as name:
        reports = [_replay(run, Path(name)) for run in json.load(sys.stdin)]
    json.dump(reports, sys.stdout)


def _replay(run: dict, folder: Path) -> dict:
    law, trace = folder / "law.npz", folder / "trace.jsonl"
    _write_law(law, run)
    _write_trace(trace, run["requests"])
    engine = MockEngineArgs(
        block_size=16,
        num_gpu_blocks=run["num_gpu_blocks"],
        max_num_seqs=run["max_num_seqs"],
        max_num_batched_tokens=run["max_num_batched_tokens"],
        enable_prefix_caching=False,
        planner_profile_data=str(law),
        startup_time=run["startup_s"],
    )
    bridge = PlannerReplayBridge(str(trace), engine, run["initial"], trace_block_size=TRACE_BLOCK)
    for at_ms, count in run["schedule"]:
        bridge.advance_to(at_ms)
        bridge.apply_scaling(0, count)
    at_ms, done = run["end_ms"], False
    while not done:
        done = bridge.advance_to(at_ms)["is_done"]
        at_ms += STEP_MS
    return {k: v for k, v in bridge.finalize().items() if isinstance(v, int | float)}


if __name__ == "__main__":
    main()
