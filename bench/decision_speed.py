"""A full decision under scarcity: 100, 1,000 and 10,000 variants, cold and warm, on one core.

Three variants per model on eight accelerator types, five service classes, and nine tenths of
the accelerators that the models would take each alone. Warm: a tick later, a twentieth of the
models with other rates and lengths. Printed beside the time: how far the plan may be from the
least possible, by the bound that is proven for whole counts, and by how much a plan is worse in
which services in turn take the best of what is left, with no prices of what is scarce. Of the
smallest size also by how much it is worse than HiGHS's optimum, which is proven in little time.
"""

import statistics
import time
from dataclasses import replace

import numpy as np

from adapter.catalog import Catalog, build_catalog
from adapter.config import Settings
from adapter.decide import policy_of
from adapter.plan_file import ModelDemand, build_request
from bench.random_systems import value
from bench.report import Row, run_bench
from optimizer import Plan, PlanRequest, plan
from optimizer.ahead import look_ahead
from optimizer.counts import bounds_in_force
from optimizer.local_search import filled
from optimizer.mip import exact
from optimizer.need import replica_capacity, required, sized
from optimizer.problem import Problem
from optimizer.rationing import _problem
from optimizer.scarcity import penalties

COMMAND = "python -m bench decision_speed"
GOALS_S = {100: 0.05, 1_000: 0.3, 10_000: 3.0}
TYPES = {
    # name: cost per hour, then alpha, beta of a small model in ms
    "H200": (5.2, 5.5, 0.017),
    "H100": (4.1, 6.5, 0.020),
    "B200": (7.5, 3.8, 0.012),
    "A100": (3.2, 12.0, 0.060),
    "L40S": (1.8, 22.0, 0.070),
    "MI300X": (4.6, 7.0, 0.024),
    "L4": (0.8, 48.0, 0.160),
    "A10G": (1.1, 38.0, 0.130),
}
TIGHTNESS = 0.9
REPEATS = 3
WARM_TICKS = 5
# Variants up to which HiGHS proves its optimum in a moment.
_PROVEN_UP_TO = 100


