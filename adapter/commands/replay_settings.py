"""The settings that WVA replays with: defaults, and the world as a person would declare it.

The same for all scenarios but for what is declared (variants, prices, targets, profiles):
its defaults, and that a load which has risen twice in a row is expected to rise again.
The HPA has our manifests' behavior, whose tolerance is 0.
"""

from typing import Any

from adapter.config import Settings
from simulator.cluster_spec import ProfileSpec, VariantSpec
from simulator.routers import ROUTERS
from simulator.scenario import Scenario

__all__ = ["replay_settings"]

PROFILE_FIELDS = (
    "alpha_ms",
    "beta_ms",
    "beta_prefill_ms",
    "gamma_ms",
    "ttft_constant_ms",
    "max_batch_size",
    "max_batched_tokens",
    "max_queue_size",
    "kv_capacity_tokens",
)

EXPECTED_AFTER_RISES = 2


def replay_settings(scenario: Scenario, *, profile_factor: float = 1.0) -> Settings:
    """Return the settings for a scenario; profiles say `profile_factor` times the true times."""
    return Settings.model_validate(
        {
            "hpa_tolerance": 0.0,
            "expected_after_rises": EXPECTED_AFTER_RISES,
            "accelerators": {
                name: {
                    "cost_per_hour": kind.cost_per_hour,
                    "power_w": {"idle": kind.idle_w, "full": kind.full_w},
                    "count": _count(scenario, name),
                }
                for name, kind in scenario.accelerators.items()
            },
            "service_classes": {
                model.name: {
                    "priority": model.priority,
                    "kind": model.kind,
                    "slo": {
                        "ttft_ms": 1e3 * model.ttft_s,
                        "itl_ms": 1e3 * model.itl_s,
                        "percentile": model.percentile,
                        "deadline_s": model.deadline_s,
                    },
                }
                for model in scenario.models
            },
            "models": {
                model.name: {
                    "service_class": model.name,
                    "routing": ROUTERS[model.routing],
                    "profiles": {
                        variant.accelerator: _profile(variant.profile, profile_factor)
                        for variant in scenario.variants
                        if variant.model == model.name
                    },
                }
                for model in scenario.models
            },
            "variants": [
                {
                    "name": variant.name,
                    "model": variant.model,
                    "accelerator": variant.accelerator,
                    "accelerators_per_replica": variant.accelerators_per_replica,
                    "routing_weight": _weight(scenario, variant),
                    "min_replicas": variant.min_replicas,
                    "max_replicas": variant.max_replicas,
                    "cold_start_s": variant.cold_start.mean_s or None,
                }
                for variant in scenario.variants
            ],
        }
    )


def _weight(scenario: Scenario, variant: VariantSpec) -> float | None:
    """Return the weight that the router has for a replica, where it goes by weights."""
    router = {model.name: model.routing for model in scenario.models}[variant.model]
    return variant.routing_weight if ROUTERS[router] == "weighted" else None


def _count(scenario: Scenario, accelerator: str) -> int | None:
    """Return how many accelerators of a type its nodes have; None: nodes may be added."""
    nodes = [node for node in scenario.nodes if node.accelerator == accelerator]
    return sum(node.count * node.accelerators for node in nodes) if nodes else None


def _profile(spec: ProfileSpec, factor: float) -> dict[str, Any]:
    given = {name: getattr(spec, name) for name in PROFILE_FIELDS}
    times = {name: factor * value for name, value in given.items() if _is_time(name, value)}
    return {**{name: value for name, value in given.items() if value is not None}, **times}


def _is_time(name: str, value: float | None) -> bool:
    return name.endswith("_ms") and value is not None
