# ruff: noqa: INP001 - a script, not a package
"""The decision of the README, with the optimizer as a library: `python examples/cheapest_mix.py`.

Llama-3.1-8B on two accelerators; prompts of 800 tokens and outputs of 250 on average, with long
tails; 28 requests/s; a promise that 95 % of requests see their first token within 500 ms and
40 ms per token after it. The profiles are operators' estimates (aiconfigurator, vLLM in bf16); a
benchmark of your engines, or the adapter's own learning, gives yours.
"""

import numpy as np

from optimizer import EngineLimits, ServiceProfiles, SloTargets, Workloads
from optimizer.allocation import cheapest_mix
from optimizer.latency import predict
from optimizer.sizing import SizingBound, largest_arrival_rate

VARIANTS = ("llama-8b-h100", "llama-8b-l40s")
COST_PER_HOUR = np.array([4.10, 1.20])
DEMAND_RPS = 28.0
PROMPT_TOKENS, OUTPUT_TOKENS = 800.0, 250.0

# One column entry per variant, in base units: seconds, tokens, requests per second.
both = np.ones(2)
profiles = ServiceProfiles(
    iteration_base_s=np.array([6.26e-3, 22.0e-3]),
    decode_slope_s=np.array([12.7e-6, 45.0e-6]),
    prefill_slope_s=np.array([20.8e-6, 69.6e-6]),
    kv_slope_s=np.array([41e-9, 186e-9]),
    ttft_constant_s=0.010 * both,
)
workloads = Workloads(
    prompt_tokens_mean=PROMPT_TOKENS * both,
    prompt_tokens_second_moment=2.0 * PROMPT_TOKENS**2 * both,
    output_tokens_mean=OUTPUT_TOKENS * both,
    output_tokens_second_moment=2.0 * OUTPUT_TOKENS**2 * both,
    prefix_hit_ratio=0.0 * both,
)
limits = EngineLimits(
    max_batch_size=np.array([256, 256]),
    max_queue_size=np.array([2560, 2560]),
    kv_capacity_tokens=np.array([424e3, 184e3]),
    max_batched_tokens=8192.0 * both,
)
slo = SloTargets(
    ttft_s=0.500 * both,
    itl_s=0.040 * both,
    percentile_ratio=0.95 * both,
    throughput_tps=0.0 * both,
)


def main() -> None:
    """Size one replica of each, choose the cheapest mix, and predict what it gives."""
    sizing = largest_arrival_rate(profiles, workloads, limits, slo, stability_margin_ratio=0.1)
    mix = cheapest_mix(
        model=np.array([0, 0]),
        rate_rps=sizing.rate_rps,
        cost_per_hour=COST_PER_HOUR,
        lowest=np.array([0, 0]),
        highest=np.array([20, 20]),
        demand_rps=np.array([DEMAND_RPS]),
    )
    # Traffic follows capacity.
    carried_rps = mix.replicas * sizing.rate_rps
    each_rps = DEMAND_RPS * sizing.rate_rps / carried_rps.sum()
    predicted = predict(
        profiles, workloads, limits, each_rps, percentile_ratio=slo.percentile_ratio
    )
    print("variant          carries    bound by       cost/h  replicas  p95 TTFT  p95 ITL")
    for row, name in enumerate(VARIANTS):
        bound = SizingBound(sizing.bound[row]).name.lower()
        print(
            f"{name:15} {sizing.rate_rps[row]:5.1f} req/s  {bound:13}"
            f" {COST_PER_HOUR[row]:7.2f} {mix.replicas[row]:9d}"
            f" {1e3 * predicted.ttft_s[row]:6.0f} ms {1e3 * predicted.itl_s[row]:5.1f} ms"
        )
    spent = float(mix.replicas @ COST_PER_HOUR)
    alone = np.ceil(DEMAND_RPS / sizing.rate_rps) * COST_PER_HOUR
    print(f"{DEMAND_RPS:g} req/s: {spent:.2f}/h together, {alone[0]:.2f} or {alone[1]:.2f}/h alone")


if __name__ == "__main__":
    main()
