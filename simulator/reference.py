"""What one replica of a variant can carry within its targets, found by running its engine.

The figure that plans made offline start from (a static fleet, the clairvoyant's schedule):
no model of the optimizer is in it.
"""

import math
from functools import cache

import numpy as np

from .demand import lengths_of
from .demand_spec import ModelSpec, PhaseSpec
from .engine import EngineSpec, simulate
from .scenario import Scenario

__all__ = ["capacity_rps", "variant_capacity_rps"]

REQUESTS = 1500
WARM_UP = 300
HALVINGS = 9
SEED = 20_260_101


def variant_capacity_rps(scenario: Scenario, variant: int, *, at_s: float = 0.0) -> float:
    """Return one replica's capacity for the lengths that its model's clients send at `at_s`."""
    spec = scenario.variants[variant]
    model = scenario.models[scenario.model_of[variant]]
    phase = _phase(model, at_s)
    return capacity_rps(spec.engine(queue_timeout_s=math.inf), phase, model)


def _phase(model: ModelSpec, at_s: float) -> PhaseSpec:
    return [phase for phase in model.workload.phases if phase.at_s <= at_s][-1]


@cache
def capacity_rps(engine: EngineSpec, phase: PhaseSpec, model: ModelSpec) -> float:
    """Return the largest Poisson rate at which the model's percentile is within its targets."""
    low, high = 0.0, _ceiling_rps(engine, phase)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _holds(engine, phase, model, middle) else (low, middle)
    return low


def _ceiling_rps(engine: EngineSpec, phase: PhaseSpec) -> float:
    """Return a rate that no batch can serve: that of a batch at the lower bound of its time."""
    prompt = phase.prompt.mean * (1.0 - phase.prefix_hit_ratio)
    work_s = prompt * engine.prefill_slope_s + phase.output.mean * (
        engine.iteration_base_s / engine.max_num_seqs + engine.decode_slope_s
    )
    return 1.0 / work_s


def _holds(engine: EngineSpec, phase: PhaseSpec, model: ModelSpec, rate_rps: float) -> bool:
    random = np.random.default_rng(SEED)
    arrival_s = np.cumsum(random.exponential(1.0 / rate_rps, REQUESTS))
    prompt = lengths_of(phase.prompt).draw(random, REQUESTS)
    output = lengths_of(phase.output).draw(random, REQUESTS)
    cached = np.minimum((prompt * phase.prefix_hit_ratio).astype(np.int64), prompt - 1)
    outcome = simulate(engine, arrival_s, prompt, output, cached_tokens=cached)
    met = (outcome.ttft_s <= model.ttft_s) & (outcome.itl_s <= model.itl_s)
    return bool(met[WARM_UP:].mean() >= model.percentile / 100.0)
