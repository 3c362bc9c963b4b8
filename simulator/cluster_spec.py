"""The part of a scenario file that says what serves, and what goes wrong when.

Performance profiles are written as in the adapter's settings (milliseconds).
"""

from typing import Annotated, Literal

from pydantic import Field

from .engine import EngineSpec
from .section import NonNegative, Positive, Section

__all__ = ["AcceleratorSpec", "ColdStart", "Event", "NodeSpec", "ProfileSpec", "VariantSpec"]

BLOCK_TOKENS = 16


class AcceleratorSpec(Section):
    """A GPU type: price, power, and how many there are on how many nodes."""

    cost_per_hour: NonNegative
    idle_w: NonNegative = 0.0
    full_w: NonNegative = 0.0


class NodeSpec(Section):
    """`count` nodes alike; without any node of a type there is no limit on it."""

    accelerator: str
    accelerators: Annotated[int, Field(ge=1)] = 8
    count: Annotated[int, Field(ge=0)] = 1


class ProfileSpec(Section):
    """The law of the engine's step time and its limits, named as in the settings."""

    alpha_ms: Positive
    beta_ms: NonNegative
    beta_prefill_ms: NonNegative | None = None
    gamma_ms: NonNegative = 0.0
    ttft_constant_ms: NonNegative = 0.0
    max_batch_size: Annotated[int, Field(ge=1)] = 256
    max_batched_tokens: Annotated[int, Field(ge=1)] = 8192
    max_queue_size: Annotated[int, Field(ge=0)] | None = None
    kv_capacity_tokens: Annotated[int, Field(ge=32)] | None = None
    step_noise_cv: NonNegative = 0.0


class ColdStart(Section):
    """Time from scheduled to ready: lognormal with this mean and CV."""

    mean_s: NonNegative
    cv: NonNegative = 0.0


class VariantSpec(Section):
    """One (model, accelerator, engine settings) that scales as one workload."""

    name: str
    model: str
    accelerator: str
    accelerators_per_replica: Annotated[int, Field(ge=1)] = 1
    profile: ProfileSpec
    max_model_len: Annotated[int, Field(ge=16)] = 16384
    cold_start: ColdStart
    grace_s: NonNegative = 30.0
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 10
    initial_replicas: Annotated[int, Field(ge=0)] = 1
    routing_weight: Positive = 1.0

    def engine(self, *, queue_timeout_s: float) -> EngineSpec:
        """Return the engine that the profile describes."""
        profile = self.profile
        tokens = profile.kv_capacity_tokens
        prefill = profile.beta_ms if profile.beta_prefill_ms is None else profile.beta_prefill_ms
        return EngineSpec(
            iteration_base_s=profile.alpha_ms / 1e3,
            decode_slope_s=profile.beta_ms / 1e3,
            prefill_slope_s=prefill / 1e3,
            kv_slope_s=profile.gamma_ms / 1e3,
            ttft_constant_s=profile.ttft_constant_ms / 1e3,
            max_num_seqs=profile.max_batch_size,
            max_num_batched_tokens=max(profile.max_batched_tokens, profile.max_batch_size),
            num_gpu_blocks=None if tokens is None else tokens // BLOCK_TOKENS + 1,
            max_queue_size=profile.max_queue_size,
            queue_timeout_s=queue_timeout_s,
            step_noise_cv=profile.step_noise_cv,
        )


class Event(Section):
    """Something that happens to the cluster.

    node-loss: `nodes` nodes of `accelerator` are gone, with their pods, until `until_s`.
    stock-out: nothing of `accelerator` can be scheduled until `until_s`.
    spot-loss: `share` of `variant`'s pods go, after `notice_s`.
    scrape-failure: each scrape fails with probability `share` until `until_s`.
    rolling-update: `variant`'s pods are replaced one by one, one more than asked for meanwhile.
    """

    at_s: NonNegative
    kind: Literal[
        "node-loss",
        "stock-out",
        "spot-loss",
        "scrape-failure",
        "rolling-update",
    ]
    until_s: NonNegative = 1e18
    accelerator: str = ""
    variant: str = ""
    nodes: Annotated[int, Field(ge=1)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    notice_s: NonNegative = 30.0
