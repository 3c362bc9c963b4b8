"""Snapshots built from a few words, for tests of what is done with them."""

import numpy as np

from adapter.catalog import Catalog, build_catalog
from adapter.config import parse_settings
from adapter.records import (
    MODEL_SIGNALS,
    REPLICA_SIGNALS,
    VARIANT_SIGNALS,
    Readings,
    Reason,
    ReplicaState,
    Snapshot,
)

DEFAULTS = {
    "running_requests": 4.0,
    "waiting_requests": 0.0,
    "kv_usage_ratio": 0.2,
    "kv_capacity_tokens": 400_000.0,
    "completion_rate_rps": 1.0,
    "inflight_slope_rps": 0.0,
    "prompt_tokens_mean": 500.0,
    "prompt_tokens_second_moment": 500_000.0,
    "output_tokens_mean": 200.0,
    "output_tokens_second_moment": 80_000.0,
    "mean_running_requests": 4.0,
    "itl_mean_s": 0.01,
    "ttft_mean_s": 0.05,
}


def replica(variant: int, name: str, *, state=ReplicaState.READY, age_s=0.5, **signals) -> dict:
    """Describe one replica; `age_s` None: never read."""
    return {"variant": variant, "id": name, "state": state, "age_s": age_s, "signals": signals}


def catalog_of(text: str) -> Catalog:
    return build_catalog(parse_settings(text))


def snapshot_of(
    catalog: Catalog, replicas: list[dict], *, taken_s=1000.0, model=None, current=None
) -> Snapshot:
    count = len(replicas)
    columns = {}
    for name in REPLICA_SIGNALS:
        column = np.full(count, np.nan)
        for row, one in enumerate(replicas):
            if one["age_s"] is not None:
                column[row] = one["signals"].get(name, DEFAULTS.get(name, np.nan))
        readings = Readings.of(column)
        unread = np.array([one["age_s"] is None for one in replicas], dtype=bool)
        readings.reasons[unread] = Reason.NOT_READ_YET
        columns[name] = readings
    variant = np.array([one["variant"] for one in replicas], dtype=np.int64)
    ready = np.array([one["state"] == ReplicaState.READY for one in replicas], dtype=bool)
    size = len(catalog.variants)
    model_columns = {
        name: Readings.of(np.array((model or {}).get(name, [np.nan] * len(catalog.models))))
        for name in MODEL_SIGNALS
    }
    return Snapshot(
        taken_s=taken_s,
        taken_unix_s=1.8e9 + taken_s,
        variants=catalog.variants,
        models=catalog.models,
        variant_model=catalog.variant_model,
        replica_id=tuple(one["id"] for one in replicas),
        replica_variant=variant,
        replica_state=np.array([one["state"] for one in replicas], dtype=np.int8),
        replica_age_s=np.array(
            [np.nan if one["age_s"] is None else one["age_s"] for one in replicas], dtype=float
        ),
        replica=columns,
        variant={n: Readings.missing(size, Reason.NO_EVENTS) for n in VARIANT_SIGNALS},
        model=model_columns,
        current_replicas=np.asarray(
            current if current is not None else np.bincount(variant, minlength=size),
            dtype=np.int64,
        ),
        ready_replicas=np.bincount(variant[ready], minlength=size).astype(np.int64),
        dialect=("vllm",) * size,
    )
