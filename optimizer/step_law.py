"""Mean latencies as coefficients of a profile's parameters. Pure formulas.

The iteration law of `domain.ServiceProfiles`, averaged over the steps that a request
sees. With mean step time T, λ prompts per second, D requests decoding with c KV tokens
each, and prompts of H tokens of which P are computed,

    ITL  = base + d (decode + c kv) + λ T P prefill,              d = max(1, D + v)
    TTFT = constant + b g T/2 + base + D (decode + c kv) + H kv + P (1 + m) prefill

d is the batch that a token sees, its own request included: v is the variance-to-mean
ratio of the number in system, 1 for Poisson arrivals, 0 for evenly spaced ones, since
E[n²]/E[n] = E[n] + v. b is the probability that a step is running on arrival, m the mean
number of other prompts that arrive during that step and are computed with one's own.

g = E[T²]/T² is what an arrival sees more of long steps than there are: prompts that
arrive at random come in bunches, and a step that computes several delays all that arrive
meanwhile. From step to step var T = λ T E[w²] + (λ E[w])² var T, w = P prefill, so

    g = 1 + v λ E[w²] / (T (1 - (λ E[w])²)),     m = v g λ T + (1 - v) even(λ T).

A prompt interferes with others, never with itself: its tokens are in nobody's ITL twice.
"""

from dataclasses import dataclass, fields

import numpy as np

from .domain import Columns, FloatArray, IntArray, ServiceProfiles, Workloads

__all__ = [
    "EVEN",
    "PARAMETERS",
    "POISSON",
    "Design",
    "Load",
    "design",
    "load_of",
    "parameters_of",
    "profiles_of",
]

