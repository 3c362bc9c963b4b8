"""Profiles learned from ten minutes of ordinary traffic: is the capacity that they give right?

One replica of the simulator's engine per run, Poisson arrivals whose rate wanders between
a quarter and seven tenths of what a full batch serves, prompts and outputs lognormal with
means that wander too. Every 20 s the estimator sees what an adapter reads: the engine's own
counters and histograms, as means over the window. Its seed is the published or roofline profile where names tell, else the truth with
every parameter off by a factor of up to two.

Capacity is the largest rate within TTFT and ITL targets at p95. A run counts as right
within 5 % of the capacity under the true law, as unidentified where the estimator says so
and holds the seed, else as wrong. Beside it stands the seed's own error: what is learned
must never be worse by more than 5 %.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from optimizer import (
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    SloTargets,
    Workloads,
)
from optimizer.estimation import EstimatorSettings, learned, update
from optimizer.estimator_state import EstimatorState, Observations
from optimizer.profile_fit import FitStatus
from optimizer.sizing import largest_arrival_rate
from optimizer.step_law import parameters_of, profiles_of
from simulator import state as engine_state
from simulator.compiled import compiled_advance
from simulator.engine import Outcome, simulate

from .accuracy_engine import CASES, Case, _predict, _workloads
from .report import Row, run_bench

COMMAND = "python -m bench learning"
TRAFFIC_S = 600.0
WINDOW_S = 20.0
SEEDS = range(3)
WANDER_S = 60.0
LOWEST, HIGHEST = 0.25, 0.7
RIGHT = 0.05
TTFT_S, ITL_FACTOR = 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how it was judged, and the relative errors of the two capacities."""

    status: FitStatus
    error: float
    seed_error: float

    @property
    def unidentified(self) -> bool:
        return self.status < FitStatus.HELD


def measure() -> list[Row]:
    """Learn from ten minutes of traffic, per case and seed, and judge the capacities."""
    print(f"  {'':28} {'status':>10} {'learned':>9} {'seed':>9}")
    runs = []
    for case in CASES:
        for seed in SEEDS:
            runs.append(_run(case, seed))
            last = runs[-1]
            print(
                f"  {case.name:28} {last.status.name:>10} {last.error:+9.1%} {last.seed_error:+9.1%}",
                flush=True,
            )
    print("  " + ", ".join(f"{k.name} {n}" for k, n in Counter(r.status for r in runs).items()))
    known = [r for r in runs if not r.unidentified]
    right = np.mean([abs(r.error) <= RIGHT for r in known]) if known else np.nan
    worse = np.mean([abs(r.error) > abs(r.seed_error) + RIGHT for r in runs])
    rows = (
        ("learning_runs", len(runs), "runs", ""),
        ("learning_identified", np.mean([not r.unidentified for r in runs]), "share", ""),
        ("learning_right_where_identified", right, "share", "within 5 % of the true capacity"),
        ("learning_error_median", np.median([abs(r.error) for r in known]), "ratio", ""),
        ("learning_error_largest", max(abs(r.error) for r in known), "ratio", ""),
        ("learning_seed_error_median", np.median([abs(r.seed_error) for r in runs]), "ratio", ""),
        ("learning_worse_than_the_seed", worse, "share", "goal: 0"),
    )
    return [
        Row(name=n, value=float(v), unit=u, baseline=b, ratio=None, command=COMMAND)
        for n, v, u, b in rows
    ]


def _run(case: Case, seed: int) -> Run:
    random = np.random.default_rng([CASES.index(case), seed])
    arrivals, prompts, outputs = _traffic(case, random)
    outcome = simulate(case.spec(), arrivals, prompts, outputs)
    intervals = _intervals(case, arrivals, prompts, outputs)
    factors = 2.0 ** random.uniform(-1.0, 1.0, 5)
    truth = _profiles(case)
    start = profiles_of(np.maximum(parameters_of(truth) * factors, 1e-12))
    start = replace(start, ttft_constant_s=np.array([5e-3]))
    state = EstimatorState.empty(("v",))
    for end_s, interval in zip(_window_ends(), intervals, strict=True):
        seen, lengths = _window(outcome, interval, arrivals, prompts, outputs, end_s)
        state = update(
            state,
            names=("v",),
            observations=seen,
            workloads=lengths,
            seed=start,
            now_s=float(end_s),
            limits=_limits(case),
            slo=_targets(case),
            settings=EstimatorSettings(spacing_s=WINDOW_S),
        )
    found = learned(state, start)
    lengths = _workloads(prompts, outputs)
    capacities = [_capacity(case, p, lengths) for p in (truth, found.profiles, start)]
    return Run(
        status=FitStatus(int(found.status[0])),
        error=capacities[1] / capacities[0] - 1.0,
        seed_error=capacities[2] / capacities[0] - 1.0,
    )


