"""Profiles learned online: a window of operating points per variant, and its fit. Pure.

A new observation goes into the window of operating points (`operating_window`). After that
the variant's profile is fitted anew, as far as the window determines it
(`profile_fit`), starting from its last good fit, else from its seed. A fit is adopted when
it tells the replica's capacity within 5 % (`identification`); until then the variant is
unidentified and holds its last good fit, else its seed. Where nobody knows a seed, a fit is
adopted as soon as condition and residuals allow.

All memory is in EstimatorState, which goes in and comes out; rows are matched by name.
What identifies a profile (image, arguments, accelerator) belongs into the name. The
work is batched over variants, and done only for those with a new observation.
"""

from dataclasses import dataclass, replace

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
    EstimatorSettings,
    EstimatorState,
    Observations,
    put,
)
from .identification import LARGEST_CAPACITY_ERROR, capacity_error
from .operating_window import features_of, points_kept, points_of, remembered, says_enough
from .profile_fit import (
    GENERIC_SEED,
    KNOWN_SEED,
    FitStatus,
    FittedProfiles,
    fit_profiles,
    trust_of,
)
from .profile_points import TTFT_WEIGHT, FitProblem, Points
from .step_law import POISSON, parameters_of, profiles_of

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
# No window counts for more: one that is ten times off is an outlier, and a burst in it may
# reach into two. An engine that became slower for good says so in a third.
_LARGEST_OFF = 0.25


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
    features = features_of(observations, workloads)
    usable = says_enough(features)
    usable &= observations.requests >= settings.fewest_requests
    usable &= now_s - state.taken_s >= settings.spacing_s
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        return state
    known = np.isfinite(seed.iteration_base_s[rows])
    state = _checked(state, rows, features[rows], known)
    state = remembered(state, rows, features[rows], observations.requests[rows], now_s, settings)
    points = points_kept(state, rows, now_s, settings)
    fitted = _fitted(state, rows, points, seed)
    error = np.full(len(rows), np.nan)
    if limits is not None and slo is not None:
        error = _capacity_error(
            points, fitted, workloads.take(rows), limits.take(rows), slo.take(rows)
        )
    return _adopted(state, rows, fitted, error, seed_known=known)


def _checked(
    state: EstimatorState, rows: IntArray, features: FloatArray, seed_known: BoolArray
) -> EstimatorState:
    """Return the state with what was learned held against what engines do now.

    A good fit explains each window within a few per cent. Where it is off for minutes, the
    engine isn't the one that taught it: fit and points are forgotten, and learned anew.
    """
    good = state.good[rows]
    points = points_of(features[:, None, :], np.ones((len(rows), 1)))
    problem = FitProblem(
        points=points, anchor=good, hold=np.zeros(len(rows)), start=good, dispersion=POISSON
    )
    residual, _, _ = problem.evaluated(np.where(np.isfinite(good), good, 1.0))
    off = np.where(np.isfinite(good[:, 0]), -residual[:, 0, 0], 0.0)
    off = np.clip(off, -_LARGEST_OFF, _LARGEST_OFF)
    drift = state.drift[rows] + _DRIFT_GAIN * (off - state.drift[rows])
    other = seed_known & (np.abs(drift) > _LARGEST_DRIFT)
    wide = other[:, None]
    return replace(
        state,
        full=put(state.full, rows, np.where(wide, np.nan, state.full[rows])),
        good=put(state.good, rows, np.where(wide, np.nan, good)),
        requests=put(state.requests, rows, np.where(wide, 0.0, state.requests[rows])),
        seen_s=put(state.seen_s, rows, np.where(wide, -np.inf, state.seen_s[rows])),
        drift=put(state.drift, rows, np.where(other, 0.0, drift)),
    )


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
        full=put(state.full, rows, np.where(complete, new, state.full[rows])),
        good=put(state.good, rows, np.where(passed, new, good)),
        current=put(state.current, rows, np.where(rests, new, np.nan)),
        status=put(state.status, rows, status),
        condition=put(state.condition, rows, fitted.condition),
        error=put(state.error, rows, fitted.error),
        capacity_error=put(state.capacity_error, rows, error),
    )
