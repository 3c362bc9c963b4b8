"""A continuous-batching engine over a whole list of requests: what each of them sees.

The semantics are `kernel`'s; here are the engine's description, the check of what comes
in, and the choice between the compiled and the plain form of the same functions.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from optimizer import BoolArray, FloatArray, IntArray
from optimizer.errors import InvalidInputError

from . import kernel, state
from .compiled import compiled_advance, has_numba

__all__ = ["EngineSpec", "EngineTotals", "Outcome", "RequestStatus", "simulate"]

UNLIMITED_BLOCKS = 1 << 40

# The least value of each field of an EngineSpec that has one.
_LEAST = {
    "decode_slope_s": 0.0,
    "prefill_slope_s": 0.0,
    "kv_slope_s": 0.0,
    "ttft_constant_s": 0.0,
    "step_noise_cv": 0.0,
    "max_num_seqs": 1,
    "block_size": 1,
    "num_gpu_blocks": 2,
    "max_queue_size": 0,
}


class RequestStatus(IntEnum):
    """Where a request stands."""

    PENDING = state.PENDING
    WAITING = state.WAITING
    RUNNING = state.RUNNING
    FINISHED = state.FINISHED
    REJECTED = state.REJECTED
    TIMED_OUT = state.TIMED_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One replica's engine: the law of its step time, and its limits.

    A step that decodes d tokens, computes p prompt tokens and ends with c tokens of KV
    cache under its sequences lasts ``iteration_base_s + d decode_slope_s + p
    prefill_slope_s + c kv_slope_s``, times a lognormal factor of mean 1 and coefficient
    of variation `step_noise_cv`. Clients see every token `ttft_constant_s` after the
    engine made it.

    `num_gpu_blocks` counts the null block that vLLM never hands out; None is unlimited.
    A request is rejected while `max_num_seqs` + `max_queue_size` others are in flight,
    and leaves the queue unserved after `queue_timeout_s`.
    """

    iteration_base_s: float
    decode_slope_s: float = 0.0
    prefill_slope_s: float = 0.0
    kv_slope_s: float = 0.0
    ttft_constant_s: float = 0.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    num_gpu_blocks: int | None = None
    block_size: int = 16
    max_queue_size: int | None = None
    queue_timeout_s: float = math.inf
    step_noise_cv: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an engine that cannot run."""
        if not 0.0 < self.iteration_base_s < math.inf:
            raise InvalidInputError(
                f"iteration_base_s is {self.iteration_base_s}; must be positive and finite"
            )
        if not self.queue_timeout_s > 0.0:
            raise InvalidInputError(f"queue_timeout_s is {self.queue_timeout_s}; must be positive")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise InvalidInputError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}; "
                f"a full batch decodes max_num_seqs = {self.max_num_seqs} tokens per step"
            )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise InvalidInputError(f"{name} is {value}; must be at least {least}, and finite")

    @property
    def usable_blocks(self) -> int:
        """KV blocks that sequences can hold."""
        return UNLIMITED_BLOCKS if self.num_gpu_blocks is None else self.num_gpu_blocks - 1

    def law(self) -> state.Law:
        """Return the numbers that the kernel works with."""
        waiting = state.NEVER if self.max_queue_size is None else self.max_queue_size
        return state.Law(
            iteration_base_s=float(self.iteration_base_s),
            decode_slope_s=float(self.decode_slope_s),
            prefill_slope_s=float(self.prefill_slope_s),
            kv_slope_s=float(self.kv_slope_s),
            ttft_constant_s=float(self.ttft_constant_s),
            noise_sigma=math.sqrt(math.log1p(self.step_noise_cv**2)),
            queue_timeout_s=float(self.queue_timeout_s),
            max_num_seqs=int(self.max_num_seqs),
            max_num_batched_tokens=int(self.max_num_batched_tokens),
            max_in_flight=int(self.max_num_seqs + waiting),
            block_size=int(self.block_size),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTotals:
    """What one run came to."""

    steps: int
    busy_s: float
    generated_tokens: int
    prompt_tokens: int
    preemptions: int
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What each request saw, in order of arrival; NaN for what did not happen.

    Times are the client's: `ttft_constant_s` is in them. `status` holds `RequestStatus`.
    """

    arrival_s: FloatArray
    output_tokens: IntArray
    scheduled_s: FloatArray
    first_token_s: FloatArray
    finish_s: FloatArray
    status: IntArray
    preemptions: IntArray
    totals: EngineTotals

    @property
    def ttft_s(self) -> FloatArray:
        """Arrival to first token, per request."""
        return self.first_token_s - self.arrival_s

    @property
    def queue_s(self) -> FloatArray:
        """Arrival to the start of the first step that computes for the request."""
        return self.scheduled_s - self.arrival_s

    @property
    def itl_s(self) -> FloatArray:
        """Mean interval between tokens, per finished request; 0 for those of one token."""
        intervals = np.maximum(self.output_tokens - 1, 1)
        return np.where(
            self.status == RequestStatus.FINISHED,
            (self.finish_s - self.first_token_s) / intervals,
            np.nan,
        )


