"""A full decision under scarcity: 100, 1,000 and 10,000 variants, cold and warm, on one core.

Three variants per model on eight accelerator types, five service classes, and nine tenths of
the accelerators that the models would take each alone. Printed beside the time: how far the
plan may be from the least possible (the linear bound, which doesn't know whole replicas), and
what the plain greedy by priority and price loses against it.
"""

import time
from dataclasses import replace

import numpy as np

from adapter.catalog import Catalog, build_catalog
from adapter.config import Settings
from adapter.decide import policy_of
from adapter.plan_file import ModelDemand, build_request
from bench.report import Row, run_bench
from optimizer import Plan, PlanRequest, plan

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


def later(request: PlanRequest, found: Plan) -> PlanRequest:
    """Return the next tick: the plan is in force, and a twentieth of the models changed."""
    rng = np.random.default_rng(7)
    rate = request.models.arrival_rate_rps.copy()
    moved = rng.random(len(rate)) < 0.05
    rate[moved] *= rng.uniform(0.8, 1.25, int(moved.sum()))
    there = {"current_replicas": found.desired, "ready_replicas": found.desired}
    return replace(
        request,
        now_s=request.now_s + 5.0,
        models=replace(request.models, arrival_rate_rps=rate),
        variants=replace(request.variants, **there),
        state=found.state,
    )


def measure() -> list[Row]:
    """Time cold and warm decisions at each size."""
    rows = []
    for variants, goal_s in GOALS_S.items():
        catalog, request = scarce(variants)
        cold, warm = [], []
        for _ in range(REPEATS if variants < 10_000 else 1):
            began = time.process_time()
            found = plan(request)
            cold.append(time.process_time() - began)
            following = later(request, found)
            began = time.process_time()
            plan(following)
            warm.append(time.process_time() - began)
        supply = catalog.supply
        used = supply.uses.used(found.desired)
        print(
            f"  {variants}: gap {100 * found.gap_ratio.max():.2f} %, models short "
            f"{len(np.unique(request.variants.model[found.unmet_ratio > 1e-3]))}, accelerators used "
            f"{100 * (used / supply.uses.capacity).mean():.1f} %"
        )
        rows += [
            _row(f"decision of {variants} variants", min(cold), f"the goal: {goal_s} s", goal_s),
            _row(f"next decision of {variants} variants", min(warm), "the first", min(cold)),
        ]
    return rows


def _row(name: str, value: float, baseline: str, of: float) -> Row:
    return Row(
        name=name, value=value, unit="s", baseline=baseline, ratio=value / of, command=COMMAND
    )


if __name__ == "__main__":
    run_bench(measure)
