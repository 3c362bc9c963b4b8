"""The public ramp in the independent simulator: what each policy decided, on the same requests.

    python -m bench.referee --install     # once
    python -m bench.referee_ramp

Every policy runs in our simulator first; then the replicas that it asked for, at the same moments,
are asked for in ai-dynamo's (see `referee`), whose engines, router (round robin) and start-up are
its own, with the same timing law. The loop isn't closed over the other's metrics: what is compared is
whether the decisions give clients there what they give them here. Minutes per policy.

Seen: with 8 replicas all the time ITL is within 0.5 %. With the fewer that ours asks for, KV memory
is full for a while; there the other preempts in circles and doesn't recover (TTFT of minutes), as
at the two points of `referee` where memory is short.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import wva_policy
from simulator.closed_loop import PolicyFactory, Run, play
from simulator.policies.table import BASELINES
from simulator.scenario import Scenario, load_scenario

from .referee import BLOCK_TOKENS, FOLDER, TIMEOUT_S, reports_of
from .report import Row, run_bench

__all__ = ["described", "measure"]

SCENARIO = "public-ramp"
POLICIES = ("wva", "hpa-kv", "keda-slo", "static")
SEED = 1
WORKER = Path(__file__).with_name("referee_ramp_worker.py")
FIGURES = ("TTFT mean", "TTFT p90", "TTFT p95", "ITL mean", "ITL p95")
COMMAND = "python -m bench.referee_ramp"


def measure() -> Sequence[Row]:
    """The relative difference of our figures to the other's, by policy."""
    if not (FOLDER / "bin" / "python").exists():
        sys.exit(f"no {FOLDER}: run `python -m bench.referee --install` first")
    scenario = load_scenario(SCENARIO)
    runs = [play(scenario, name, _factory(scenario, name), seed=SEED) for name in POLICIES]
    reports = reports_of(WORKER, [described(run) for run in runs], within_s=TIMEOUT_S)
    return [
        Row(
            name=f"{run.policy}: {figure}",
            value=ours / theirs - 1.0,
            unit="relative",
            baseline=f"{1e3 * theirs:,.0f} ms there, {1e3 * ours:,.0f} ms here",
            ratio=ours / theirs,
            command=COMMAND,
        )
        for run, report in zip(runs, reports, strict=True)
        for figure, ours, theirs in zip(FIGURES, _ours(run), _theirs(report), strict=True)
    ]


def described(run: Run) -> dict[str, object]:
    """Return what the other simulator is told of a run: engine, requests, replicas over time."""
    (variant,), (demand,) = run.scenario.variants, run.demand
    spec, requests = variant.engine(queue_timeout_s=np.inf), demand.requests
    return {
        "base_ms": 1e3 * spec.iteration_base_s,
        "decode_ms": 1e3 * spec.decode_slope_s,
        "prefill_ms": 1e3 * spec.prefill_slope_s,
        "kv_ms": 1e3 * spec.kv_slope_s,
        "num_gpu_blocks": variant.profile.kv_capacity_tokens // BLOCK_TOKENS,
        "max_num_seqs": spec.max_num_seqs,
        "max_num_batched_tokens": spec.max_num_batched_tokens,
        "startup_s": variant.cold_start.mean_s,
        "initial": run.samples[0].ready[0],
        "schedule": [[1e3 * each.at_s, each.after] for each in run.actions],
        "end_ms": 1e3 * run.scenario.duration_s,
        "requests": [
            [1e3 * float(at), int(prompt), int(output)]
            for at, prompt, output in zip(
                requests.arrival_s, requests.prompt_tokens, requests.output_tokens, strict=True
            )
        ],
    }


def _factory(scenario: Scenario, name: str) -> PolicyFactory:
    if name == "wva":
        return lambda world: wva_policy(world, replay_settings(scenario))
    return BASELINES[name].factory


def _ours(run: Run) -> tuple[float, ...]:
    (got,) = run.outcomes
    # The other has no time that every request takes beside the engine's steps.
    constant_s = run.scenario.variants[0].profile.ttft_constant_ms / 1e3
    ttft_s, itl_s = got.ttft_s[got.finished] - constant_s, got.itl_s[got.finished]
    return (
        float(ttft_s.mean()),
        *(float(np.percentile(ttft_s, part)) for part in (90, 95)),
        float(itl_s.mean()),
        float(np.percentile(itl_s, 95)),
    )


def _theirs(report: dict[str, float]) -> tuple[float, ...]:
    names = ("mean_ttft_ms", "p90_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "p95_tpot_ms")
    return tuple(report[name] / 1e3 for name in names)


if __name__ == "__main__":
    run_bench(measure)
