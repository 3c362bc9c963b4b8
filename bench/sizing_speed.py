"""Analyse and size 10,000 variants: core-seconds, percentiles included.

Every variant is sized for p95 TTFT and p95 ITL (mean ITL, which the goal asks for, is a
by-product of the same evaluation) and then analysed at the rate found. Batch limits are
64 to 256, queues ten times that; the other columns are spread over what is in use.
"""

import time

import numpy as np

from optimizer import EngineLimits, FloatArray, ServiceProfiles, SloTargets, Workloads
from optimizer.latency import predict
from optimizer.sizing import SizingStatus, largest_arrival_rate

from .report import Row, run_bench

COMMAND = "python -m bench sizing_speed"
VARIANTS = 10_000
REPEATS = 5
MARGIN_RATIO = 0.1
PERCENTILE = 0.95
# The peer's Go code, for the means alone, measured on this kind of machine.
PEER_S = 2.07e-3 * VARIANTS


def measure() -> list[Row]:
    """Size and analyse 10,000 variants, best of a few repeats."""
    profiles, workloads, limits, targets = fleet(VARIANTS)
    everything = (profiles, workloads, limits)
    best_size_s = best_analysis_s = np.inf
    for _ in range(REPEATS):
        start_s = time.process_time()
        sizing = largest_arrival_rate(*everything, targets, stability_margin_ratio=MARGIN_RATIO)
        sized_s = time.process_time()
        rate_rps = np.where(sizing.rate_rps > 0.0, sizing.rate_rps, 0.5 * sizing.stable_rps)
        predict(*everything, rate_rps, percentile_ratio=targets.percentile_ratio)
        best_size_s = min(best_size_s, sized_s - start_s)
        best_analysis_s = min(best_analysis_s, time.process_time() - sized_s)
    counts = np.bincount(sizing.status, minlength=len(SizingStatus))
    print("  " + ", ".join(f"{SizingStatus(s).name} {n}" for s, n in enumerate(counts) if n))
    return [
        _row("size_10000_variants", best_size_s),
        _row("analyse_10000_variants", best_analysis_s),
        _row("size_and_analyse_10000_variants", best_size_s + best_analysis_s),
    ]


def fleet(count: int) -> tuple[ServiceProfiles, Workloads, EngineLimits, SloTargets]:
    """Return `count` variants, always the same ones."""
    random = np.random.default_rng(1)

    def spread(low: float, high: float) -> FloatArray:
        return np.exp(random.uniform(np.log(low), np.log(high), count))

    profiles = ServiceProfiles(
        iteration_base_s=spread(3e-3, 3e-2),
        decode_slope_s=spread(1e-5, 3e-4),
        prefill_slope_s=spread(1e-5, 1e-4),
        kv_slope_s=spread(3e-9, 1.5e-7),
        ttft_constant_s=np.full(count, 0.01),
    )
    prompt, output = spread(128, 4096), spread(64, 1024)
    workloads = Workloads(
        prompt_tokens_mean=prompt,
        prompt_tokens_second_moment=2.0 * prompt**2,
        output_tokens_mean=output,
        output_tokens_second_moment=2.0 * output**2,
        prefix_hit_ratio=random.uniform(0.0, 0.5, count),
    )
    batch = random.integers(64, 257, count)
    limits = EngineLimits(
        max_batch_size=batch,
        max_queue_size=10 * batch,
        kv_capacity_tokens=spread(2e5, 3e6),
        max_batched_tokens=np.full(count, 8192.0),
    )
    targets = SloTargets(
        ttft_s=spread(0.3, 3.0),
        itl_s=spread(0.02, 0.1),
        percentile_ratio=np.full(count, PERCENTILE),
        throughput_tps=np.zeros(count),
    )
    return profiles, workloads, limits, targets


def _row(name: str, core_s: float) -> Row:
    return Row(
        name=name,
        value=core_s,
        unit="core-seconds",
        baseline=f"the peer's Go code, means only: {PEER_S:.3g} s",
        ratio=core_s / PEER_S,
        command=COMMAND,
    )


if __name__ == "__main__":
    run_bench(measure)
