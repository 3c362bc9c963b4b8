"""What is served and on what: accelerators, models with their profiles, variants."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from .section import Name, NonNegative, Positive, Section

__all__ = [
    "Accelerator",
    "Model",
    "Profile",
    "TargetRef",
    "Variant",
]


class PowerDraw(Section):
    """Electrical power of one accelerator, in watts."""

    idle: NonNegative
    full: NonNegative


class Accelerator(Section):
    """A GPU type: its price, power and memory; `count` caps how many may be used."""

    cost_per_hour: NonNegative | None = None  # absent: a list price, marked assumed
    power_w: PowerDraw | None = None
    memory_gib: Positive | None = None
    count: Annotated[int, Field(ge=-1)] | None = None


class Profile(Section):
    """How fast one replica is on an accelerator. Only alpha and beta are required.

    alpha_ms: base time of an iteration. beta_ms: per token decoded, and per prompt
    token unless beta_prefill_ms says otherwise. gamma_ms: per KV-cache token held.
    """

    alpha_ms: Positive
    beta_ms: NonNegative
    beta_prefill_ms: NonNegative | None = None
    gamma_ms: NonNegative = 0.0
    ttft_constant_ms: NonNegative = 0.0
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    max_batched_tokens: Annotated[int, Field(ge=1)] | None = None
    max_queue_size: Annotated[int, Field(ge=0)] | None = None
    kv_capacity_tokens: Positive | None = None
    fixed: bool = False  # used as it is given, whatever engines do


class Demand(Section):
    """PromQL of any gateway for what clients offered and what was turned away, in requests/s."""

    arrivals_query: str | None = None
    rejections_query: str | None = None


class Model(Section):
    """A model that several variants may serve."""

    service_class: str | None = None
    served_names: tuple[str, ...] = ()
    profiles: Mapping[str, Profile] = {}
    demand: Demand = Demand()
    routing: Literal["learned", "equal_per_replica", "least_loaded", "weighted", "separate"] = (
        "learned"
    )


class Spot(Section):
    """Replicas that their cloud may take away: how often, how soon, how many must be bearable."""

    interruptions_per_hour: NonNegative = 0.0
    notice_s: NonNegative = 0.0
    survive: Annotated[int, Field(ge=0)] = 1


class TargetRef(Section):
    """A scale target in the variant's namespace."""

    api_version: Name = "apps/v1"
    kind: Name = "Deployment"
    name: Name
    service: str = ""  # whose endpoints are its replicas


class Variant(Section):
    """One (model, accelerator, engine settings) that scales as one workload."""

    name: Name
    namespace: Name = "default"
    model: Name
    accelerator: Name
    accelerators_per_replica: Annotated[int, Field(ge=1)] = 1
    routing_weight: Positive | None = None  # of one replica, where the router has fixed weights
    accelerator_resource: str = ""  # as pods request it and quotas bound it
    engine_arguments: tuple[str, ...] = ()
    role: Literal["both", "prefill", "decode"] = "both"
    cost_per_hour: NonNegative | None = None
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 10
    endpoints: tuple[str, ...] = ()
    discovery: str | None = None
    series: Mapping[str, str] = {}
    metrics_path: str | None = None
    analyzer: Literal["model", "paper"] = "model"
    mode: Literal["active", "observe", "paused"] = "active"
    hold: Literal["canary"] | None = None  # kept out of moves for the sake of cost
    takes_over: Name | None = None  # the variant whose requests it is to serve soon
    spot: Spot | None = None
    cold_start_s: Positive | None = None
    service_class: Name | None = None  # default: the model's
    target_ref: TargetRef | None = None  # whose pods are its replicas, in a cluster
    hpa_ref: Name | None = None  # the HPA that follows it, where its metric doesn't say

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}"
            )
        return self

    @field_validator("endpoints")
    @classmethod
    def _endpoints_are_http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"endpoint {url!r} must start with http:// or https://")
        return urls
