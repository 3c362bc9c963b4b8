"""Why counts of requests spread more than Poisson arrivals would make them.

Two factors, both from the second moment of the work that a request brings, after the
heavy-traffic theory of (discriminatory) processor sharing. Below the slot limit, prompts
hold up decoding and long requests bring more work per step the older they get, so that
arrivals act as if they came in clusters. At the limit the queue is that of an M/G/1.
"""

from dataclasses import dataclass

import numpy as np

from .domain import Columns, FloatArray
from .service import RequestWork

__all__ = [
    "WorkMoments",
    "clustering",
    "long_run",
    "peers_within",
    "queue_variability",
    "work_moments",
]

# Makes the bound of `peers_within` at short times an approximation (checked in the tests).
_SHORT_TIMES = 0.65
# What is counted is extrapolated to this many times itself at most.
_FARTHEST = 2.0
_LEAST_INTERVALS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkMoments(Columns):
    """Moments of a request's work, its share of the iterations' base time included.

    `remaining` is the mean over what is found in service of the work that is left, times
    the mean number of steps in service.
    """

    mean: FloatArray
    second: FloatArray
    remaining: FloatArray


def work_moments(work: RequestWork, base_share_s: FloatArray) -> WorkMoments:
    """Return the moments where each step of a request bears `base_share_s` of base time.

    Parameters
    ----------
    work : RequestWork, V rows
    base_share_s : array, shape (V,), > 0
        Base time of an iteration over the requests in it, x. [s]

    Notes
    -----
    A request whose prompt takes S and whose D decode steps take a + g u each, u steps
    after the first, works S + c x + D (a + x) + g D² / 2. Prompt tokens (in S and a) and
    decode steps are independent, both lognormal by their first two moments.
    """
    s, c, d, shape = work.prefill_s, work.prefill_steps, work.decode_steps, work.decode_shape
    d2, d3, d4 = d**2 * shape, d**3 * shape**3, d**4 * shape**6
    start = s + c * base_share_s
    step, growth = work.decode_step_s + base_share_s, work.kv_slope_s
    spread = work.prompt_shape - 1.0
    decode = step * d + growth * d2 / 2.0
    decode_second = (
        (step**2 + work.prompt_kv_s**2 * spread) * d2 + step * growth * d3 + growth**2 * d4 / 4.0
    )
    cross = start * decode + s * work.prompt_kv_s * spread * d
    return WorkMoments(
        mean=start + decode,
        second=start**2 + s**2 * spread + 2.0 * cross + decode_second,
        # A decode step's work is left over by as many steps as came before it.
        remaining=step * (d2 + 2.0 * c * d + c**2) / 2.0 + growth * d3 / 3.0,
    )


def clustering(
    work: RequestWork, rate_rps: FloatArray, full_batch: FloatArray, arrivals: FloatArray
) -> FloatArray:
    """Return the mean size of the clusters in which requests seem to arrive, >= 1.

    Parameters
    ----------
    work : RequestWork, V rows
    rate_rps : array, shape (V,), > 0
        Arrival rate λ, with λ S < 1. [requests/s]
    full_batch : array, shape (V,), >= 1
        Requests in service at the limit.
    arrivals : array, shape (V,), >= 1
        Index of dispersion of arrivals, I: 1 for Poisson.

    Returns
    -------
    ndarray, shape (V,)

    Notes
    -----
    In heavy traffic the work in the system is exponential with mean λ E[w²] / 2 (1 - ρ),
    and the number in service is that work over what a request found there has left, J / L
    (L its mean steps in service) [1]_, [2]_. Against the chain in which decoding gets the
    share 1 - λ S of the time and everything else is exponential, that is larger by

        E[w²] L / (2 E[w] J (1 - λ S)).

    The base share is the one at which requests end as fast as they arrive. Arrivals that
    are more clustered than Poisson add to the variance of the work that comes as the
    work's own does: E[w²] becomes E[w²] + (I - 1) E[w]² (Allen and Cunneen's
    (I + CV²) / (1 + CV²)).

    References
    ----------
    .. [1] J. Zhang, J. G. Dai, B. Zwart, "Diffusion limits of limited processor sharing
       queues", Annals of Applied Probability 21 (2011) 745-799.
    .. [2] G. Rege, B. Sengupta, "Queue-length distribution for the discriminatory
       processor-sharing queue", Operations Research 44 (1996) 653-657.
    """
    steps = work.prefill_steps + work.decode_steps
    balanced = (1.0 / rate_rps - work.prefill_s - work.decode_s) / steps
    moments = work_moments(work, np.maximum(balanced, work.iteration_base_s / full_batch))
    free = 1.0 - rate_rps * work.prefill_s
    second = moments.second + (arrivals - 1.0) * moments.mean**2
    size = second * steps / (2.0 * moments.mean * moments.remaining * free)
    return np.clip(size, 1.0, np.maximum(full_batch, 1.0))