def settings(variants: int, counts: dict[str, int] | None = None) -> Settings:
    """Return a fleet, always the same for its size."""
    rng = np.random.default_rng(3)
    models = -(-variants // 3)
    names = list(TYPES)
    chosen = [rng.choice(len(names), 3, replace=False) for _ in range(models)]
    return Settings.model_validate(
        {
            "accelerators": {
                n: {"cost_per_hour": c, "count": (counts or {}).get(n, -1)}
                for n, (c, _, _) in TYPES.items()
            },
            "service_classes": {
                f"class-{k}": {
                    "priority": 1 + 10 * k,
                    "slo": {"ttft_ms": 800 * (1 + k), "itl_ms": 70 + 20 * k, "percentile": 95},
                }
                for k in range(5)
            },
            "models": {
                f"model-{m}": {
                    "service_class": f"class-{m % 5}",
                    "profiles": {
                        n: {"alpha_ms": a * (1 + m % 7 / 20), "beta_ms": b, "gamma_ms": b / 400}
                        for n, (_, a, b) in TYPES.items()
                    },
                }
                for m in range(models)
            },
            "variants": [
                {
                    "name": f"variant-{v}",
                    "model": f"model-{v // 3}",
                    "accelerator": names[chosen[v // 3][v % 3]],
                    "min_replicas": 0,
                    "max_replicas": 200,
                }
                for v in range(variants)
            ],
        }
    )


def demand(catalog: Catalog) -> dict[str, ModelDemand]:
    rng = np.random.default_rng(5)
    return {
        key.model: ModelDemand(
            arrival_rate_rps=float(rng.lognormal(2.5, 1.0)),
            prompt_tokens_mean=float(rng.uniform(300, 1500)),
            output_tokens_mean=float(rng.uniform(100, 400)),
        )
        for key in catalog.models
    }


def scarce(variants: int) -> tuple[Catalog, PlanRequest]:
    """Return the fleet with fewer accelerators than its models would take each alone."""
    free = build_catalog(settings(variants))
    wanted = plan(build_request(free, demand(free), policy_of(free))).desired
    used = {
        name: int(TIGHTNESS * wanted[np.array(free.accelerators) == name].sum()) for name in TYPES
    }
    catalog = build_catalog(settings(variants, used))
    return catalog, build_request(catalog, demand(catalog), policy_of(catalog))


def later(request: PlanRequest, found: Plan, *, changed_ratio: float, seed: int) -> PlanRequest:
    """Return the next tick: the plan is in force, and some models' rates and lengths changed."""
    rng = np.random.default_rng(seed)
    moved = rng.random(len(request.models)) < changed_ratio
    factor = np.where(moved, rng.uniform(0.8, 1.25, len(moved)), 1.0)
    longer = np.where(moved, rng.uniform(0.9, 1.1, len(moved)), 1.0)[request.variants.model]
    work = request.workloads
    rate = factor * request.models.arrival_rate_rps
    return replace(
        request,
        now_s=request.now_s + 5.0,
        models=replace(request.models, arrival_rate_rps=rate),
        variants=replace(
            request.variants, current_replicas=found.desired, ready_replicas=found.desired
        ),
        workloads=replace(
            work,
            prompt_tokens_mean=longer * work.prompt_tokens_mean,
            prompt_tokens_second_moment=longer**2 * work.prompt_tokens_second_moment,
        ),
        state=found.state,
        recall=found.recall,
    )


def timed(request: PlanRequest) -> tuple[Plan, float]:
    """Return a decision and the processor's seconds that it took."""
    began = time.process_time()
    found = plan(request)
    return found, time.process_time() - began


def measure() -> list[Row]:
    """Time cold and warm decisions at each size."""
    rows = []
    for variants, goal_s in GOALS_S.items():
        catalog, request = scarce(variants)
        found, cold_s = min((timed(request) for _ in range(REPEATS)), key=lambda each: each[1])
        settled, _ = timed(later(request, found, changed_ratio=0.0, seed=0))
        following, warm = later(request, settled, changed_ratio=0.0, seed=0), []
        last = settled
        for tick in range(WARM_TICKS):
            following = later(following, last, changed_ratio=0.05, seed=1 + tick)
            last, spent_s = timed(following)
            warm.append(spent_s)
        warm_s = statistics.median(warm)
        print(f"  {variants}: {_quality(catalog, request, found)}")
        rows += [
            _row(f"decision of {variants} variants", cold_s, f"the goal: {goal_s} s", goal_s),
            _row(f"decision of {variants} variants, a tick later", warm_s, "the first", cold_s),
        ]
    return rows


def _quality(catalog: Catalog, request: PlanRequest, found: Plan) -> str:
    uses = catalog.supply.uses
    short = len(np.unique(request.variants.model[found.unmet_ratio > 1e-3]))
    return (
        f"gap {100 * found.gap_ratio.max():.2f} %{_against_optimum(request, found)}, "
        f"models short {short}, accelerators used "
        f"{100 * (uses.used(found.desired) / uses.capacity).mean():.1f} %, greedy "
        f"{100 * _greedy_loss_ratio(request, found):.1f} % worse"
    )


def _against_optimum(request: PlanRequest, found: Plan) -> str:
    """Say by how much the plan's value exceeds the proven optimum's, where that is known."""
    if len(request.variant_names) > _PROVEN_UP_TO:
        return ""
    problem = _problem_of(request)
    best = exact(problem, penalties(problem), found.desired, nodes=1000, gap_ratio=1e-4)
    if best is None or not best.proven:
        return ""
    loss = value(problem, found.desired) / value(problem, best.counts) - 1.0
    return f", {100 * loss:.2f} % above the proven optimum"


def _greedy_loss_ratio(request: PlanRequest, found: Plan) -> float:
    """Return by how much a greedy plan's value, penalties included, exceeds the plan's."""
    problem = _problem_of(request)
    penalty = penalties(problem)
    greedy = filled(problem, penalty, problem.lowest)
    return value(problem, greedy) / value(problem, found.desired) - 1.0


def _problem_of(request: PlanRequest) -> Problem:
    """Return what the decision allocates, in the request's order of variants."""
    ahead = look_ahead(request)
    sizing, _ = sized(request, ahead)
    capacity = replica_capacity(request, sizing)
    need = required(request, capacity, ahead)
    bounds = bounds_in_force(request, need)
    return _problem(
        request,
        capacity.rate_rps,
        bounds.lowest,
        bounds.highest,
        need.now_rps,
        ahead.cold_start_s,
    )


def _row(name: str, value: float, baseline: str, of: float) -> Row:
    return Row(
        name=name, value=value, unit="s", baseline=baseline, ratio=value / of, command=COMMAND
    )


if __name__ == "__main__":
    run_bench(measure)
