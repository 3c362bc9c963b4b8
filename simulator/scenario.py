"""A scenario as a file: who asks for what, what serves it, and what goes wrong when.

Checked whole, unknown keys refused. Performance profiles are written as in the adapter's
settings (milliseconds), everything else in base units.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from optimizer.errors import InvalidInputError

from .engine import EngineSpec

__all__ = [
    "AcceleratorSpec",
    "ClientSpec",
    "ColdStart",
    "Event",
    "LengthSpec",
    "ModelSpec",
    "NodeSpec",
    "PhaseSpec",
    "RateSpec",
    "Scenario",
    "VariantSpec",
    "WorkloadSpec",
    "load_scenario",
    "shipped_scenarios",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, lt=1)]

BLOCK_TOKENS = 16


class Section(BaseModel):
    """A part of a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class LengthSpec(Section):
    """Lognormal token counts."""

    mean: Positive
    cv: NonNegative = 0.0
    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] = 8192


class PhaseSpec(Section):
    """Lengths and prefix hits from `at_s` on."""

    at_s: NonNegative = 0.0
    prompt: LengthSpec
    output: LengthSpec
    prefix_hit_ratio: Ratio = 0.0


class RateSpec(Section):
    """An arrival rate over time: straight lines, or steps, between points.

    Modulation is a Markov chain of two states, quiet and busy, whose mean rate is the
    profile's: `busy_factor` times as many come while busy.
    """

    points: tuple[tuple[NonNegative, NonNegative], ...]  # (time, rate)
    shape: Literal["steps", "lines"] = "steps"
    interval_cv: Positive = 1.0
    busy_factor: Annotated[float, Field(ge=1)] = 1.0
    busy_s: Positive = 30.0
    quiet_s: Positive = 120.0


class ClientSpec(Section):
    """What clients do about answers.

    With `retries`, who was refused, timed out or lost asks again so many times, the first time
    after about `retry_after_s`, then `backoff_factor` times later each; every attempt counts as a
    request. With `users`, so many of them (time, count) each wait for an answer, think for
    `think_s` on average (exponential) and ask the next.
    """

    retries: Annotated[int, Field(ge=0)] = 0
    retry_after_s: Positive = 1.0
    backoff_factor: Annotated[float, Field(ge=1)] = 2.0
    users: tuple[tuple[NonNegative, Annotated[int, Field(ge=0)]], ...] = ()
    think_s: Positive = 10.0

    @property
    def react(self) -> bool:
        """Whether they do anything that a list of requests doesn't say."""
        return bool(self.retries or self.users)


class WorkloadSpec(Section):
    """What one model's clients send: synthetic, from a CSV trace, or users who wait."""

    rate: RateSpec | None = None
    trace: str | None = None
    clients: ClientSpec = ClientSpec()
    trace_scale: Positive = 1.0
    phases: tuple[PhaseSpec, ...] = ()
    source: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.rate is not None, self.trace is not None, bool(self.clients.users)]
        if sum(kinds) != 1:
            raise ValueError("give one of rate, trace and clients.users, and phases")
        if not self.phases or self.phases[0].at_s != 0.0:
            raise ValueError(
                "phases: give at least one, the first at_s: 0 (of a trace: its moments, for "
                "what is planned offline)"
            )
        return self

    def later(self, by_s: float) -> "WorkloadSpec":
        """Return the same `by_s` later, with the first rate and phase until then."""
        rate, phases = self.rate, self.phases
        if rate is not None:
            (_, first), *_ = rate.points
            moved = tuple((at_s + by_s, value) for at_s, value in rate.points)
            rate = rate.model_copy(update={"points": ((0.0, first), *moved)})
        moved_phases = tuple(
            phase.model_copy(update={"at_s": phase.at_s + by_s}) for phase in phases[1:]
        )
        changed = {"rate": rate, "phases": (*phases[:1], *moved_phases)}
        if self.clients.users:
            (_, first_users), *_ = self.clients.users
            users = tuple((at_s + by_s, count) for at_s, count in self.clients.users)
            clients = self.clients.model_copy(update={"users": ((0.0, first_users), *users)})
            return self.model_copy(update={**changed, "clients": clients})
        return self.model_copy(update=changed)


