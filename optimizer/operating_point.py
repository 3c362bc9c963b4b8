"""Mean latencies of one replica at a rate or at a concurrency. Pure formulas.

Finds the step time at which the law of `step_law` agrees with itself: more requests make
longer steps, longer steps keep more requests. Profiles are fitted with that law and
predict with it. Distributions, limits and queues are not in here: see `queueing` and
`latency`, which agree with it where steps hardly vary (see the tests).
"""

from dataclasses import replace

import numpy as np

from .domain import FloatArray, ServiceProfiles
from .step_law import POISSON, Load, design, parameters_of

__all__ = ["at_concurrency", "at_rate", "step_at_rate"]

_ITERATIONS = 120
# Beyond this share of the step time spent on what arrives in it, no steady state exists;
# the step time is extended linearly from there, so that fits and searches stay finite.
_LARGEST_SHARE = 0.98


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


def _stretch(share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return 1 / (1 - share), continued linearly where no steady state exists.

    The second result is the derivative over the value: the value itself inside.
    """
    within = 1.0 / (1.0 - np.minimum(share, _LARGEST_SHARE))
    value = within + np.maximum(share - _LARGEST_SHARE, 0.0) * within**2
    return value, within**2 / value
