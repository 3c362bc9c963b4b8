"""How the referee's engines are described to it; runs in its own environment. No import of ours.

The law goes in as the tables that the simulator interpolates: prefill time by new tokens of a
step, decode time by KV tokens and mean context of the batch. Requests go in as a trace.
"""

import json
from pathlib import Path

import numpy as np
from dynamo.llm import MockEngineArgs

TRACE_BLOCK = 512


def engine_of(run: dict, folder: Path) -> MockEngineArgs:
    """Return the engine with a run's law [ms], limits and, where it has one, start-up time."""
    law = folder / "law.npz"
    _write_law(law, run)
    started = {"startup_time": run["startup_s"]} if "startup_s" in run else {}
    return MockEngineArgs(
        block_size=16,
        num_gpu_blocks=run["num_gpu_blocks"],
        max_num_seqs=run["max_num_seqs"],
        max_num_batched_tokens=run["max_num_batched_tokens"],
        enable_prefix_caching=False,
        planner_profile_data=str(law),
        **started,
    )


def trace_of(run: dict, folder: Path) -> str:
    """Return the path of a run's requests (arrival [ms], prompt, output), as the referee reads them."""
    path, block = folder / "trace.jsonl", 0
    with path.open("w") as file:
        for at_ms, prompt, output in run["requests"]:
            count = -(-prompt // TRACE_BLOCK)
            row = {
                "timestamp": at_ms,
                "input_length": prompt,
                "output_length": output,
                "hash_ids": list(range(block, block + count)),
            }
            block += count
            file.write(json.dumps(row) + "\n")
    return str(path)


def _write_law(path: Path, run: dict) -> None:
    tokens = np.linspace(0.0, 32_768.0, 513)
    kv = np.linspace(0.0, 600_000.0, 601)
    # The batch is KV tokens over mean context, which is far from linear in the context.
    context = np.geomspace(1.0, 65_536.0, 1025)
    batch = kv[:, None] / context[None, :]
    decode = run["base_ms"] + run["decode_ms"] * batch + run["kv_ms"] * kv[:, None]
    np.savez(
        path,
        prefill_isl=tokens,
        prefill_ttft_ms=run["prefill_ms"] * tokens,
        decode_active_kv_tokens=kv,
        decode_context_length=context,
        decode_itl=decode,
    )