def _traffic(case: Case, random: np.random.Generator) -> tuple[FloatArray, IntArray, IntArray]:
    """Draw arrivals and lengths that wander from minute to minute."""
    minutes = int(TRAFFIC_S / WANDER_S)
    share = np.repeat(random.uniform(LOWEST, HIGHEST, minutes), 1)
    scale = random.lognormal(0.0, 0.3, (2, minutes))
    all_arrivals, all_prompts, all_outputs = [], [], []
    for minute in range(minutes):
        mean = (case.prompt_tokens * scale[0, minute], case.output_tokens * scale[1, minute])
        count = 6_000
        drawn = [
            np.clip(
                np.rint(
                    m * np.exp(np.sqrt(np.log(2)) * random.standard_normal(count) - np.log(2) / 2)
                ),
                1,
                case.kv_tokens // 3,
            ).astype(np.int64)
            for m in mean
        ]
        full = 1.0 / _predict(case, _workloads(*drawn), 1.0).utilization[0]
        gaps = random.exponential(1.0 / (share[minute] * full), count)
        at = np.cumsum(gaps)
        kept = at < WANDER_S
        all_arrivals.append(at[kept] + minute * WANDER_S)
        all_prompts.append(drawn[0][kept])
        all_outputs.append(drawn[1][kept])
    return np.concatenate(all_arrivals), np.concatenate(all_prompts), np.concatenate(all_outputs)


def _window_ends() -> FloatArray:
    return np.arange(WINDOW_S, TRAFFIC_S + 1e-6, WINDOW_S)


def _intervals(
    case: Case, arrivals: FloatArray, prompts: IntArray, outputs: IntArray
) -> FloatArray:
    """Return sum and number of the intervals between tokens in each window, shape (n, 2).

    As a histogram of the engine counts them: when they end, and not when a request does.
    """
    spec, random = case.spec(), np.random.default_rng(0)
    columns = engine_state.new_requests(arrivals, prompts, outputs, np.zeros_like(prompts))
    engine = engine_state.new_engine(
        spec.law(), columns, free_blocks=spec.usable_blocks, start_s=0.0
    )
    seen = [(0.0, 0.0)]
    for end_s in _window_ends():
        compiled_advance()(engine, float(end_s), random)
        meters = engine.meters
        seen.append((float(meters.sums[engine_state.ITL_S]), float(np.sum(meters.itl_counts))))
    return np.diff(np.array(seen), axis=0)


def _window(
    outcome: Outcome,
    interval: FloatArray,
    arrivals: FloatArray,
    prompts: IntArray,
    outputs: IntArray,
    end_s: float,
) -> tuple[Observations, Workloads]:
    """Return what counters say of the window that ends at `end_s`."""
    start_s = end_s - WINDOW_S
    first, finish = outcome.first_token_s, outcome.finish_s
    began = (first > start_s) & (first <= end_s)
    ended = (finish > start_s) & (finish <= end_s)
    overlap = np.clip(np.minimum(finish, end_s) - np.maximum(first, start_s), 0.0, None)
    queued = np.clip(
        np.minimum(outcome.scheduled_s, end_s) - np.maximum(arrivals, start_s), 0.0, None
    )
    one = np.ones(1)
    seen = Observations(
        requests=one * ended.sum(),
        arrival_rate_rps=one * began.sum() / WINDOW_S,
        decoding_requests=one * interval[0] / WINDOW_S,
        waiting_requests=one * np.where(queued > 0.05, queued, 0.0).sum() / WINDOW_S,
        itl_s=one * (interval[0] / interval[1] if interval[1] > 0 else np.nan),
        ttft_s=one * (outcome.ttft_s[began].mean() if began.any() else np.nan),
        prompt_tokens=one * (prompts[began].mean() if began.any() else np.nan),
        context_tokens=one * _context_tokens(outcome, prompts, outputs, overlap, end_s),
    )
    some = ended if ended.any() else np.ones_like(ended)
    return seen, _workloads(prompts[some], outputs[some])


def _context_tokens(
    outcome: Outcome, prompts: IntArray, outputs: IntArray, overlap: FloatArray, end_s: float
) -> float:
    """Return the mean KV tokens under a decoding request, as the cache's use tells."""
    life = np.maximum(outcome.finish_s - outcome.first_token_s, 1e-9)
    middle = np.clip(
        np.minimum(outcome.finish_s, end_s) - outcome.first_token_s - overlap / 2.0, 0.0, life
    )
    context = prompts + outputs * middle / life
    return float((overlap * context).sum() / overlap.sum()) if overlap.sum() > 0 else np.nan


def _profiles(case: Case) -> ServiceProfiles:
    law = (case.base, case.decode, case.prefill, case.kv)
    return profiles_of(np.array([[*(x * 1e-3 for x in law), 0.0]]))


def _capacity(case: Case, profiles: ServiceProfiles, lengths: Workloads) -> float:
    found = largest_arrival_rate(
        profiles, lengths, _limits(case), _targets(case), stability_margin_ratio=0.1
    )
    return max(float(found.rate_rps[0]), 1e-6)


def _limits(case: Case) -> EngineLimits:
    return EngineLimits(
        max_batch_size=np.array([case.batch]),
        max_queue_size=np.array([10 * case.batch]),
        kv_capacity_tokens=np.array([float(case.kv_tokens)]),
        max_batched_tokens=np.array([float(case.budget)]),
    )


def _targets(case: Case) -> SloTargets:
    return SloTargets(
        ttft_s=np.array([TTFT_S]),
        itl_s=np.array([ITL_FACTOR * case.base * 1e-3]),
        percentile_ratio=np.array([0.95]),
        throughput_tps=np.zeros(1),
    )


if __name__ == "__main__":
    run_bench(measure)
