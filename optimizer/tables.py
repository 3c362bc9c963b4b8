"""What runs and what arrives: variants, models and replicas, as columns."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray, Trust

__all__ = ["ModelTable", "ReplicaTable", "SpotTable", "VariantTable"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariantTable(Columns):
    """One row per variant; `model` is its row in the ModelTable."""

    model: IntArray
    cost_per_hour: FloatArray  # of one replica
    power_idle_w: FloatArray  # of one replica; NaN unknown
    power_full_w: FloatArray
    min_replicas: IntArray
    max_replicas: IntArray
    current_replicas: IntArray  # asked of the scale target, starting ones included
    ready_replicas: IntArray
    partial: BoolArray  # a ready replica is silent
    blind: BoolArray  # nothing usable was read
    paper_law: BoolArray  # decided by the paper's saturation law instead of the model
    trust: IntArray  # of the profile, see domain.Trust
    cold_start_s: FloatArray  # declared or measured; NaN: neither

    @classmethod
    def of(
        cls,
        model: IntArray,
        *,
        cost_per_hour: FloatArray,
        min_replicas: IntArray,
        max_replicas: IntArray,
        current_replicas: IntArray,
        **known: FloatArray | IntArray | BoolArray,
    ) -> "VariantTable":
        """Return variants whose replicas are all ready and heard, unless `known` says else.

        Profiles are given; power and cold starts aren't known.
        """
        count = len(model)
        off, unknown = np.zeros(count, dtype=np.bool_), np.full(count, np.nan)
        columns: dict[str, Any] = {
            "power_idle_w": unknown,
            "power_full_w": unknown,
            "ready_replicas": current_replicas,
            "partial": off,
            "blind": off,
            "paper_law": off,
            "trust": np.full(count, int(Trust.GIVEN)),
            "cold_start_s": unknown,
            **known,
        }
        return cls(
            model=model,
            cost_per_hour=cost_per_hour,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            current_replicas=current_replicas,
            **columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelTable(Columns):
    """One row per model: its offered arrival rate (NaN: unknown) and router queue."""

    arrival_rate_rps: FloatArray
    router_queue_requests: FloatArray  # 0 where there is no router to ask
    warm_replicas: FloatArray  # to be ready without demand
    warm_ratio: FloatArray  # share of demand's need to be ready on top

    @classmethod
    def of(
        cls, arrival_rate_rps: FloatArray, *, router_queue_requests: FloatArray | None = None
    ) -> "ModelTable":
        """Return models without anything kept warm; nothing is queued unless it is said."""
        none = np.zeros(len(arrival_rate_rps))
        return cls(
            arrival_rate_rps=arrival_rate_rps,
            router_queue_requests=none if router_queue_requests is None else router_queue_requests,
            warm_replicas=none,
            warm_ratio=none,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplicaTable(Columns):
    """One row per ready replica that reported; `variant` is its row in the VariantTable."""

    variant: IntArray
    running_requests: FloatArray
    waiting_requests: FloatArray
    kv_usage_ratio: FloatArray
    kv_capacity_tokens: FloatArray
    first_token_rate_rps: FloatArray  # requests prefilled of late; NaN: unknown
    output_rate_tps: FloatArray  # tokens made of late; NaN: unknown

    @classmethod
    def none(cls) -> "ReplicaTable":
        """Return the table of nobody who reported."""
        nothing = {f.name: np.empty(0) for f in fields(cls) if f.name != "variant"}
        return cls(variant=np.empty(0, dtype=np.int64), **nothing)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpotTable(Columns):
    """One row per variant: how its replicas may be taken away; all 0 where they can't be."""

    interruptions_per_hour: FloatArray  # of one replica
    notice_s: FloatArray
    survive: IntArray  # how many may go at once without a miss
