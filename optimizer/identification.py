"""How well a fitted profile tells the capacity of a replica, before anybody relies on it. Pure.

A profile is good for one thing: the rate that a replica carries. Base and slopes may each
be uncertain while their errors cancel in it, or be certain over loads that were seen and
not where capacity lies. So a fit is judged by the standard error of the capacity that it
predicts (the delta method), with the scatter of the observations about the law, misfit
included, as the measure of noise.
"""

import numpy as np

from .domain import EngineLimits, FloatArray, IntArray, SloTargets, Workloads
from .profile_points import FitProblem
from .step_law import PARAMETERS, load_of

__all__ = ["LARGEST_CAPACITY_ERROR", "capacity_error"]

# 98 of 100 intervals of so many standard errors hold the truth; they must be within 5 %.
_STANDARD_ERRORS = 2.33
LARGEST_CAPACITY_ERROR = 0.05 / _STANDARD_ERRORS
# A seed is right within a factor of two (one standard deviation), whatever the observations say.
_SEED_DEVIATION = 0.7
# Residuals beyond so many standard deviations are outliers, which the fit has bounded as well.
_LARGEST_RESIDUAL = 3.0
_DEVIATION_OF_MEDIAN = 1.4826
# Of what the law leaves out, so much may be missing; the rest is made up for elsewhere.
_IN_DOUBT = 0.5
# Parameters that the observed mean gaps determine: all but the constant of TTFT.
_DETERMINED = len(PARAMETERS) - 1
# A gap at a high percentile holds more of other requests' prompts than the mean one.
_TAIL_OF_PROMPTS = 0.5


def capacity_error(
    problem: FitProblem,
    parameters: FloatArray,
    *,
    workloads: Workloads,
    limits: EngineLimits,
    slo: SloTargets,
) -> FloatArray:
    """Return the standard error of the predicted capacity, as a logarithm.

    Parameters
    ----------
    problem : FitProblem, V rows
        What was observed.
    parameters : array, shape (V, 5)
        The fit.
    workloads, limits, slo : V rows
        What capacity is predicted for.

    Returns
    -------
    ndarray, shape (V,)
        inf where fewer points were seen than it has parameters.

    Notes
    -----
    With J the derivatives of ln(predicted) by ln θ, s² the mean square of the residuals
    and g = d ln capacity / d ln θ,

        error² = g' (J' W J / s² + I / 0.7²)^-1 g + (b / 2)²,

    b being the share of the gaps that the law leaves out: it counts the prompts that arrive
    during a mean step, while a request's first gap follows the step of its own prompt,
    longer by P prefill. That is systematic, and no scatter shows it.

    References: A. W. van der Vaart, Asymptotic Statistics, 1998, chapter 3.
    """
    residual, jacobian, weight = problem.evaluated(parameters)
    points = (weight[..., 0] > 0).sum(axis=1)
    noise = _mean_square(residual, weight) * points / np.maximum(points - _DETERMINED, 1)
    weighted = weight[..., None] * jacobian
    information = np.einsum("vkcp,vkcq->vpq", weighted, jacobian)
    prior = np.eye(len(PARAMETERS)) / _SEED_DEVIATION**2
    covariance = np.linalg.inv(information / np.maximum(noise, 1e-12)[:, None, None] + prior)
    slopes = _elasticities(parameters, workloads, limits, slo)
    scatter = np.einsum("vp,vpq,vq->v", slopes, covariance, slopes)
    scatter = scatter * _few_points(points - _DETERMINED) ** 2
    error = np.sqrt(scatter + (_IN_DOUBT * _left_out(problem, parameters)) ** 2)
    enough = (points > _DETERMINED) & np.isfinite(error)
    return np.where(enough, error, np.inf)


def _few_points(freedom: IntArray) -> FloatArray:
    """Return how much wider an interval is for a scatter known from few points.

    Student's quantile over the normal one z, for z = 2.33 (Fisher's expansion):
    1 + (z² + 1) / (4 f) + (5 z⁴ + 16 z² + 3) / (96 f²).
    """
    f, z2 = np.maximum(freedom, 1), _STANDARD_ERRORS**2
    wider = 1.0 + (z2 + 1.0) / (4.0 * f) + (5.0 * z2**2 + 16.0 * z2 + 3.0) / (96.0 * f**2)
    return np.asarray(wider, dtype=np.float64)


def _left_out(problem: FitProblem, parameters: FloatArray) -> FloatArray:
    """Return which share of the gaps the law leaves out, on average over the points."""
    load, weight = problem.points.load, problem.points.weight
    prompt_s = load.prompt_tokens * parameters[:, 2:3]
    steps = np.maximum(load.decode_steps, 1.0)
    there = (weight > 0) & (problem.points.itl_s > 0)
    gap_s = np.where(there, problem.points.itl_s, 1.0)
    share = load.arrival_rate_rps * prompt_s**2 / (steps * gap_s)
    mass = np.where(there, weight, 0.0)
    return np.asarray((mass * share).sum(axis=1) / np.maximum(mass.sum(axis=1), 1e-300))


def _mean_square(residual: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the weighted mean square residual of the gaps, outliers bounded, shape (V,)."""
    there = weight[..., 0] > 0
    size = np.where(there, np.abs(residual[..., 0]), np.nan)
    known = there.any(axis=1)
    middle = np.zeros(len(size))
    middle[known] = np.nanmedian(size[known], axis=1)
    bound = _LARGEST_RESIDUAL * _DEVIATION_OF_MEDIAN * middle
    bounded = np.minimum(np.nan_to_num(size), bound[:, None])
    return np.asarray((weight[..., 0] * bounded**2).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _elasticities(
    parameters: FloatArray, workloads: Workloads, limits: EngineLimits, slo: SloTargets
) -> FloatArray:
    """Return d ln capacity / d ln θ, shape (V, 5).

    Of the two rates, the smaller is the capacity: of a full batch of n requests, which
    decode for S steps of T = base + n e + (n / S) P prefill with e = decode + c kv, and of
    steps as long as the target T* for ITL allows,

        n / (S T)    and    (T* - base) / (T* (S e + P prefill)).
    """
    load = load_of(workloads, np.ones(len(parameters)))
    base, decode, prefill, kv, _ = parameters.T
    steps = np.maximum(load.decode_steps, 1.0)
    batch = np.minimum(limits.max_batch_size, limits.kv_capacity_tokens / load.context_tokens)
    zero = np.zeros_like(base)
    each = np.stack(
        [zero, steps * decode, load.prompt_tokens * prefill, steps * load.context_tokens * kv, zero]
    )
    grows = each.sum(axis=0)
    step_s = base + batch / steps * grows
    full = -np.concatenate([base[None], batch / steps * each[1:]]) / step_s
    room = np.maximum(slo.itl_s - base, 0.0)
    tail = 1.0 + np.where(slo.percentile_ratio > 0.0, _TAIL_OF_PROMPTS * each[2] / grows, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        in_time = room / (slo.itl_s * grows)
        bound = -tail * np.concatenate([(base / room)[None], each[1:] / grows])
    # A target that nothing meets, or none: what a full batch serves is planned with.
    by_target = (in_time > 0.0) & (in_time < batch / (steps * step_s))
    return np.asarray(np.where(by_target, bound, full).T, dtype=np.float64)
