"""A synthetic fleet: settings and snapshots of any size, with the numbers of a busy day."""

import numpy as np

from adapter.catalog import Catalog, build_catalog
from adapter.config import Settings
from adapter.records import (
    MODEL_SIGNALS,
    REPLICA_SIGNALS,
    VARIANT_SIGNALS,
    Readings,
    Reason,
    ReplicaState,
    Snapshot,
)

__all__ = ["fleet_catalog", "fleet_settings", "fleet_snapshot"]

VARIANTS_PER_MODEL = 3
ACCELERATORS = {"H100": (4.1, 6.5, 0.020), "A100": (3.2, 12.0, 0.060), "L40S": (1.8, 22.0, 0.070)}


def fleet_settings(variants: int) -> Settings:
    """Return settings of `variants` variants, three to a model, each on its own accelerator."""
    models = -(-variants // VARIANTS_PER_MODEL)
    names = list(ACCELERATORS)
    return Settings.model_validate(
        {
            "accelerators": {n: {"cost_per_hour": c} for n, (c, _, _) in ACCELERATORS.items()},
            "service_classes": {
                "premium": {"priority": 1, "slo": {"ttft_ms": 800, "itl_ms": 60, "percentile": 95}}
            },
            "brakes": {"warm_up_s": 0},
            "models": {
                f"model-{m}": {
                    "service_class": "premium",
                    "profiles": {
                        n: {"alpha_ms": a * (1 + m % 7 / 10), "beta_ms": b, "gamma_ms": b / 400}
                        for n, (_, a, b) in ACCELERATORS.items()
                    },
                }
                for m in range(models)
            },
            "variants": [
                {
                    "name": f"variant-{v}",
                    "model": f"model-{v // VARIANTS_PER_MODEL}",
                    "accelerator": names[v % VARIANTS_PER_MODEL],
                    "min_replicas": 0,
                    "max_replicas": 50,
                }
                for v in range(variants)
            ],
        }
    )


def fleet_catalog(variants: int) -> Catalog:
    """Return the catalog of such settings."""
    return build_catalog(fleet_settings(variants))


def fleet_snapshot(
    catalog: Catalog, *, replicas_each: int, taken_s: float, seed: int = 0
) -> Snapshot:
    """Return a snapshot in which every variant has `replicas_each` busy replicas."""
    rng = np.random.default_rng(seed)
    variants = len(catalog.variants)
    count = variants * replicas_each
    variant = np.repeat(np.arange(variants), replicas_each)
    signals = {
        "running_requests": rng.integers(0, 60, count).astype(float),
        "waiting_requests": np.zeros(count),
        "kv_usage_ratio": rng.uniform(0.05, 0.7, count),
        "kv_capacity_tokens": np.full(count, 420_000.0),
        "max_batch_size": np.full(count, 128.0),
        "completion_rate_rps": rng.uniform(0.1, 3.0, count),
        "inflight_slope_rps": rng.normal(0.0, 0.1, count),
        "prompt_tokens_mean": rng.uniform(400, 1500, count),
        "output_tokens_mean": rng.uniform(100, 400, count),
        "mean_running_requests": rng.uniform(1, 60, count),
        "itl_mean_s": rng.uniform(0.01, 0.05, count),
        "ttft_mean_s": rng.uniform(0.03, 0.3, count),
    }
    signals["prompt_tokens_second_moment"] = 2.0 * signals["prompt_tokens_mean"] ** 2
    signals["output_tokens_second_moment"] = 1.8 * signals["output_tokens_mean"] ** 2
    each = np.full(variants, replicas_each, dtype=np.int64)
    return Snapshot(
        taken_s=taken_s,
        taken_unix_s=1.8e9 + taken_s,
        variants=catalog.variants,
        models=catalog.models,
        variant_model=catalog.variant_model,
        replica_id=tuple(f"10.{r >> 16}.{r >> 8 & 255}.{r & 255}:8000" for r in range(count)),
        replica_variant=variant,
        replica_state=np.full(count, ReplicaState.READY, dtype=np.int8),
        replica_age_s=rng.uniform(0.0, 1.0, count),
        replica={
            name: Readings.of(signals.get(name, np.full(count, np.nan))) for name in REPLICA_SIGNALS
        },
        variant={
            name: Readings.of(rng.uniform(0.01, 0.4, variants))
            if name != "power_w"
            else Readings.missing(variants, Reason.NOT_EXPORTED)
            for name in VARIANT_SIGNALS
        },
        model={
            name: Readings.missing(len(catalog.models), Reason.NOT_EXPORTED)
            for name in MODEL_SIGNALS
        },
        current_replicas=each,
        ready_replicas=each,
        dialect=("vllm",) * variants,
    )
