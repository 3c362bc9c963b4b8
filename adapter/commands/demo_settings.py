"""The settings that the demo's adapter runs with: an ordinary file, brakes shortened.

Cold starts here take seconds, so what the adapter waits for is scaled to match; the
header of the file says so, and everything else is what a person would write.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simulator.demo_scenario import DemoScenario, DemoVariant

__all__ = ["Ports", "choose_ports", "demo_settings", "write_settings"]

HOST = "127.0.0.1"
HEADER = "# Written by `wva demo`: cold starts take 5 s here, so windows and brakes are short.\n"
BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the demo's adapter listens."""

    api: int
    keda: int
    health: int


def choose_ports() -> Ports:
    """Return the usual ports where they are free, others where they aren't."""
    return Ports(*(_free_port(wanted) for wanted in (8443, 6000, 8080)))


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        try:
            with socket.create_server((HOST, port)) as listening:
                return int(listening.getsockname()[1])
        except OSError:
            continue
    raise OSError(f"no free port on {HOST}")


def demo_settings(
    scenario: DemoScenario, ports: Ports, *, targets_url: str, state_dir: Path
) -> dict[str, Any]:
    """Return the settings as the YAML file will say them."""
    return {
        "interval_s": 1,
        "max_decision_age_s": 15,
        "down_window_s": 10,
        "hpa_tolerance": 0.0,
        "state_dir": str(state_dir),
        "sources": {
            "scrape": {"interval_s": 1, "timeout_s": 1, "window_s": 6},
            "discovery": {"url": targets_url, "timeout_s": 1},
        },
        "accelerators": {
            each.name: {
                "cost_per_hour": each.cost_per_hour,
                "power_w": {"idle": each.idle_w, "full": each.full_w},
                "memory_gib": each.memory_gib,
            }
            for each in scenario.accelerators
        },
        "service_classes": {
            f"chat-{model.name}": {
                "priority": 1,
                "slo": {
                    "ttft_ms": 1e3 * model.target.ttft_s,
                    "itl_ms": 1e3 * model.target.itl_s,
                    "percentile": model.percentile,
                },
            }
            for model in scenario.models
        },
        "models": {
            model.name: {
                "service_class": f"chat-{model.name}",
                "profiles": {
                    each.variant.accelerator: _profile(each)
                    for each in scenario.variants
                    if each.variant.model == model.name
                },
            }
            for model in scenario.models
        },
        "variants": [_variant(each) for each in scenario.variants],
        "brakes": {"warm_up_s": 5, "max_scale_down_ratio": 0.5, "max_scale_up_factor": 8},
        "api": {"host": HOST, "port": ports.api, "auth": "none"},
        "keda": {"host": HOST, "port": ports.keda},
        "health": {"host": HOST, "port": ports.health},
        "kubernetes": {"enabled": False},
    }


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings as a person would read them."""
    path.write_text(HEADER + yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")


def _profile(each: DemoVariant) -> dict[str, float]:
    engine = each.variant.engine
    return {
        "alpha_ms": 1e3 * engine.iteration_base_s,
        "beta_ms": 1e3 * engine.decode_slope_s,
        "beta_prefill_ms": 1e3 * engine.prefill_slope_s,
        "gamma_ms": 1e3 * engine.kv_slope_s,
        "ttft_constant_ms": 1e3 * engine.ttft_constant_s,
        "max_batch_size": engine.max_num_seqs,
        "max_batched_tokens": engine.max_num_batched_tokens,
    }


def _variant(each: DemoVariant) -> dict[str, Any]:
    return {
        "name": each.variant.name,
        "namespace": each.variant.namespace,
        "model": each.variant.model,
        "accelerator": each.variant.accelerator,
        "min_replicas": each.hpa.min_replicas,
        "max_replicas": each.hpa.max_replicas,
        "cold_start_s": each.variant.cold_start_s,
    }