class ModelSpec(Section):
    """A model, what its users were promised, what they send, and how it is routed."""

    name: str
    ttft_s: Positive
    itl_s: Positive
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    kind: Literal["online", "offline"] = "online"
    deadline_s: Positive | None = None
    timeout_s: Positive = 300.0
    routing: Literal["round_robin", "equal_per_replica", "least_loaded", "weighted", "kv_aware"] = (
        "least_loaded"
    )
    max_in_flight_per_replica: Annotated[int, Field(ge=1)] | None = None
    workload: WorkloadSpec


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


class Scenario(Section):
    """A whole replay: world, workload and events, without a policy."""

    name: str
    about: str
    sources: tuple[str, ...] = ()
    duration_s: Positive
    drain_s: NonNegative = 300.0
    lead_in_s: NonNegative = 0.0  # before it, at the first moment's rate: learned from, not judged
    accelerators: dict[str, AcceleratorSpec]
    nodes: tuple[NodeSpec, ...] = ()
    models: tuple[ModelSpec, ...]
    variants: tuple[VariantSpec, ...]
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        models = {model.name for model in self.models}
        for variant in self.variants:
            if variant.model not in models:
                raise ValueError(f"variant {variant.name}: no model {variant.model!r}")
            if variant.accelerator not in self.accelerators:
                raise ValueError(f"variant {variant.name}: no accelerator {variant.accelerator!r}")
        served = {variant.model for variant in self.variants}
        if unserved := models - served:
            raise ValueError(f"no variant serves {', '.join(sorted(unserved))}")
        if self.lead_in_s and any(model.workload.trace is not None for model in self.models):
            raise ValueError("lead_in_s: a trace has no moments before its first")
        return self

    def led_in(self) -> "Scenario":
        """Return the scenario on a clock that starts with the lead-in: all later by its length."""
        by_s = self.lead_in_s
        if not by_s:
            return self
        return self.model_copy(
            update={
                "lead_in_s": 0.0,
                "duration_s": self.duration_s + by_s,
                "models": tuple(
                    model.model_copy(update={"workload": model.workload.later(by_s)})
                    for model in self.models
                ),
                "events": tuple(
                    event.model_copy(
                        update={"at_s": event.at_s + by_s, "until_s": event.until_s + by_s}
                    )
                    for event in self.events
                ),
            }
        )

    @property
    def model_of(self) -> tuple[int, ...]:
        """Row of each variant's model."""
        row = {model.name: at for at, model in enumerate(self.models)}
        return tuple(row[variant.model] for variant in self.variants)


def shipped_scenarios() -> tuple[str, ...]:
    """Return the names of the scenarios that come with the package."""
    folder = resources.files(__package__).joinpath("scenarios")
    return tuple(
        sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if _is_yaml(each.name))
    )


def _is_yaml(name: str) -> bool:
    return name.endswith(".yaml")


def load_scenario(name: str) -> Scenario:
    """Return the scenario in a file, or the shipped one of that name.

    Raises
    ------
    InvalidInputError
        If there is none, or it breaks a rule; the message lists every fault.
    """
    path = Path(name)
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        shipped = name.removesuffix(".yaml")
        if shipped not in shipped_scenarios():
            known = ", ".join(shipped_scenarios())
            raise InvalidInputError(f"{name}: no such file, and no shipped scenario ({known})")
        folder = resources.files(__package__).joinpath("scenarios")
        text = folder.joinpath(f"{shipped}.yaml").read_text(encoding="utf-8")
    return parse_scenario(text, origin=name)


def parse_scenario(text: str, *, origin: str) -> Scenario:
    """Return the scenario that `text` (YAML) declares."""
    try:
        return Scenario.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as exc:
        raise InvalidInputError(f"{origin} is not YAML: {exc}") from exc
    except ValidationError as exc:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or '(top)'}: {e['msg']}"
            for e in exc.errors()
        ]
        raise InvalidInputError("\n".join([f"{origin}: {len(lines)} fault(s)", *lines])) from exc
