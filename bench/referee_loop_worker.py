"""Runs inside the referee's own environment: steps of time in, what its workers did out.

    python referee_loop_worker.py

A run (see `referee_engine`, with `initial` workers) is the first line; every further one is a
command, and each gets a line for an answer: {"until_s": T}, {"scale": N}. Time moves in steps so
short that hardly two requests end in one: a step's mean latencies are then a request's own.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from dynamo._core import PlannerReplayBridge
from referee_engine import TRACE_BLOCK, engine_of, trace_of

STEP_S = 0.05


def main() -> None:
    """Obey until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the referee logs to where answers would go
    run = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bridge = PlannerReplayBridge(
            trace_of(run, folder),
            engine_of(run, folder),
            run["initial"],
            trace_block_size=TRACE_BLOCK,
        )
        now_s = 0.0
        for line in sys.stdin:
            command = json.loads(line)
            if "scale" in command:
                bridge.apply_scaling(0, command["scale"])
                answer = {}
            else:
                answer = _advanced(bridge, now_s, command["until_s"])
                now_s = command["until_s"]
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def _advanced(bridge: PlannerReplayBridge, now_s: float, until_s: float) -> dict:
    """Move on; return the workers that serve, what each did, and who ended."""
    workers, ended, seen = {}, [], {}
    while now_s < until_s:
        now_s = min(now_s + STEP_S, until_s)
        seen = bridge.advance_to(1e3 * now_s)
        for step in seen["decode_fpm_snapshots"]:
            _count(workers.setdefault(step["worker_id"], {"steps": []}), step)
        done = bridge.drain_traffic()
        if done["num_req"]:
            ended.append(
                {
                    "at_s": now_s,
                    "requests": done["num_req"],
                    "prompt_tokens": done["avg_isl"],
                    "output_tokens": done["avg_osl"],
                    "ttft_s": done["avg_ttft_ms"] / 1e3,
                    "itl_s": done["avg_itl_ms"] / 1e3,
                }
            )
    return {"active": seen["active_decode_count"], "workers": workers, "ended": ended}


def _count(worker: dict, step: dict) -> None:
    """Add one step of the engine: its time, who decodes and what is computed of prompts."""
    decoding, computed = step["num_decode_requests"], step["sum_prefill_tokens"]
    worker["steps"].append((step["wall_time"], decoding, computed))
    worker["running"] = decoding + step["num_prefill_requests"]
    worker["waiting"] = step["num_queued_prefill"] + step["num_queued_decode"]
    worker["kv_tokens"] = step["sum_decode_kv_tokens"] + step["sum_prefill_kv_tokens"] + computed


if __name__ == "__main__":
    main()
