"""Mean latencies of one replica at an operating point. Pure formulas.

The iteration law of `domain.ServiceProfiles`, averaged over the steps that a request
sees, gives ITL and TTFT when the load is known: how many requests decode, how often
prompts arrive, how long they are. Profiles are fitted with it and predict with it, from
a concurrency or from a rate. Distributions, limits and queues are not in here: see
`queueing` and `latency`.

With step time T, λ prompts per second, D requests decoding with c KV tokens each, and P
computed tokens of a prompt that brings H tokens of KV,

    ITL  = base + d (decode + c kv) + λ T P prefill,            d = max(1, D + v)
    TTFT = constant + b T/2 + base + D (decode + c kv) + P (1 + m) prefill + H kv

d is the batch that a token sees, its own request included: v is the variance-to-mean
ratio of the number in system, 1 for Poisson arrivals, 0 for evenly spaced ones, since
E[n²]/E[n] = E[n] + v. b is the probability that a step is running on arrival, m the mean
number of other prompts that arrive during that step and are computed with one's own.
A prompt interferes with others, never with itself: its tokens are in nobody's ITL twice.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from .domain import Columns, FloatArray, ServiceProfiles, Workloads

__all__ = [
    "EVEN",
    "PARAMETERS",
    "POISSON",
    "Design",
    "Load",
    "at_concurrency",
    "at_rate",
    "design",
    "load_of",
    "parameters_of",
    "profiles_of",
    "step_at_rate",
]

PARAMETERS = tuple(f.name for f in fields(ServiceProfiles))
POISSON = 1.0
EVEN = 0.0
_ITERATIONS = 60
# Beyond this share of the step time spent on what arrives in it, no steady state exists;
# the step time is extended linearly from there, so that fits and searches stay finite.
_LARGEST_SHARE = 0.98


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load(Columns):
    """What the engine of one replica is busy with; arrays of one shape.

    Attributes
    ----------
    arrival_rate_rps : ndarray, >= 0
        Requests of others that start per second; 0: one client that waits for its
        answer before it asks again.
    prompt_tokens : ndarray, >= 0
        Computed per prompt, cached prefixes left out. [tokens]
    held_tokens : ndarray, >= 0
        KV tokens that a prompt brings, cached prefixes included. [tokens]
    decode_steps : ndarray, >= 0
        Output tokens after the first one. [tokens]
    context_tokens : ndarray, >= 0
        Mean KV tokens under a decoding request. [tokens]
    """

    arrival_rate_rps: FloatArray
    prompt_tokens: FloatArray
    held_tokens: FloatArray
    decode_steps: FloatArray
    context_tokens: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """The law's coefficients at given loads: latencies are linear in the parameters.

    With θ = (base, decode, prefill, kv, constant), ITL = itl . θ and
    TTFT = ttft . θ + half_busy ITL; the last axis of both has length 5.
    """

    itl: FloatArray
    ttft: FloatArray
    half_busy: FloatArray

    def latencies_s(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean ITL and TTFT for `parameters` of shape (..., 5)."""
        itl_s = (self.itl * parameters).sum(axis=-1)
        return itl_s, (self.ttft * parameters).sum(axis=-1) + self.half_busy * itl_s


