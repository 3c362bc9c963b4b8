"""The part of a scenario file that says who asks for what, and what they were promised."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .section import NonNegative, Positive, Ratio, Section

__all__ = ["ClientSpec", "LengthSpec", "ModelSpec", "PhaseSpec", "RateSpec", "WorkloadSpec"]


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
