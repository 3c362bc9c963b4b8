"""PROVISIONAL (lead, for wiring only): replaced by the numerics helper's module."""

from dataclasses import dataclass

import numpy as np

from .domain import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    ttft_mean_s: FloatArray
    ttft_s: FloatArray
    itl_mean_s: FloatArray
    itl_s: FloatArray
    utilization: FloatArray


def work(p, w, l):
    i = w.prompt_tokens_mean * (1 - w.prefix_hit_ratio)
    o = w.output_tokens_mean
    per = (
        p.prefill_slope_s * i + p.decode_slope_s * o + p.kv_slope_s * (i + o * (i + (o + 1) / 2))
    ) / (1 + o)
    n = np.minimum(l.max_batch_size, l.kv_capacity_tokens / (w.prompt_tokens_mean + o / 2) * 0.9)
    return i, o, per, n


def predict(profiles, workloads, limits, arrival_rate_rps, *, percentile_ratio):
    i, o, per, n_max = work(profiles, workloads, limits)
    lam = np.nan_to_num(arrival_rate_rps)
    x = lam * (1 + o)
    n = np.clip(x * profiles.iteration_base_s / np.maximum(1 - x * per, 1e-6), 0, n_max)
    t = profiles.iteration_base_s + n * per
    ttft = 1.5 * t + profiles.prefill_slope_s * i + profiles.ttft_constant_s
    util = lam * (1 + o) * (profiles.iteration_base_s + n_max * per) / n_max
    return Prediction(
        ttft_mean_s=ttft, ttft_s=ttft * 2, itl_mean_s=t, itl_s=t * 1.1, utilization=util
    )
