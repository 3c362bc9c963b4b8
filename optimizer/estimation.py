"""Profiles learned online: a window of operating points per variant, and its fit. Pure.

A new observation joins the operating point it resembles, or takes a slot of its own; the
slot heard of least recently makes room. So the window remembers the loads that a variant
has seen instead of the last minutes of one load, and noise averages out point by point.
After that the variant's profile is fitted anew, as far as the window determines it
(`profile_fit`), starting from its last good fit, else from its seed. A fit is adopted when
it tells the replica's capacity within 5 % (`identification`); until then the variant is
unidentified and holds its last good fit, else its seed. Where nobody knows a seed, a fit is
adopted as soon as condition and residuals allow.

All memory is in EstimatorState, which goes in and comes out; rows are matched by name.
What identifies a profile (image, arguments, accelerator) belongs into the name. The
work is batched over variants, and done only for those with a new observation.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .domain import (
    BoolArray,
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    SloTargets,
    Workloads,
)
from .estimator_state import (
    DEFAULT_SETTINGS,
    FEATURES,
    EstimatorSettings,
    EstimatorState,
    Observations,
)
from .identification import LARGEST_CAPACITY_ERROR, capacity_error
from .profile_fit import (
    GENERIC_SEED,
    KNOWN_SEED,
    FitStatus,
    FittedProfiles,
    fit_profiles,
    trust_of,
)
from .profile_points import TTFT_WEIGHT, FitProblem, Points
from .step_law import POISSON, Load, load_of, parameters_of, profiles_of

__all__ = ["EstimatorSettings", "EstimatorState", "Learned", "Observations", "learned", "update"]

# A dense model's slopes relative to its base where nothing at all is known of a variant;
# only the ratios matter, and only until the load has varied.
_GENERIC_SEED = (10e-3, 30e-6, 30e-6, 80e-9, 10e-3)
# A window's mean TTFT holds half a queue, and prompts that bunch: the law's error in it
# (3 to 25 %) is no noise that averages out, and would go into the slope of prompts. A known
# seed holds that slope where gaps say little of it; without one, TTFT has to.
_TTFT_WEIGHT = 0.01
# Five windows that are all a tenth off what a good fit says are no noise: one scatters by
# 1 to 4 %.
_DRIFT_GAIN = 0.2
_LARGEST_DRIFT = 0.1
_RATE, _PROMPT, _SECOND, _HELD, _STEPS, _CONTEXT, _DECODING, _ITL, _TTFT = range(FEATURES)


_Array = TypeVar("_Array", FloatArray, IntArray)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """The profiles in force: the seed's rows where nothing was learned."""

    profiles: ServiceProfiles
    trust: IntArray
    status: IntArray


def learned(state: EstimatorState, seed: ServiceProfiles) -> Learned:
    """Return the profile of each of the state's variants, and how far to trust it."""
    known = np.isfinite(state.current[:, 0])
    parameters = np.where(known[:, None], state.current, parameters_of(seed))
    return Learned(
        profiles=profiles_of(parameters),
        trust=trust_of(state.status, seed),
        status=state.status,
    )


def update(
    state: EstimatorState,
    *,
    names: tuple[str, ...],
    observations: Observations,
    workloads: Workloads,
    seed: ServiceProfiles,
    now_s: float,
    limits: EngineLimits | None = None,
    slo: SloTargets | None = None,
    settings: EstimatorSettings = DEFAULT_SETTINGS,
) -> EstimatorState:
    """Return the state after a window of observations.

    Parameters
    ----------
    state : EstimatorState
    names : tuple of str, length V
        Rows of all other arguments; variants that are left out are forgotten.
    observations : Observations, V rows
    workloads : Workloads, V rows
        Lengths of the requests in the window.
    seed : ServiceProfiles, V rows
        Priors; NaN rows: none.
    now_s : float
        End of the window, on a clock that doesn't run backwards. [s]
    limits, slo : V rows, optional
        What capacity is to be predicted for; absent: a fit is adopted whatever it says of it.
    settings : EstimatorSettings

    Returns
    -------
    EstimatorState
    """
    state = state.aligned(names, settings)
    features = _features(observations, workloads)
    usable = np.isfinite(features[:, :_TTFT].sum(axis=1)) & (features[:, _ITL] > 0)
    usable &= observations.requests >= settings.fewest_requests
    usable &= now_s - state.taken_s >= settings.spacing_s
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        return state
    known = np.isfinite(seed.iteration_base_s[rows])
    state = _checked(state, rows, features[rows], known)
    state = _remembered(state, rows, features[rows], observations.requests[rows], now_s, settings)
    points = _points(state, rows, now_s, settings)
    fitted = _fitted(state, rows, points, seed)
    error = np.full(len(rows), np.nan)
    if limits is not None and slo is not None:
        error = _capacity_error(
            points, fitted, workloads.take(rows), limits.take(rows), slo.take(rows)
        )
    return _adopted(state, rows, fitted, error, seed_known=known)


