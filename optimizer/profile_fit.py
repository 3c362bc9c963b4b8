"""Service profiles from observations, as far as the observations determine them. Pure.

How much is learned depends on how much the load varied, and is decided by numbers:

FULL      all five parameters, when their Jacobian is well conditioned and the standard
          errors are small;
ANCHORED  what the load's variation determines, the rest as near to the last good fit,
          else to the seed, as the observations allow: what a single shape of requests
          at several rates gives;
HELD      the last good fit, when the window has collapsed to one operating point;
GUESS     base and compute slopes through one operating point, the KV slope and the
          constant being the seed's, when there never was a good fit;
SEED      the seed: nothing to learn from, or no positive solution.

A single operating point can't tell base from slopes (condition numbers of 1e15 and more,
healthy ones are under 100), and a fit adopted there has cost others a deadlock at one
replica. This module must not remember anything: see `estimation`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .domain import BoolArray, FloatArray, IntArray, ServiceProfiles, Trust
from .least_squares import LogFit, Model, fit_logarithms
from .operating_point import (
    PARAMETERS,
    POISSON,
    Load,
    design,
    parameters_of,
    profiles_of,
    step_at_rate,
)

__all__ = ["FitStatus", "FittedProfiles", "Guard", "Points", "fit_profiles", "trust_of"]

# A mean TTFT holds what the law doesn't know (network, tokenizer, output handling): its
# residuals scatter about twice as far as those of ITL, in every data set at hand.
_TTFT_WEIGHT = 0.25

_BASE, _DECODE, _PREFILL, _KV, _CONSTANT = np.eye(len(PARAMETERS))
_FULL = np.eye(len(PARAMETERS))
_LOAD = np.stack([_BASE, _DECODE + _PREFILL + _KV], axis=1)
_GUESS = np.stack([_BASE, _DECODE + _PREFILL], axis=1)
# An anchor is right within a factor of e, an observation within a tenth.
_ANCHOR_WEIGHT = 0.1**2


class FitStatus(IntEnum):
    """What a profile rests on, from least to most."""

    SEED = 0
    GUESS = 1
    HELD = 2
    ANCHORED = 3
    FULL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """When a fit is adopted.

    Attributes
    ----------
    largest_condition : float
        Of the Jacobian with respect to the logarithms of the parameters.
    largest_standard_error : float
        Of any free logarithm: 0.5 is known within a factor of 1.65.
    largest_error : float
        Of the residuals: beyond this the law doesn't describe the engine.
    """

    largest_condition: float = 1000.0
    largest_standard_error: float = 0.5
    largest_error: float = 0.3

    def passes(self, fit: LogFit) -> BoolArray:
        """Return which fits are determined by their observations and describe them."""
        return (
            (fit.condition <= self.largest_condition)
            & (fit.standard_error <= self.largest_standard_error)
            & (fit.error <= self.largest_error)
        )


DEFAULT_GUARD = Guard()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Observed means of V replicas (or fleets of equal ones) at K operating points each.

    Attributes
    ----------
    load : Load, shape (V, K)
        Its arrival rate is that of prompts that were computed.
    decoding_requests : ndarray, shape (V, K)
        Time average; NaN: what the law says at this rate. [requests]
    itl_s, ttft_s : ndarray, shape (V, K)
        NaN: not measured. TTFT without the wait for a free slot. [s]
    weight : ndarray, shape (V, K), >= 0
        0: no observation.
    """

    load: Load
    decoding_requests: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray
    weight: FloatArray

    def take(self, rows: IntArray) -> "Points":
        """Return the points of some replicas."""
        return Points(
            load=self.load.take(rows),
            decoding_requests=self.decoding_requests[rows],
            itl_s=self.itl_s[rows],
            ttft_s=self.ttft_s[rows],
            weight=self.weight[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedProfiles:
    """Profiles of V replicas, and what each rests on.

    `condition`, `standard_error` and `error` are of the fit that the status names; inf
    where there was none. See `least_squares.LogFit`.
    """

    profiles: ServiceProfiles
    status: IntArray
    condition: FloatArray
    standard_error: FloatArray
    error: FloatArray


def trust_of(status: IntArray, seed: ServiceProfiles) -> IntArray:
    """Return how far each profile is to be trusted: a seed that is NaN is none."""
    known = np.isfinite(seed.iteration_base_s)
    learned = status >= FitStatus.HELD
    prior = known | (status == FitStatus.GUESS)
    return np.select([learned, prior], [Trust.LEARNED, Trust.PRIOR], Trust.NONE).astype(np.int64)


def fit_profiles(
    points: Points,
    *,
    seed: ServiceProfiles,
    good: ServiceProfiles | None = None,
    dispersion: float = POISSON,
    guard: Guard = DEFAULT_GUARD,
) -> FittedProfiles:
    """Return the profile that each replica's observations and seed support.

    Parameters
    ----------
    points : Points
    seed : ServiceProfiles, V rows
        Prior knowledge, all > 0. The fit stays within a factor of 100 of it.
    good : ServiceProfiles, V rows, optional
        The last fit that passed the guard; NaN rows: none yet.
    dispersion : float in [0, 1]
        Variance-to-mean ratio of the number in system: 1 for Poisson arrivals.
    guard : Guard

    Returns
    -------
    FittedProfiles
    """
    prior = parameters_of(seed)
    last = np.full_like(prior, np.nan) if good is None else parameters_of(good)
    had_good = np.isfinite(last).all(axis=-1)
    anchor = np.where(had_good[:, None], last, prior)
    result = _Chosen.of(anchor, np.where(had_good, FitStatus.HELD, FitStatus.SEED))
    rows = np.flatnonzero((points.weight > 0).any(axis=1))
    for level in (_full, _anchored, _guess):
        if level is _guess:
            rows = rows[~had_good[rows]]
        if len(rows) == 0:
            break
        passed, status, fit = level(points.take(rows), anchor[rows], dispersion, guard)
        result.adopt(rows[passed], fit, passed, status)
        rows = rows[~passed]
    return result.frozen()


_Level = tuple[BoolArray, FitStatus, LogFit]


def _full(points: Points, anchor: FloatArray, dispersion: float, guard: Guard) -> _Level:
    fit = _fit(points, anchor, _FULL, dispersion)
    return guard.passes(fit) & ~fit.at_bound, FitStatus.FULL, fit


def _anchored(points: Points, anchor: FloatArray, dispersion: float, guard: Guard) -> _Level:
    fit = _fit(points, anchor, _FULL, dispersion, pull_to_center=_ANCHOR_WEIGHT)
    # Did the load vary enough to tell the base from what grows with load?
    itl_alone = replace(points, ttft_s=np.full_like(points.ttft_s, np.nan))
    told = _fit(itl_alone, fit.parameters, _LOAD, dispersion, iterations=0)
    fit = replace(fit, condition=told.condition, standard_error=told.standard_error)
    return guard.passes(fit), FitStatus.ANCHORED, fit


def _guess(points: Points, anchor: FloatArray, dispersion: float, guard: Guard) -> _Level:
    """Put two parameters through one point's two latencies, if both stay positive."""
    fit = _fit(points, anchor, _GUESS, dispersion)
    solved = (fit.condition <= guard.largest_condition) & (fit.error <= guard.largest_error)
    return solved & ~fit.at_bound, FitStatus.GUESS, fit


@dataclass(slots=True, eq=False)
class _Chosen:
    """The result while it is being chosen, level by level."""

    parameters: FloatArray
    status: IntArray
    condition: FloatArray
    standard_error: FloatArray
    error: FloatArray

    @classmethod
    def of(cls, parameters: FloatArray, status: IntArray) -> "_Chosen":
        none = np.full(len(status), np.inf)
        return cls(parameters.copy(), status.astype(np.int64), none, none.copy(), none.copy())

    def adopt(self, rows: IntArray, fit: LogFit, passed: BoolArray, status: FitStatus) -> None:
        self.parameters[rows] = fit.parameters[passed]
        self.status[rows] = status
        self.condition[rows] = fit.condition[passed]
        self.standard_error[rows] = fit.standard_error[passed]
        self.error[rows] = fit.error[passed]

    def frozen(self) -> FittedProfiles:
        return FittedProfiles(
            profiles=profiles_of(self.parameters),
            status=self.status,
            condition=self.condition,
            standard_error=self.standard_error,
            error=self.error,
        )


def _fit(
    points: Points,
    anchor: FloatArray,
    basis: FloatArray,
    dispersion: float,
    *,
    pull_to_center: float = 0.0,
    iterations: int = 40,
) -> LogFit:
    observed = np.stack([points.itl_s, points.ttft_s], axis=-1)
    there = np.isfinite(observed) & (points.weight[..., None] > 0)
    weight = np.where(there, points.weight[..., None] * np.array([1.0, _TTFT_WEIGHT]), 0.0)
    return fit_logarithms(
        _model(points, dispersion),
        observed=observed,
        weight=weight,
        center=anchor,
        start=anchor,
        basis=basis,
        pull_to_center=pull_to_center,
        iterations=iterations,
    )


def _model(points: Points, dispersion: float) -> Model:
    """Return the law at the observed loads, and its derivatives, as functions of θ.

    Where the number that decodes was measured, the law is linear: its coefficients come
    from what was measured. Where it wasn't, it follows from the rate and moves with θ.
    """
    load, measured = points.load, np.isfinite(points.decoding_requests)
    per_request = load.arrival_rate_rps * load.decode_steps

    def predicted(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        theta = parameters[:, None, :]
        by_rate, stretch = step_at_rate(theta, load, dispersion=dispersion)
        seen = measured & np.isfinite(points.itl_s)
        step_s = np.where(seen, points.itl_s, by_rate)
        decoding = np.where(measured, points.decoding_requests, per_request * step_s)
        rows = design(load, step_s=step_s, decoding_requests=decoding, dispersion=dispersion)
        itl, ttft = rows.latencies_s(theta)
        each = theta[..., 1] + load.context_tokens * theta[..., 3]
        by_step = rows.half_busy + np.where(measured, 0.0, per_request * each)
        d_itl = rows.itl * np.where(measured, 1.0, stretch)[..., None]
        d_ttft = rows.ttft + by_step[..., None] * d_itl
        return (
            np.stack([np.where(measured, itl, by_rate), ttft], axis=-1),
            np.stack([d_itl, d_ttft], axis=-2),
        )

    return predicted
