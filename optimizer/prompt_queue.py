"""How much longer prompts take where arrivals come in bursts: a queue of prompts alone.

A burst is spread over many steps: each finds the work of those before it, and makes the
next step longer for those behind. That is a queue with gamma intervals, whose wait has an
exponential tail with a known rate. Its moments against those of the same queue under
Poisson arrivals say what bursts add.
"""

from dataclasses import dataclass

import numpy as np

from .dispersion import peers_within
from .domain import Columns, FloatArray
from .service import RequestWork

__all__ = ["BurstFactors", "burst_factors"]

# Two points that have the mean and the variance of a uniform number.
_UNIFORM = (0.5 - 0.5 / np.sqrt(3.0), 0.5 + 0.5 / np.sqrt(3.0))
# Gauss-Laguerre rule of 4 points: exact for the first 7 powers of an exponential.
_NODES, _WEIGHTS = np.polynomial.laguerre.laggauss(4)
# Part of the work that is found which lies ahead in the running step.
_RUNNING = 0.8
# Prompts of one length are taken to vary at least this much (CV²).
_LEAST_VARIATION = 0.05
_ITERATIONS = 6
_LEAST_INTERVALS = 1e-6
_LARGEST_LOAD = 0.98


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BurstFactors(Columns):
    """By what bursts raise the first three cumulants of a prompt's time in the engine."""

    mean: FloatArray
    variance: FloatArray
    third: FloatArray


def burst_factors(
    work: RequestWork,
    *,
    rate_rps: FloatArray,
    share: FloatArray,
    step_floor_s: FloatArray,
    budget_s: FloatArray,
    arrivals: FloatArray,
) -> BurstFactors:
    """Return the factors over Poisson arrivals, each 1 where `arrivals` is 1.

    Parameters
    ----------
    work : RequestWork, V rows
    rate_rps : array, shape (V,), > 0
        λ. [requests/s]
    share : array, shape (V,), in [0, 1)
        Share of the time for prompts, ρ.
    step_floor_s : array, shape (V,), > 0
        Time of a step without prompts, A. [s]
    budget_s : array, shape (V,), > 0
        Time of the prompt tokens that fit into a step, C. [s]
    arrivals : array, shape (V,), >= 1
        Index of dispersion of arrivals, I.

    Notes
    -----
    With gamma intervals of CV² = I and prompts of gamma distributed work of mean S and
    CV² = k, the work found has the tail exp(-η t) with E exp(η S) E exp(-η T) = 1 [1]_.
    With u = ln(1 - k η S) that is

        u + (k / I) ln(1 + (1 - e^u) I / (k ρ)) = 0.

    For k = 1 the queue is GI/M/1: an arrival finds work with probability e^u. One that
    finds W seconds ahead is done with the step that computes it,

        W + A + S + (prompts that arrive in what is left of the running step),

    the last at most what fits beside it into its own step.

    References
    ----------
    .. [1] S. Asmussen, "Applied Probability and Queues", 2nd ed., Springer 2003, X.5 and XIII.5.
    """
    rho = np.clip(share, _LEAST_INTERVALS, _LARGEST_LOAD)
    step = _Step(work=work, rate_rps=rate_rps, rho=rho, floor_s=step_floor_s, budget_s=budget_s)
    burst, even = _moments(step, arrivals), _moments(step, np.ones_like(arrivals))
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = [np.where(e > 0.0, b / e, 1.0) for b, e in zip(burst, even, strict=True)]
    return BurstFactors(mean=factors[0], variance=factors[1], third=factors[2])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    work: RequestWork
    rate_rps: FloatArray
    rho: FloatArray
    floor_s: FloatArray
    budget_s: FloatArray


def _moments(step: _Step, arrivals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, variance and third cumulant of the time in the engine."""
    s, shape = step.work.prefill_s, step.work.prompt_shape
    variation = np.maximum(shape - 1.0, _LEAST_VARIATION)
    busy = np.exp(_log_root(step.rho, np.ones_like(s), arrivals))
    # e^u is 1 - k η S.
    queued_s = s * variation / -np.expm1(_log_root(step.rho, variation, arrivals))
    ahead = np.concatenate([np.zeros((1, len(s))), _NODES[:, None] * queued_s])
    weight = np.concatenate([1.0 - busy[None], _WEIGHTS[:, None] * busy]) / len(_UNIFORM)
    found = np.concatenate([ahead + u * step.floor_s for u in _UNIFORM])
    weight = np.concatenate([weight] * len(_UNIFORM))
    behind = _behind(step, found, arrivals)
    center = found + behind[0] + step.floor_s + s
    mean = np.sum(weight * center, axis=0)
    apart = center - mean
    variance = behind[1] + s**2 * (shape - 1.0)
    third = behind[2] + s**3 * (shape**3 - 3.0 * shape + 2.0)
    return (
        mean,
        np.sum(weight * (apart * apart + variance), axis=0),
        np.sum(weight * (apart * (apart * apart + 3.0 * variance) + third), axis=0),
    )


def _behind(
    step: _Step, found_s: FloatArray, arrivals: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the cumulants of the work of prompts that join the step from behind."""
    s, shape = step.work.prefill_s, step.work.prompt_shape
    usual = np.maximum(step.rate_rps * _RUNNING * found_s, _LEAST_INTERVALS)
    peers = peers_within(arrivals, usual)
    number1 = usual + peers
    number2 = number1 * (1.0 + peers)
    number3 = number2 * (1.0 + 2.0 * peers)
    own2, own3 = shape - 1.0, shape**3 - 3.0 * shape + 2.0
    fits = 1.0 / (1.0 + 2.0 * s * number1 / step.budget_s)
    return (
        fits * s * number1,
        fits**2 * s**2 * (own2 * number1 + number2),
        fits**3 * s**3 * (own3 * number1 + 3.0 * own2 * number2 + number3),
    )


def _log_root(rho: FloatArray, variation: FloatArray, arrivals: FloatArray) -> FloatArray:
    """Return u < 0 with u + (k / I) ln(1 + (1 - e^u) I / (k ρ)) = 0.

    The left side is concave and rises up to its root, so that Newton's steps from below
    don't leave that side.
    """
    power, load = variation / arrivals, arrivals / (variation * rho)
    u = -power * np.log1p(load)
    for _ in range(_ITERATIONS):
        left = -np.expm1(u)
        value = u + power * np.log1p(left * load)
        slope = 1.0 - power * load * np.exp(u) / (1.0 + left * load)
        u = u - value / slope
    return u