def _features(observations: Observations, workloads: Workloads) -> FloatArray:
    load = _load(observations, workloads)
    # By Little's law λ TTFT requests are on their way to a first token; where a tenth of
    # that many wait for a slot, TTFT tells of the queue and not of the engine.
    on_the_way = observations.arrival_rate_rps * observations.ttft_s
    queued = np.nan_to_num(observations.waiting_requests) > 0.1 * on_the_way
    ttft = np.where(queued | ~(observations.ttft_s > 0), np.nan, observations.ttft_s)
    columns = (
        load.arrival_rate_rps,
        load.prompt_tokens,
        load.prompt_tokens_second,
        load.held_tokens,
        load.decode_steps,
        load.context_tokens,
        observations.decoding_requests,
        observations.itl_s,
        ttft,
    )
    return np.stack(columns, axis=1)


def _load(observations: Observations, workloads: Workloads) -> Load:
    """Return the load, with what was measured of it in the place of what lengths say.

    Requests that finish in a window aren't those whose prompts it computed, nor those
    that it decoded: long ones are decoded for longer, and while lengths drift the two
    differ. A regressor with such an error would make its slope too small.
    """
    load = load_of(workloads, observations.arrival_rate_rps)
    measured = observations.prompt_tokens
    prompt = np.where(measured > 0.0, measured, load.prompt_tokens)
    scale = prompt / np.maximum(load.prompt_tokens, 1e-9)
    context = observations.context_tokens
    return replace(
        load,
        prompt_tokens=prompt,
        prompt_tokens_second=load.prompt_tokens_second * scale**2,
        context_tokens=np.where(context > 0.0, context, load.context_tokens),
    )


def _remembered(
    state: EstimatorState,
    rows: IntArray,
    features: FloatArray,
    requests: FloatArray,
    now_s: float,
    settings: EstimatorSettings,
) -> EstimatorState:
    """Return the state with one new window for each of `rows`."""
    mine, mass, seen = state.points[rows], state.requests[rows], state.seen_s.copy()
    distance = np.where(mass > 0, _distance(mine, features), np.inf)
    joins = distance.min(axis=1) < settings.same_point_ratio
    slot = np.where(joins, distance.argmin(axis=1), seen[rows].argmin(axis=1))
    row = np.arange(len(rows))
    old = mine[row, slot]
    before = np.where(joins, np.minimum(mass[row, slot], settings.memory_requests), 0.0)
    # A TTFT that is missing on one side leaves the other as it is.
    old = np.where(np.isnan(old) | ~joins[:, None], features, old)
    new = np.where(np.isnan(features), old, features)
    mean = old + (new - old) * (requests / (before + requests))[:, None]
    points, total, taken = state.points.copy(), state.requests.copy(), state.taken_s.copy()
    points[rows, slot], total[rows, slot] = mean, before + requests
    seen[rows, slot], taken[rows] = now_s, now_s
    return replace(state, points=points, requests=total, seen_s=seen, taken_s=taken)


def _distance(points: FloatArray, features: FloatArray) -> FloatArray:
    """Return the largest relative difference in load and lengths, shape (rows, slots)."""
    kinds = [_DECODING, _PROMPT, _STEPS, _HELD]
    here, there = np.log1p(points[:, :, kinds]), np.log1p(features[:, None, kinds])
    return np.asarray(np.abs(here - there).max(axis=2), dtype=np.float64)


def _checked(
    state: EstimatorState, rows: IntArray, features: FloatArray, seed_known: BoolArray
) -> EstimatorState:
    """Return the state with what was learned held against what engines do now.

    A good fit explains each window within a few per cent. Where it is off for minutes, the
    engine isn't the one that taught it: fit and points are forgotten, and learned anew.
    """
    good = state.good[rows]
    points = _points_of(features[:, None, :], np.ones((len(rows), 1)))
    problem = FitProblem(
        points=points, anchor=good, hold=np.zeros(len(rows)), start=good, dispersion=POISSON
    )
    residual, _, _ = problem.evaluated(np.where(np.isfinite(good), good, 1.0))
    off = np.where(np.isfinite(good[:, 0]), -residual[:, 0, 0], 0.0)
    drift = state.drift[rows] + _DRIFT_GAIN * (off - state.drift[rows])
    other = seed_known & (np.abs(drift) > _LARGEST_DRIFT)
    wide = other[:, None]
    return replace(
        state,
        full=_put(state.full, rows, np.where(wide, np.nan, state.full[rows])),
        good=_put(state.good, rows, np.where(wide, np.nan, good)),
        requests=_put(state.requests, rows, np.where(wide, 0.0, state.requests[rows])),
        seen_s=_put(state.seen_s, rows, np.where(wide, -np.inf, state.seen_s[rows])),
        drift=_put(state.drift, rows, np.where(other, 0.0, drift)),
    )