def simulate(
    spec: EngineSpec,
    arrival_s: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    seed: int = 0,
    cached_tokens: ArrayLike = 0,
    compiled: bool | None = None,
) -> Outcome:
    """Run `spec` on requests until all have ended.

    Parameters
    ----------
    spec : EngineSpec
    arrival_s : array_like, shape (n,)
        Arrival times, not decreasing, >= 0. [s]
    prompt_tokens, output_tokens : array_like, shape (n,)
        Lengths, >= 1; together at most what the KV cache holds. [tokens]
    seed : int
        Of the step noise; without noise it changes nothing.
    cached_tokens : array_like, shape (n,) or ()
        Prompt tokens found in the prefix cache, 0 <= cached < prompt: they hold blocks
        and are not computed. [tokens]
    compiled : bool, optional
        Whether to use numba; by default, if it is installed.

    Returns
    -------
    Outcome

    Raises
    ------
    InvalidInputError
        If a request is out of these bounds.

    """
    # copies: one memory layout, so one compiled form
    arrival_s = np.array(arrival_s, dtype=np.float64)
    prompt, output, cached = (
        np.array(np.broadcast_to(np.asarray(column), arrival_s.shape), dtype=np.int64, order="C")
        for column in (prompt_tokens, output_tokens, cached_tokens)
    )
    check_requests(spec, arrival_s, prompt, output, cached)
    engine = state.new_engine(
        spec.law(),
        state.new_requests(arrival_s, prompt, output, cached),
        free_blocks=spec.usable_blocks,
        start_s=float(arrival_s[0]) if arrival_s.size else 0.0,
    )
    random = np.random.default_rng(seed)
    if has_numba() if compiled is None else compiled:
        compiled_advance()(engine, math.inf, random)
    else:
        engine = state.as_lists(engine)
        kernel.advance(engine, math.inf, random)
    return _outcome(spec, engine)


def check_requests(
    spec: EngineSpec,
    arrival_s: FloatArray,
    prompt_tokens: IntArray,
    output_tokens: IntArray,
    cached_tokens: IntArray,
) -> None:
    """Refuse requests that are out of order, empty, or too long for the KV cache."""
    if arrival_s.size and not (arrival_s[0] >= 0.0 and np.isfinite(arrival_s).all()):
        raise InvalidInputError("arrival_s must be finite and >= 0 throughout")
    if np.any(np.diff(arrival_s) < 0.0):
        at = int(np.argmax(np.diff(arrival_s) < 0.0)) + 1
        raise InvalidInputError(
            f"arrival_s[{at}] = {arrival_s[at]} precedes the one before; sort by arrival"
        )
    _refuse(prompt_tokens < 1, prompt_tokens, "prompt_tokens", "must be at least 1")
    _refuse(output_tokens < 1, output_tokens, "output_tokens", "must be at least 1")
    outside = (cached_tokens < 0) | (cached_tokens >= prompt_tokens)
    _refuse(outside, cached_tokens, "cached_tokens", "must be >= 0 and below prompt_tokens")
    context = prompt_tokens + output_tokens - 1
    room = spec.usable_blocks * spec.block_size
    _refuse(
        context > room,
        context,
        "the context (prompt_tokens + output_tokens - 1)",
        f"the KV cache holds {room} tokens; raise num_gpu_blocks or bound the lengths",
    )


def _refuse(bad: BoolArray, values: IntArray, name: str, remedy: str) -> None:
    if np.any(bad):
        at = int(np.argmax(bad))
        raise InvalidInputError(f"request {at}: {name} is {values[at]}; {remedy}")


def _outcome(spec: EngineSpec, engine: state.Engine) -> Outcome:
    requests, totals, sums = engine.requests, engine.meters.totals, engine.meters.sums
    status = np.asarray(requests.status)
    finish_s = np.asarray(requests.finish_s)
    finished = status == state.FINISHED
    return Outcome(
        arrival_s=np.asarray(requests.arrival_s),
        output_tokens=np.asarray(requests.output_tokens),
        scheduled_s=np.asarray(requests.scheduled_s),
        first_token_s=np.asarray(requests.first_token_s) + spec.ttft_constant_s,
        finish_s=np.where(finished, finish_s + spec.ttft_constant_s, finish_s),
        status=status,
        preemptions=np.asarray(requests.preemptions),
        totals=EngineTotals(
            steps=int(totals[state.STEPS]),
            busy_s=float(sums[state.BUSY_S]),
            generated_tokens=int(totals[state.GENERATED]),
            prompt_tokens=int(totals[state.PROMPTS]),
            preemptions=int(totals[state.PREEMPTIONS]),
            end_s=float(engine.t[state.CLOCK_S]),
        ),
    )
