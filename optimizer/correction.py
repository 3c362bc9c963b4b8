"""Given profiles held against what engines do: a factor where all takes longer, or less. Pure.

A profile that somebody measured on other hardware, or with other arguments, is off by about the
same factor everywhere. Gaps between tokens tell that factor at any load, long before a load
comes at which capacity shows. Shapes aren't touched: those were measured by whoever gave them.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, FloatArray, IntArray, ServiceProfiles, Workloads, aligned, rows_of
from .estimator_state import Observations, put
from .operating_window import features_of, points_of, says_enough
from .profile_points import FitProblem
from .step_law import POISSON, parameters_of, profiles_of

__all__ = ["CorrectionState", "corrected"]

# Windows over which the factor is averaged: one alone scatters by 1 to 4 %.
MEMORY_WINDOWS = 10.0
# The law is inexact by some per cent: a profile is left as it was given until gaps are off by
# more than the first of these for so many windows, and then moved by steps of the second. [log]
TOLERATED, STEP = 0.1, 0.04
LEAST_WINDOWS = 5
# A window with fewer requests says too little.
LEAST_REQUESTS = 5.0
# What is off by more than this factor is another engine, or a mistake: nobody's correction.
LARGEST = np.log(3.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrectionState:
    """How far given profiles are off; rows are variants, matched by name.

    Attributes
    ----------
    names : tuple of str, length V
    given_s : ndarray, shape (V,)
        Base time of the profile that was held against: another one begins anew. [s]
    off : ndarray, shape (V,)
        Mean of ln(measured gap / gap that the profile says).
    windows, taken_s : ndarray, shape (V,)
        How many it rests on, and when the last one was taken. [s]
    applied : ndarray, shape (V,)
        Logarithm of the factor in force.
    """

    names: tuple[str, ...]
    given_s: FloatArray
    off: FloatArray
    windows: FloatArray
    taken_s: FloatArray
    applied: FloatArray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> "CorrectionState":
        """Return the state of variants of which nothing was ever observed."""
        count = len(names)
        return cls(
            names=names,
            given_s=np.full(count, np.nan),
            off=np.zeros(count),
            windows=np.zeros(count),
            taken_s=np.full(count, -np.inf),
            applied=np.zeros(count),
        )

    def of(self, names: tuple[str, ...], given_s: FloatArray) -> "CorrectionState":
        """Return the rows of `names` that are still given the same profile, the others empty."""
        rows = rows_of(names, self.names)
        same = aligned(self.given_s, rows) == given_s
        return CorrectionState(
            names=names,
            given_s=given_s,
            off=np.where(same, aligned(self.off, rows), 0.0),
            windows=np.where(same, aligned(self.windows, rows), 0.0),
            taken_s=np.where(same, aligned(self.taken_s, rows), -np.inf),
            applied=np.where(same, aligned(self.applied, rows), 0.0),
        )


def corrected(
    state: CorrectionState,
    profiles: ServiceProfiles,
    *,
    names: tuple[str, ...],
    given: BoolArray,
    observations: Observations,
    workloads: Workloads,
    now_s: float,
    window_s: float,
) -> tuple[ServiceProfiles, CorrectionState]:
    """Return the profiles with given ones as engines keep them, and how far they are off.

    Parameters
    ----------
    state : CorrectionState
    profiles : ServiceProfiles, V rows
    names : tuple of str, length V
    given : array of bool, shape (V,)
        Whose profiles somebody gave; the others are passed on as they are.
    observations : Observations, V rows
    workloads : Workloads, V rows
        Lengths of the requests in the window.
    now_s, window_s : float
        End and length of the window that was observed. [s]

    Notes
    -----
    Of a window with mean gap t at D requests decoding, where the profile θ says t(θ, D),
    ln(t / t(θ, D)) is the logarithm of a factor on all times: t(c θ, D) = c t(θ, D) but for
    what prompts take of a step, which a factor changes twice. It is averaged exponentially.
    """
    state = state.of(names, profiles.iteration_base_s)
    features = features_of(observations, workloads)
    usable = given & says_enough(features) & (observations.requests >= LEAST_REQUESTS)
    usable &= np.isfinite(state.given_s) & (now_s - state.taken_s >= window_s)
    rows = np.flatnonzero(usable)
    if len(rows) > 0:
        off = _off(features[rows], parameters_of(profiles.take(rows)), state.applied[rows])
        sound = np.abs(off) <= LARGEST
        state = _observed(state, rows[sound], off[sound], now_s)
    applied = np.where(given, state.applied, 0.0)
    if not applied.any():
        return profiles, state
    return profiles_of(parameters_of(profiles) * np.exp(applied)[:, None]), state


def _observed(
    state: CorrectionState, rows: IntArray, off: FloatArray, now_s: float
) -> CorrectionState:
    """Return the state with new windows in it, and the factors that follow."""
    windows = np.minimum(state.windows[rows] + 1.0, MEMORY_WINDOWS)
    mean = state.off[rows] + (off - state.off[rows]) / windows
    before = state.applied[rows]
    allowed = np.where(before == 0.0, TOLERATED, STEP)
    moves = (windows >= LEAST_WINDOWS) & (np.abs(mean - before) > allowed)
    return replace(
        state,
        off=put(state.off, rows, mean),
        windows=put(state.windows, rows, windows),
        taken_s=put(state.taken_s, rows, np.full(len(rows), now_s)),
        applied=put(state.applied, rows, np.where(moves, mean, before)),
    )


def _off(features: FloatArray, parameters: FloatArray, applied: FloatArray) -> FloatArray:
    """Return ln(measured / said) of each row's gap, with the factor in force included."""
    in_force = parameters * np.exp(applied)[:, None]
    problem = FitProblem(
        points=points_of(features[:, None, :], np.ones((len(features), 1))),
        anchor=in_force,
        hold=np.zeros(len(features)),
        start=in_force,
        dispersion=POISSON,
    )
    residual, _, _ = problem.evaluated(in_force)
    return np.asarray(applied - residual[:, 0, 0])