def peers_within(arrivals: FloatArray, intervals: FloatArray) -> FloatArray:
    """Return how many more requests than on average follow one within a time.

    Parameters
    ----------
    arrivals : array, shape (V,), >= 1
        Index of dispersion of arrivals, I.
    intervals : array, shape (V,), > 0
        The time, in mean intervals between arrivals, m.

    Notes
    -----
    Arrivals are taken for a renewal process with gamma intervals of CV² = I, as measured
    in production [1]_. The excess of its renewal function is (I - 1) / 2 in the long run
    and (m / I)^(1/I) / (1 - (m / I)^(1/I)) at once; both are bounds, and the reciprocals
    are added.

    References
    ----------
    .. [1] Y. Wang et al., "BurstGPT: A real-world workload dataset to optimize LLM
       serving systems", KDD 2025.
    """
    share = np.maximum(intervals / arrivals, np.finfo(np.float64).tiny) ** (-1.0 / arrivals)
    at_once = _SHORT_TIMES * np.maximum(share - 1.0, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(arrivals > 1.0, 1.0 / (at_once + 2.0 / (arrivals - 1.0)), 0.0)


def long_run(counted: FloatArray, intervals: FloatArray) -> FloatArray:
    """Return the index of dispersion over long times, given that of counts over a short one.

    Parameters
    ----------
    counted : array, shape (V,), >= 1
        Index of dispersion of counts, I(m).
    intervals : array, shape (V,), > 0
        The time that was counted over, in mean intervals between arrivals, m.

    Returns
    -------
    ndarray, shape (V,)
        At least `counted`, at most twice that.

    Notes
    -----
    A burst that lasts longer than the time of a count isn't seen whole. With gamma
    intervals of CV² = I the variance of a stationary count is I m - (I² - 1) / 6 for
    large m [1]_. I(m) = 1 + (I - 1) / (1 + I / 6 m) agrees with that and stays within
    bounds for small m; it is solved for I.

    References
    ----------
    .. [1] D. R. Cox, "Renewal Theory", Methuen 1962, section 4.5.
    """
    unseen = (counted - 1.0) / (6.0 * np.maximum(intervals, _LEAST_INTERVALS))
    return counted / np.maximum(1.0 - unseen, 1.0 / _FARTHEST)


def queue_variability(
    work: RequestWork, full_batch: FloatArray, arrivals: FloatArray
) -> FloatArray:
    """Return (I + CV²) / 2, by which waits exceed those of exponential work.

    CV is that of the work of requests in a full batch, I the index of dispersion of
    arrivals: the factor that Allen and Cunneen carry over from M/G/1 to many servers and
    general arrivals [1]_. `arrivals` has shape (V,).

    References
    ----------
    .. [1] A. O. Allen, "Probability, Statistics, and Queueing Theory with Computer
       Science Applications", 2nd ed., Academic Press 1990, section 5.3.
    """
    moments = work_moments(work, work.iteration_base_s / full_batch)
    return (moments.second / moments.mean**2 + arrivals - 1.0) / 2.0