def load_of(workloads: Workloads, arrival_rate_rps: FloatArray) -> Load:
    """Return the load of requests with these lengths at this rate.

    At a moment in time, long outputs are found decoding more often than short ones: the
    mean context is prompt + E[O²] / (2 E[O]).
    """
    prompt, output = workloads.prompt_tokens_mean, workloads.output_tokens_mean
    age = workloads.output_tokens_second_moment / (2.0 * np.maximum(output, 1.0))
    return Load(
        arrival_rate_rps=arrival_rate_rps,
        prompt_tokens=prompt * (1.0 - workloads.prefix_hit_ratio),
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
    step_s : array, shape (...)
        Mean step time, T. [s]
    decoding_requests : array, shape (...)
        Time average of requests that decode, D.
    dispersion : float in [0, 1]
        Variance-to-mean ratio of the number in system, v.
    """
    started = load.arrival_rate_rps * step_s
    batch = np.maximum(decoding_requests + dispersion, 1.0)
    one, zero = np.ones_like(step_s), np.zeros_like(step_s)
    together = load.prompt_tokens * (1.0 + _companions(started, dispersion))
    context = decoding_requests * load.context_tokens + load.held_tokens
    itl = (one, batch, started * load.prompt_tokens, batch * load.context_tokens, zero)
    ttft = (one, decoding_requests, together, context, one)
    return Design(
        itl=np.stack(np.broadcast_arrays(*itl), axis=-1),
        ttft=np.stack(np.broadcast_arrays(*ttft), axis=-1),
        half_busy=-np.expm1(-decoding_requests) / 2.0,
    )


def at_rate(
    profiles: ServiceProfiles, load: Load, *, dispersion: float = POISSON
) -> tuple[FloatArray, FloatArray]:
    """Return mean ITL and TTFT when requests arrive at the load's rate and none waits.

    Parameters
    ----------
    profiles : ServiceProfiles
    load : Load, of a shape that broadcasts with the profiles'
    dispersion : float in [0, 1]

    Returns
    -------
    itl_s, ttft_s : ndarray
        [s]. Beyond the stable rate, finite, increasing and meaningless but for that.

    Notes
    -----
    By Little's law D = λ (O - 1) T, so that

        T = (base + v e) / (1 - λ ((O - 1) e + P prefill)),   e = decode + c kv,

    or, where that leaves the batch under one, (base + e) / (1 - λ P prefill).
    """
    theta = parameters_of(profiles)
    step_s, _ = step_at_rate(theta, load, dispersion=dispersion)
    decoding = load.arrival_rate_rps * load.decode_steps * step_s
    rows = design(load, step_s=step_s, decoding_requests=decoding, dispersion=dispersion)
    return step_s, rows.latencies_s(theta)[1]


def at_concurrency(
    profiles: ServiceProfiles,
    load: Load,
    requests: FloatArray,
    *,
    dispersion: float = POISSON,
) -> tuple[FloatArray, FloatArray]:
    """Return mean ITL and TTFT when so many requests are in the replica on average.

    Parameters
    ----------
    profiles : ServiceProfiles
    load : Load
        Its arrival rate isn't used: it follows from Little's law.
    requests : array, > 0
        Time average of requests in prefill or decode.
    dispersion : float in [0, 1]

    Returns
    -------
    itl_s, ttft_s : ndarray
        [s]
    """
    theta = parameters_of(profiles)
    itl = theta[..., 0] + requests * (theta[..., 1] + load.context_tokens * theta[..., 3])
    ttft = itl + load.prompt_tokens * theta[..., 2] + theta[..., 4]
    for _ in range(_ITERATIONS):
        decode_s = load.decode_steps * itl
        here = replace(load, arrival_rate_rps=requests / (ttft + decode_s))
        decoding = here.arrival_rate_rps * decode_s
        rows = design(here, step_s=itl, decoding_requests=decoding, dispersion=dispersion)
        next_itl, next_ttft = rows.latencies_s(theta)
        # Halfway: the map itself overshoots where prompts take most of the time.
        itl, ttft = (itl + next_itl) / 2.0, (ttft + next_ttft) / 2.0
    return itl, ttft


def step_at_rate(
    parameters: FloatArray, load: Load, *, dispersion: float
) -> tuple[FloatArray, FloatArray]:
    """Return the self-consistent step time, and how it stretches what lengthens a step.

    Parameters
    ----------
    parameters : array, shape (..., 5)
        In the order of `parameters_of`.
    load : Load
    dispersion : float in [0, 1]

    Returns
    -------
    step_s, stretch : ndarray
        A derivative of the step time is `stretch` times that of the law at a fixed step
        time and batch. [s, 1]
    """
    base, decode, prefill, kv = (parameters[..., i] for i in range(4))
    each = decode + load.context_tokens * kv
    prompts = load.arrival_rate_rps * load.prompt_tokens * prefill
    shared, shared_slope = _stretch(prompts + load.arrival_rate_rps * load.decode_steps * each)
    lone, lone_slope = _stretch(prompts)
    shared_s, lone_s = (base + dispersion * each) * shared, (base + each) * lone
    return (
        np.maximum(shared_s, lone_s),
        np.where(shared_s >= lone_s, shared_slope, lone_slope),
    )


def parameters_of(profiles: ServiceProfiles) -> FloatArray:
    """Return base, decode, prefill, KV slope and TTFT constant along a last axis."""
    return np.stack([getattr(profiles, name) for name in PARAMETERS], axis=-1)


def profiles_of(parameters: FloatArray) -> ServiceProfiles:
    """Return the profiles whose parameters lie along the last axis."""
    return ServiceProfiles(**{name: parameters[..., i] for i, name in enumerate(PARAMETERS)})


def _stretch(share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return 1 / (1 - share), continued linearly where no steady state exists.

    The second result is the derivative over the value: the value itself inside.
    """
    within = 1.0 / (1.0 - np.minimum(share, _LARGEST_SHARE))
    value = within + np.maximum(share - _LARGEST_SHARE, 0.0) * within**2
    return value, within**2 / value


def _companions(started: FloatArray, dispersion: float) -> FloatArray:
    """Return how many others arrive in the step in which a request arrives.

    `started` is the mean number of arrivals per step, x. Poisson arrivals: x. Evenly
    spaced ones, at a random phase of the step: 2 k - k (k + 1) / x with k = floor(x),
    none while the spacing exceeds the step.
    """
    whole = np.floor(started)
    even = 2.0 * whole - whole * (whole + 1.0) / np.maximum(started, 1.0)
    return dispersion * started + (1.0 - dispersion) * even
