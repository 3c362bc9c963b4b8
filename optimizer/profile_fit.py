"""Service profiles from observations, as far as the observations determine them. Pure.

How much is learned depends on how much the load varied, and is decided by numbers:

FULL      all five parameters, when their Jacobian is well conditioned and the standard
          errors are small;
ANCHORED  what the load's variation determines, the rest as near to the seed as the
          observations allow: what a single shape of requests at several rates gives;
HELD      the last good fit: as it was when the window has collapsed to one operating
          point, bent towards the observations when they scatter too much to replace it;
GUESS     base and compute slopes through one operating point, the KV slope and the
          constant being the seed's, when there never was a good fit;
SEED      the seed: nothing to learn from, or no solution near it. A seed that is only a
          scale is bent to the observations instead, as a GUESS.

A single operating point can't tell base from slopes (condition numbers of 1e15 and more,
healthy ones are under 100), and a fit adopted there has cost others a deadlock at one
replica. This module must not remember anything: see `estimation`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .domain import BoolArray, FloatArray, IntArray, ServiceProfiles, Trust
from .least_squares import LogFit
from .profile_points import TTFT_WEIGHT, FitProblem, Points
from .step_law import PARAMETERS, POISSON, parameters_of, profiles_of

__all__ = [
    "GENERIC_SEED",
    "KNOWN_SEED",
    "FitStatus",
    "FittedProfiles",
    "Guard",
    "fit_profiles",
    "trust_of",
]

_BASE, _DECODE, _PREFILL, _KV, _CONSTANT = np.eye(len(PARAMETERS))
_FULL = np.eye(len(PARAMETERS))
_LOAD = np.stack([_BASE, _DECODE + _PREFILL + _KV], axis=1)
_GUESS = np.stack([_BASE, _DECODE + _PREFILL], axis=1)
# A guess that leaves the seed by more than this factor is no better than the seed.
_LARGEST_GUESS = 5.0
# How hard a seed holds what the observations leave open, against observations that are
# right within 3 %: one that is right within a factor of e, and one that isn't known to be
# right within several powers of ten.
KNOWN_SEED = 0.03**2
GENERIC_SEED = 0.01**2
# Parameters are fitted as logarithms, so a seed's 0 ("isn't known", in most settings)
# becomes this share of the base: about a tenth of what engines have, and within reach of it.
_LEAST_SHARE = np.array([0.0, 2e-4, 2e-4, 8e-7, 1e-1])


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
    seed_weight: FloatArray | None = None,
    good: ServiceProfiles | None = None,
    dispersion: float = POISSON,
    ttft_weight: FloatArray | float = TTFT_WEIGHT,
    guard: Guard = DEFAULT_GUARD,
) -> FittedProfiles:
    """Return the profile that each replica's observations and seed support.

    Parameters
    ----------
    points : Points
    seed : ServiceProfiles, V rows
        Prior knowledge, all > 0. The fit stays within a factor of 100 of it. Never an
        anchored fit: passed on from fit to fit, what was left open would creep.
    seed_weight : array, shape (V,), optional
        KNOWN_SEED where absent.
    good : ServiceProfiles, V rows, optional
        The last fit that passed the guard; NaN rows: none yet.
    dispersion : float in [0, 1]
        Variance-to-mean ratio of the number in system: 1 for Poisson arrivals.
    ttft_weight : float or array, shape (V,)
        Of a mean TTFT, where a mean ITL has 1.
    guard : Guard

    Returns
    -------
    FittedProfiles
    """
    anchor = parameters_of(seed)
    last = np.full_like(anchor, np.nan) if good is None else parameters_of(good)
    had_good = np.isfinite(last[:, 0])
    hold = np.full(len(anchor), KNOWN_SEED) if seed_weight is None else seed_weight
    start = np.where(had_good[:, None], last, anchor)
    least = anchor[:, :1] * _LEAST_SHARE
    result = _Chosen.of(start, np.where(had_good, FitStatus.HELD, FitStatus.SEED))
    problem = FitProblem(
        points=points,
        anchor=np.where(anchor > 0, anchor, least),
        hold=hold,
        start=np.where(start > 0, start, least),
        dispersion=dispersion,
        ttft_weight=ttft_weight,
    )
    rows = np.flatnonzero(points.weight.max(axis=1, initial=0.0) > 0)
    varied = np.zeros(len(anchor), dtype=np.bool_)
    varied[rows] = _might_be_determined(problem.take(rows), guard)
    for level, takes_part in (
        (_full, varied),
        (_anchored, np.ones_like(varied)),
        (_bent, had_good),
        (_guess, ~had_good & (hold >= KNOWN_SEED)),
        (_nearest, ~had_good & (hold < KNOWN_SEED)),
    ):
        mine = rows[takes_part[rows]]
        if len(mine) == 0:
            continue
        passed, status, fit = level(problem.take(mine), guard)
        result.adopt(mine[passed], fit, passed, status)
        rows = np.setdiff1d(rows, mine[passed], assume_unique=True)
    return result.frozen()


def _might_be_determined(problem: FitProblem, guard: Guard) -> BoolArray:
    """Return where a fit of all parameters is worth the trouble.

    The condition number hardly depends on the parameters, so that at the start tells.
    """
    if len(problem.start) == 0:
        return np.zeros(0, dtype=np.bool_)
    at_start = problem.fit(_FULL, iterations=0)
    return np.asarray(at_start.condition <= 10.0 * guard.largest_condition, dtype=np.bool_)


_Level = tuple[BoolArray, FitStatus, LogFit]


def _full(problem: FitProblem, guard: Guard) -> _Level:
    fit = problem.fit(_FULL)
    return guard.passes(fit) & ~fit.at_bound, FitStatus.FULL, fit


def _anchored(problem: FitProblem, guard: Guard) -> _Level:
    fit = _held_by_seed(problem)
    return guard.passes(fit), FitStatus.ANCHORED, fit


def _bent(problem: FitProblem, guard: Guard) -> _Level:
    """Hold what was good against observations that contradict it without replacing it."""
    hold = np.full_like(problem.hold, KNOWN_SEED)
    fit = _held_by_seed(replace(problem, anchor=problem.start, hold=hold))
    varied = (fit.condition <= guard.largest_condition) & (fit.error <= guard.largest_error)
    return varied, FitStatus.HELD, fit


def _held_by_seed(problem: FitProblem) -> LogFit:
    """Return the fit with the seed taking part, and whether the load varied enough.

    Condition and standard error are those of telling the base from what grows with load.
    """
    fit = problem.fit(_FULL, held=True)
    points = problem.points
    itl_alone = replace(points, ttft_s=np.full_like(points.ttft_s, np.nan))
    here = replace(problem, points=itl_alone, anchor=fit.parameters, start=fit.parameters)
    told = here.fit(_LOAD, iterations=0)
    return replace(fit, condition=told.condition, standard_error=told.standard_error)


def _guess(problem: FitProblem, guard: Guard) -> _Level:
    """Put two parameters through one point's two latencies, if they stay near the seed's."""
    fit = replace(problem, start=problem.anchor).fit(_GUESS)
    solved = (fit.condition <= guard.largest_condition) & (fit.error <= guard.largest_error)
    moved = np.abs(np.log(fit.parameters / problem.anchor)).max(axis=1)
    return solved & (moved <= np.log(_LARGEST_GUESS)), FitStatus.GUESS, fit


def _nearest(problem: FitProblem, guard: Guard) -> _Level:
    """Go through the observations from a seed that is nobody's: better than nothing."""
    fit = problem.fit(_FULL, held=True)
    return fit.error <= guard.largest_error, FitStatus.GUESS, fit


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
        """Begin with what is in force, which rests on no fit of these observations."""
        none = np.full(len(status), np.inf)
        return cls(parameters.copy(), status.astype(np.int64), none, none.copy(), none.copy())

    def adopt(self, rows: IntArray, fit: LogFit, passed: BoolArray, status: FitStatus) -> None:
        """Put in the fits that passed, for `rows`."""
        self.parameters[rows] = fit.parameters[passed]
        self.status[rows] = status
        self.condition[rows] = fit.condition[passed]
        self.standard_error[rows] = fit.standard_error[passed]
        self.error[rows] = fit.error[passed]

    def frozen(self) -> FittedProfiles:
        """Return the result."""
        return FittedProfiles(
            profiles=profiles_of(self.parameters),
            status=self.status,
            condition=self.condition,
            standard_error=self.standard_error,
            error=self.error,
        )