PARAMETERS = tuple(f.name for f in fields(ServiceProfiles))
POISSON = 1.0
EVEN = 0.0
_PREFILL = PARAMETERS.index("prefill_slope_s")
# Prompts alone never take a larger share of the time than this in the formula of g: the
# replica is past its stable rate there, and the formula has a pole.
_LARGEST_PROMPT_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load(Columns):
    """What the engine of one replica is busy with; arrays of one shape.

    Attributes
    ----------
    arrival_rate_rps : ndarray, >= 0
        Requests of others that start per second; 0: one client that waits for its
        answer before it asks again.
    prompt_tokens, prompt_tokens_second : ndarray, >= 0
        Computed per prompt, cached prefixes left out: mean and E[P²]. [tokens, tokens²]
    held_tokens : ndarray, >= 0
        KV tokens that a prompt brings, cached prefixes included. [tokens]
    decode_steps : ndarray, >= 0
        Output tokens after the first one. [tokens]
    context_tokens : ndarray, >= 0
        Mean KV tokens under a decoding request. [tokens]
    """

    arrival_rate_rps: FloatArray
    prompt_tokens: FloatArray
    prompt_tokens_second: FloatArray
    held_tokens: FloatArray
    decode_steps: FloatArray
    context_tokens: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """The law's coefficients at given loads.

    With θ = (base, decode, prefill, kv, constant) along the last axis of length 5,

        ITL  = itl . θ
        TTFT = ttft . θ + half_busy g ITL + started_tokens (g - 1) prefill

    and g - 1 = spread prefill² / (1 - (prompt_rate_tps prefill)²).
    """

    itl: FloatArray
    ttft: FloatArray
    half_busy: FloatArray
    started_tokens: FloatArray
    spread: FloatArray
    prompt_rate_tps: FloatArray

    def take(self, rows: IntArray) -> "Design":
        """Return the coefficients of some replicas."""
        return Design(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def latencies_s(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean ITL and TTFT for `parameters` of shape (..., 5)."""
        itl_s = (self.itl * parameters).sum(axis=-1)
        bunching, _ = self.bunching(parameters)
        longer_s = self.half_busy * (1.0 + bunching) * itl_s
        beside_s = self.started_tokens * bunching * parameters[..., _PREFILL]
        return itl_s, (self.ttft * parameters).sum(axis=-1) + longer_s + beside_s

    def bunching(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return g - 1 and its derivative with respect to the prefill slope."""
        prefill = parameters[..., _PREFILL]
        share = self.prompt_rate_tps * prefill
        within = np.minimum(share, _LARGEST_PROMPT_SHARE)
        rest = 1.0 - within**2
        value = self.spread * prefill**2 / rest
        growth = np.where(share > within, 0.0, within**2 / rest)
        return value, 2.0 * value * (1.0 + growth) / prefill

    def ttft_slopes(
        self, parameters: FloatArray, itl_s: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives of TTFT in θ at a fixed ITL, (..., 5), and in ITL."""
        bunching, by_prefill = self.bunching(parameters)
        slopes = self.ttft.copy()
        slopes[..., _PREFILL] += self.started_tokens * bunching + by_prefill * (
            self.half_busy * itl_s + self.started_tokens * parameters[..., _PREFILL]
        )
        return slopes, self.half_busy * (1.0 + bunching)


def load_of(workloads: Workloads, arrival_rate_rps: FloatArray) -> Load:
    """Return the load of requests with these lengths at this rate.

    At a moment in time, long outputs are found decoding more often than short ones: the
    mean context is prompt + E[O²] / (2 E[O]).
    """
    prompt, output = workloads.prompt_tokens_mean, workloads.output_tokens_mean
    computed = 1.0 - workloads.prefix_hit_ratio
    age = workloads.output_tokens_second_moment / (2.0 * np.maximum(output, 1.0))
    return Load(
        arrival_rate_rps=arrival_rate_rps,
        prompt_tokens=prompt * computed,
        prompt_tokens_second=workloads.prompt_tokens_second_moment * computed**2,
        held_tokens=prompt,
        decode_steps=np.maximum(output - 1.0, 0.0),
        context_tokens=prompt + age,
    )


def design(
    load: Load, *, step_s: FloatArray, decoding_requests: FloatArray, dispersion: float
) -> Design:
    """Return the law's coefficients where steps last `step_s` and so many requests decode.

    Parameters
    ----------
    load : Load, shape (...)
    step_s : array, shape (...), > 0
        Mean step time, T. [s]
    decoding_requests : array, shape (...)
        Time average of requests that decode, D.
    dispersion : float in [0, 1]
        Variance-to-mean ratio of the number in system, v.
    """
    started = load.arrival_rate_rps * step_s
    batch = np.maximum(decoding_requests + dispersion, 1.0)
    one, zero = np.ones_like(step_s), np.zeros_like(step_s)
    meeting = dispersion * started + (1.0 - dispersion) * _even(started)
    context = decoding_requests * load.context_tokens + load.held_tokens
    itl = (one, batch, started * load.prompt_tokens, batch * load.context_tokens, zero)
    ttft = (one, decoding_requests, load.prompt_tokens * (1.0 + meeting), context, one)
    return Design(
        itl=np.stack(np.broadcast_arrays(*itl), axis=-1),
        ttft=np.stack(np.broadcast_arrays(*ttft), axis=-1),
        half_busy=-np.expm1(-decoding_requests) / 2.0,
        started_tokens=dispersion * started * load.prompt_tokens,
        spread=dispersion * load.arrival_rate_rps * load.prompt_tokens_second / step_s,
        prompt_rate_tps=load.arrival_rate_rps * load.prompt_tokens,
    )


def parameters_of(profiles: ServiceProfiles) -> FloatArray:
    """Return base, decode, prefill, KV slope and TTFT constant along a last axis."""
    return np.stack([getattr(profiles, name) for name in PARAMETERS], axis=-1)


def profiles_of(parameters: FloatArray) -> ServiceProfiles:
    """Return the profiles whose parameters lie along the last axis."""
    return ServiceProfiles(**{name: parameters[..., i] for i, name in enumerate(PARAMETERS)})


def _even(started: FloatArray) -> FloatArray:
    """Return how many others arrive in the step of an evenly spaced arrival.

    With x arrivals per step and the step at a random phase, 2 k - k (k + 1) / x where
    k = floor(x): none while the spacing exceeds the step.
    """
    whole = np.floor(started)
    return 2.0 * whole - whole * (whole + 1.0) / np.maximum(started, 1.0)
