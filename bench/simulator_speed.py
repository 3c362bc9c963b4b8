"""How fast the simulated engine is: requests per core-second, and simulated over real time."""

import time
from collections.abc import Sequence

import numpy as np

from simulator.closed_loop import play
from simulator.engine import EngineSpec, simulate
from simulator.policies.table import BASELINES
from simulator.scenario import Scenario, load_scenario
from simulator.workload import Lengths

from .report import Row, run_bench

REQUESTS = 100_000
BATCH = 64
OUTPUT_TOKENS = 200.0
REPLICAS = 10
ROUNDS = 3
LEAST_RPS, LEAST_RATIO = 100_000.0, 1000.0
COMMAND = "python -m bench simulator_speed"


def measure() -> Sequence[Row]:
    """One engine at a batch of 64, and ten replicas behind a router in a whole world."""
    rate = _requests_per_s()
    faster = _times_real_time()
    return [
        Row(
            name=f"engine, batch {BATCH}, {OUTPUT_TOKENS:.0f} output tokens",
            value=rate,
            unit="requests/core-s",
            baseline=f"wanted: {LEAST_RPS:,.0f}",
            ratio=rate / LEAST_RPS,
            command=COMMAND,
        ),
        Row(
            name=f"world of {REPLICAS} replicas with its metrics and HPA",
            value=faster,
            unit="x real time",
            baseline=f"wanted where the engine is slower: {LEAST_RATIO:,.0f}",
            ratio=faster / LEAST_RATIO,
            command=COMMAND,
            holds=rate >= LEAST_RPS or faster >= LEAST_RATIO,
        ),
    ]


def _requests_per_s() -> float:
    """Return the rate of an engine whose batch is always full."""
    random = np.random.default_rng(1)
    spec = EngineSpec(
        iteration_base_s=0.012,
        decode_slope_s=0.00002,
        prefill_slope_s=0.00002,
        max_num_seqs=BATCH,
        max_num_batched_tokens=8192,
    )
    prompt = Lengths(mean_tokens=500.0, cv=0.5, max_tokens=4096).draw(random, REQUESTS)
    output = Lengths(mean_tokens=OUTPUT_TOKENS, cv=0.5, max_tokens=4096).draw(random, REQUESTS)
    # As many come as a full batch serves.
    arrival_s = np.cumsum(random.exponential(OUTPUT_TOKENS * 0.016 / BATCH, REQUESTS))
    simulate(spec, arrival_s[:100], prompt[:100], output[:100])  # compiles
    return REQUESTS / min(
        _took_s(lambda: simulate(spec, arrival_s, prompt, output)) for _ in range(ROUNDS)
    )


def _times_real_time() -> float:
    scenario = _ten_replicas()
    factory = BASELINES["hpa-kv"].factory
    play(scenario.model_copy(update={"duration_s": 60.0}), "warm", factory, seed=1)
    took_s = _took_s(lambda: play(scenario, "hpa-kv", factory, seed=1))
    return scenario.duration_s / took_s


def _ten_replicas() -> Scenario:
    """Return the public ramp's variant at ten replicas, evenly loaded for an hour."""
    scenario = load_scenario("public-ramp")
    (model,), (variant,) = scenario.models, scenario.variants
    rate = model.workload.rate.model_copy(update={"points": ((0.0, 12.0),)})
    workload = model.workload.model_copy(update={"rate": rate})
    counts = {"initial_replicas": REPLICAS, "min_replicas": REPLICAS, "max_replicas": REPLICAS}
    return scenario.model_copy(
        update={
            "duration_s": 3600.0,
            "lead_in_s": 0.0,
            "models": (model.model_copy(update={"workload": workload}),),
            "variants": (variant.model_copy(update=counts),),
        }
    )


def _took_s(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    run_bench(measure)
