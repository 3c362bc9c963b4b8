"""Performance profiles from the history, one per workload: `wva fit` on what was seen. Pure."""

from dataclasses import dataclass

import numpy as np

from adapter.benchmark_files import MeasuredPoint
from adapter.collect.histogram import second_moment
from adapter.config import Profile
from adapter.errors import ConfigError
from adapter.profile_of_points import fit_points
from optimizer import BoolArray, FloatArray
from simulator.cluster_spec import ProfileSpec

from .declared import Supply
from .history import History

__all__ = ["Fitted", "fit_variant", "spread_of"]

# Loads that are told apart. Each is the mean of the steps whose load was closest.
MOST_POINTS = 32
FEWEST_STEPS_PER_POINT = 4
# A first token that waited for a slot says nothing of the engine's speed.
MOST_WAITING = 0.05
# A queue with memory to spare: the batch is full.
QUEUE = 1.0
MEMORY_TO_SPARE = 0.85
USUAL_MAX_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A workload's profile, what it rests on, and how far from the data it is."""

    profile: ProfileSpec | None
    rests_on: str
    points: int = 0
    requests: tuple[float, float] = (0.0, 0.0)  # least and most in flight
    itl_error_ratio: float = float("nan")
    ttft_error_ratio: float = float("nan")


def fit_variant(history: History, row: int, supply: Supply) -> Fitted:
    """Return the profile of a workload: the settings' own, or one fitted; without it, why not."""
    variant = history.variants[row]
    capacity = history.kv_capacity_tokens.get((variant.namespace, variant.name))
    limit = supply.max_batch_size or _full_batch(history, row) or USUAL_MAX_BATCH_SIZE
    if supply.profile is not None:
        return Fitted(profile=_given(supply.profile, limit, capacity), rests_on="settings")
    points = _points(history, row)
    if not points:
        return Fitted(profile=None, rests_on="no step without a queue in which tokens were made")
    try:
        found = fit_points(
            points,
            model=variant.model,
            accelerator=supply.accelerator,
            accelerators=supply.accelerators_per_replica,
        )
    except ConfigError as exc:
        return Fitted(profile=None, rests_on=str(exc), points=len(points))
    base, decode, prefill, kv, constant = (1e3 * float(value) for value in found.parameters)
    return Fitted(
        profile=ProfileSpec(
            alpha_ms=base,
            beta_ms=decode,
            beta_prefill_ms=prefill,
            gamma_ms=kv,
            ttft_constant_ms=constant,
            max_batch_size=limit,
            kv_capacity_tokens=None if capacity is None else int(capacity),
        ),
        rests_on=found.status.name.lower(),
        points=len(points),
        requests=(float(found.requests.min()), float(found.requests.max())),
        itl_error_ratio=found.itl_error,
        ttft_error_ratio=found.ttft_error,
    )


def _given(profile: Profile, limit: int, capacity: float | None) -> ProfileSpec:
    tokens = profile.kv_capacity_tokens or capacity
    return ProfileSpec(
        alpha_ms=profile.alpha_ms,
        beta_ms=profile.beta_ms,
        beta_prefill_ms=profile.beta_prefill_ms,
        gamma_ms=profile.gamma_ms,
        ttft_constant_ms=profile.ttft_constant_ms,
        max_batch_size=profile.max_batch_size or limit,
        max_batched_tokens=profile.max_batched_tokens or 8192,
        max_queue_size=profile.max_queue_size,
        kv_capacity_tokens=None if tokens is None else int(tokens),
    )


def _full_batch(history: History, row: int) -> int | None:
    """Return how many ran while others waited for a slot and not for memory; None: never."""
    own = history.variant_of == row
    waiting = history.signal("mean:waiting_requests")[own]
    kv = np.nan_to_num(history.signal("mean:kv_usage_ratio")[own])
    full = (waiting > QUEUE) & (kv < MEMORY_TO_SPARE)
    running = history.signal("mean:running_requests")[own][full]
    return round(float(running.max())) if running.size else None


def _points(history: History, row: int) -> list[MeasuredPoint]:
    own = history.variant_of == row

    def column(name: str) -> FloatArray:
        return np.asarray(history.signal(name)[own])

    running, waiting = column("mean:running_requests"), column("mean:waiting_requests")
    served, gaps = column("rate:completions"), column("count:itl_s")
    used = (running > 0) & (np.nan_to_num(waiting) <= MOST_WAITING) & (served > 0) & (gaps > 0)
    if not used.any():
        return []
    model = int(history.model_of[row])
    cv = {
        n: spread_of(history, model, n) for n in ("request_prompt_tokens", "request_output_tokens")
    }
    sums = {
        name: column(name)[used]
        for name in (
            *("sum:itl_s", "count:itl_s", "sum:ttft_s", "count:ttft_s"),
            *(f"{part}:{name}" for part in ("sum", "count") for name in cv),
        )
    }
    points = []
    for name, members in _alike(running[used]):

        def mean(histogram: str, members: BoolArray = members) -> float:
            amount = np.nansum(sums[f"sum:{histogram}"][members])
            count = np.nansum(sums[f"count:{histogram}"][members])
            return float(amount / count) if count > 0 else float("nan")

        prompt, output = mean("request_prompt_tokens"), mean("request_output_tokens")
        points.append(
            MeasuredPoint(
                name=name,
                throughput_rps=float(served[used][members].mean()),
                requests=float(running[used][members].mean()),
                prompt_tokens=prompt,
                prompt_tokens_std=cv["request_prompt_tokens"] * prompt,
                output_tokens=output,
                output_tokens_std=cv["request_output_tokens"] * output,
                ttft_s=mean("ttft_s"),
                itl_s=mean("itl_s"),
            )
        )
    return [p for p in points if p.itl_s > 0 and p.output_tokens > 1 and p.prompt_tokens > 0]


def _alike(running: FloatArray) -> list[tuple[str, BoolArray]]:
    """Return steps of about the same load, in equal numbers, the lightest first."""
    count = min(MOST_POINTS, max(len(running) // FEWEST_STEPS_PER_POINT, 1))
    edges = np.quantile(running, np.linspace(0.0, 1.0, count + 1)[1:-1])
    of = np.searchsorted(edges, running, side="right")
    return [(f"load {n + 1}", of == n) for n in range(count) if (of == n).any()]


def spread_of(history: History, model: int, histogram: str) -> float:
    """Return the CV of a model's lengths over the whole history; 0 where no bucket tells."""
    found = history.buckets.get(histogram)
    if found is None or not np.isinf(found.bounds[-1]):
        return 0.0
    cumulative = found.counts[model].sum(axis=0)[None, :]
    mean, weight = history.mean_of(histogram)[model], found.counts[model][:, -1]
    known = np.isfinite(mean) & (weight > 0)
    if not known.any():
        return 0.0
    average = float(np.average(mean[known], weights=weight[known]))
    total = np.array([average * cumulative[0, -1]])
    square = float(second_moment(found.bounds, cumulative, total)[0])
    return float(np.sqrt(max(square / average**2 - 1.0, 0.0)))
