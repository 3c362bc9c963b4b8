"""Runs inside the referee's own environment: requests in, its report out. No import of ours.

    python referee_worker.py < points.json > reports.json

A point has the law of the step time [ms], the engine's limits and its requests. The law goes in as
the tables that the simulator interpolates: prefill time by new tokens of a step, decode time by KV
tokens and mean context of the batch.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from dynamo.llm import MockEngineArgs
from dynamo.replay.api import run_trace_replay

TRACE_BLOCK = 512
FIGURES = ("mean_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "p95_tpot_ms", "completed_requests")


def main() -> None:
    """Read points, replay each, write what was seen."""
    with tempfile.TemporaryDirectory() as name:
        reports = [_replay(point, Path(name)) for point in json.load(sys.stdin)]
    json.dump(reports, sys.stdout)


def _replay(point: dict, folder: Path) -> dict:
    law = folder / "law.npz"
    trace = folder / "trace.jsonl"
    _write_law(law, point)
    _write_trace(trace, point["requests"])
    engine = MockEngineArgs(
        block_size=16,
        num_gpu_blocks=point["num_gpu_blocks"],
        max_num_seqs=point["max_num_seqs"],
        max_num_batched_tokens=point["max_num_batched_tokens"],
        enable_prefix_caching=False,
        planner_profile_data=str(law),
    )
    report = run_trace_replay(str(trace), extra_engine_args=engine, trace_block_size=TRACE_BLOCK)
    return {figure: report[figure] for figure in FIGURES}


def _write_law(path: Path, point: dict) -> None:
    tokens = np.linspace(0.0, 32_768.0, 513)
    kv = np.linspace(0.0, 600_000.0, 601)
    # The batch is KV tokens over mean context, which is far from linear in the context.
    context = np.geomspace(1.0, 65_536.0, 1025)
    batch = kv[:, None] / context[None, :]
    decode = point["base_ms"] + point["decode_ms"] * batch + point["kv_ms"] * kv[:, None]
    np.savez(
        path,
        prefill_isl=tokens,
        prefill_ttft_ms=point["prefill_ms"] * tokens,
        decode_active_kv_tokens=kv,
        decode_context_length=context,
        decode_itl=decode,
    )


def _write_trace(path: Path, requests: list) -> None:
    block = 0
    with path.open("w") as file:
        for at_ms, prompt, output in requests:
            count = -(-prompt // TRACE_BLOCK)
            row = {
                "timestamp": at_ms,
                "input_length": prompt,
                "output_length": output,
                "hash_ids": list(range(block, block + count)),
            }
            block += count
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
