"""A small world for tests: one model on two variants, cheap enough to run uncompiled."""

from simulator.scenario import Scenario

PROFILE = {"alpha_ms": 20.0, "beta_ms": 0.5, "beta_prefill_ms": 0.05, "gamma_ms": 0.0001}


def scenario(**changes):
    content = {
        "name": "small",
        "about": "for tests",
        "duration_s": 60.0,
        "drain_s": 60.0,
        "accelerators": {
            "A": {"cost_per_hour": 1.0, "idle_w": 50.0, "full_w": 300.0},
            "B": {"cost_per_hour": 4.0, "idle_w": 100.0, "full_w": 700.0},
        },
        "models": [model()],
        "variants": [variant("small-a", "A"), variant("small-b", "B", initial_replicas=0)],
    }
    return Scenario.model_validate(content | changes)


def model(**changes):
    return {
        "name": "m",
        "ttft_s": 1.0,
        "itl_s": 0.1,
        "workload": {
            "rate": {"points": [[0, 2.0]]},
            "phases": [
                {
                    "prompt": {"mean": 200, "cv": 0.5, "max": 1000},
                    "output": {"mean": 20, "cv": 0.5, "max": 100},
                }
            ],
        },
    } | changes


def variant(name, accelerator, **changes):
    return {
        "name": name,
        "model": "m",
        "accelerator": accelerator,
        "profile": PROFILE | {"max_batch_size": 16, "kv_capacity_tokens": 16000},
        "cold_start": {"mean_s": 10.0},
        "min_replicas": 0,
        "max_replicas": 4,
    } | changes