def _points_of(points: FloatArray, weight: FloatArray) -> Points:
    return Points(
        load=Load(
            arrival_rate_rps=points[..., _RATE],
            prompt_tokens=points[..., _PROMPT],
            prompt_tokens_second=points[..., _SECOND],
            held_tokens=points[..., _HELD],
            decode_steps=points[..., _STEPS],
            context_tokens=points[..., _CONTEXT],
        ),
        decoding_requests=points[..., _DECODING],
        itl_s=points[..., _ITL],
        ttft_s=points[..., _TTFT],
        weight=weight,
    )


def _points(
    state: EstimatorState, rows: IntArray, now_s: float, settings: EstimatorSettings
) -> Points:
    """Return what is remembered of `rows`, the newest counting most."""
    # Slots fill from the first on: the empty ones at the end needn't be carried along.
    used = slice(0, int((state.requests[rows] > 0).sum(axis=1).max()))
    points, mass = state.points[rows, used], state.requests[rows, used]
    age_s = np.where(mass > 0, now_s - state.seen_s[rows, used], 0.0)
    weight = mass / (mass + settings.half_trusted_requests)
    return _points_of(points, weight * np.exp2(-age_s / settings.half_life_s))


def _fitted(
    state: EstimatorState, rows: IntArray, points: Points, seed: ServiceProfiles
) -> FittedProfiles:
    full = state.full[rows]
    prior = np.where(np.isfinite(full), full, parameters_of(seed)[rows])
    known = np.isfinite(prior[:, 0])
    prior = np.where(known[:, None], prior, np.array(_GENERIC_SEED))
    return fit_profiles(
        points,
        seed=profiles_of(prior),
        seed_weight=np.where(known, KNOWN_SEED, GENERIC_SEED),
        good=profiles_of(state.good[rows]),
        ttft_weight=np.where(known, _TTFT_WEIGHT, TTFT_WEIGHT),
    )


def _capacity_error(
    points: Points,
    fitted: FittedProfiles,
    workloads: Workloads,
    limits: EngineLimits,
    slo: SloTargets,
) -> FloatArray:
    """Return how uncertain the capacity is that each new fit predicts; inf without one."""
    error = np.full(len(fitted.status), np.inf)
    new = np.flatnonzero(fitted.status >= FitStatus.ANCHORED)
    parameters = parameters_of(fitted.profiles)[new]
    problem = FitProblem(
        points=points.take(new),
        anchor=parameters,
        hold=np.zeros(len(new)),
        start=parameters,
        dispersion=POISSON,
        ttft_weight=_TTFT_WEIGHT,
    )
    error[new] = capacity_error(
        problem,
        parameters,
        workloads=workloads.take(new),
        limits=limits.take(new),
        slo=slo.take(new),
    )
    return error


def _adopted(
    state: EstimatorState,
    rows: IntArray,
    fitted: FittedProfiles,
    error: FloatArray,
    *,
    seed_known: BoolArray,
) -> EstimatorState:
    """Return the state with the new fits, as far as they tell capacity."""
    new, good = parameters_of(fitted.profiles), state.good[rows]
    fit = fitted.status >= FitStatus.ANCHORED
    # What is unsure gives way to the last good fit, else to the seed that somebody gave.
    unsure = fit & (error > LARGEST_CAPACITY_ERROR) & seed_known
    held = unsure & np.isfinite(good[:, 0])
    status = np.select([held, unsure], [FitStatus.HELD, FitStatus.SEED], fitted.status).astype(
        np.int64
    )
    new = np.where(held[:, None], good, new)
    # A generic seed is nobody's profile: without a fit the row stays unknown.
    rests = (status > FitStatus.SEED)[:, None]
    passed = (status >= FitStatus.ANCHORED)[:, None]
    complete = (status == FitStatus.FULL)[:, None]
    return replace(
        state,
        full=_put(state.full, rows, np.where(complete, new, state.full[rows])),
        good=_put(state.good, rows, np.where(passed, new, good)),
        current=_put(state.current, rows, np.where(rests, new, np.nan)),
        status=_put(state.status, rows, status),
        condition=_put(state.condition, rows, fitted.condition),
        error=_put(state.error, rows, fitted.error),
        capacity_error=_put(state.capacity_error, rows, error),
    )


def _put(column: _Array, rows: IntArray, values: _Array) -> _Array:
    result = column.copy()
    result[rows] = values
    return result
