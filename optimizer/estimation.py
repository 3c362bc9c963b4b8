"""Profiles learned online: a window of operating points per variant, and its fit. Pure.

A new observation joins the operating point it resembles, or takes a slot of its own; the
slot heard of least recently makes room. So the window remembers the loads that a variant
has seen instead of the last minutes of one load, and noise averages out point by point.
After that the variant's profile is fitted anew, as far as the window determines it
(`profile_fit`), starting from its last good fit, else from its seed.

All memory is in EstimatorState, which goes in and comes out; rows are matched by name.
What identifies a profile (image, arguments, accelerator) belongs into the name. The
work is batched over variants, and done only for those with a new observation.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray, ServiceProfiles, Workloads
from .operating_point import PARAMETERS, Load, load_of, parameters_of, profiles_of
from .profile_fit import FitStatus, FittedProfiles, Points, fit_profiles, trust_of

__all__ = ["EstimatorSettings", "EstimatorState", "Learned", "Observations", "learned", "update"]

# A dense model's slopes relative to its base where nothing at all is known of a variant;
# only the ratios matter, and only until the load has varied.
_GENERIC_SEED = (10e-3, 30e-6, 30e-6, 80e-9, 10e-3)
_FIELDS = ("arrival_rate", "prompt", "held", "steps", "context", "decoding", "itl", "ttft")
_RATE, _PROMPT, _HELD, _STEPS, _CONTEXT, _DECODING, _ITL, _TTFT = range(len(_FIELDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorSettings:
    """How observations are remembered.

    Attributes
    ----------
    slots : int
        Operating points per variant.
    same_point_ratio : float
        Loads and lengths that differ by less are one operating point.
    spacing_s : float
        Windows closer than this overlap with the last one and are left out. [s]
    half_life_s : float
        After this long without news a point counts half. [s]
    memory_windows : float
        A point's mean follows the newest windows over about so many.
    fewest_requests : float
        A window with fewer requests says too little.
    """

    slots: int = 24
    same_point_ratio: float = 0.15
    spacing_s: float = 10.0
    half_life_s: float = 4.0 * 3600.0
    memory_windows: float = 20.0
    fewest_requests: float = 5.0


DEFAULT_SETTINGS = EstimatorSettings()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations(Columns):
    """Means over one window of a variant's replicas, per replica; one row per variant.

    Attributes
    ----------
    requests : ndarray
        Requests that finished in the window; 0 or NaN: nothing was observed.
    arrival_rate_rps : ndarray
        Prompts computed per replica and second.
    decoding_requests : ndarray
        Requests that decode, averaged over the window. From counters: (output tokens -
        first tokens) per second x mean ITL, which beats a sampled gauge. [requests]
    waiting_requests : ndarray
        Requests that wait for a slot, averaged over the window; NaN: none known.
    itl_s, ttft_s : ndarray
        As the engine measured them; NaN: not. [s]
    """

    requests: FloatArray
    arrival_rate_rps: FloatArray
    decoding_requests: FloatArray
    waiting_requests: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimatorState:
    """What one update hands to the next.

    Attributes
    ----------
    names : tuple of str, length V
    points : ndarray, shape (V, slots, 8)
        Arrival rate, computed and held prompt tokens, decode steps, context tokens,
        decoding requests, ITL and TTFT of each operating point.
    windows : ndarray, shape (V, slots)
        Windows that a point's means rest on; 0: free slot.
    seen_s, taken_s : ndarray, shape (V, slots), (V,)
        When a point was last heard of, and the variant at all. [s]
    good : ndarray, shape (V, 5)
        The last fit that passed the guard; NaN: none.
    current : ndarray, shape (V, 5)
        The profile in force; NaN: none.
    status, condition, error : ndarray, shape (V,)
        What `current` rests on, see `profile_fit.FittedProfiles`.
    """

    names: tuple[str, ...]
    points: FloatArray
    windows: FloatArray
    seen_s: FloatArray
    taken_s: FloatArray
    good: FloatArray
    current: FloatArray
    status: IntArray
    condition: FloatArray
    error: FloatArray

    @classmethod
    def empty(
        cls, names: tuple[str, ...] = (), *, settings: EstimatorSettings = DEFAULT_SETTINGS
    ) -> "EstimatorState":
        """Return the state of variants of which nothing was ever observed."""
        count, slots = len(names), settings.slots
        return cls(
            names=names,
            points=np.ones((count, slots, len(_FIELDS))),
            windows=np.zeros((count, slots)),
            seen_s=np.full((count, slots), -np.inf),
            taken_s=np.full(count, -np.inf),
            good=np.full((count, len(PARAMETERS)), np.nan),
            current=np.full((count, len(PARAMETERS)), np.nan),
            status=np.full(count, FitStatus.SEED, dtype=np.int64),
            condition=np.full(count, np.inf),
            error=np.full(count, np.inf),
        )

    def aligned(self, names: tuple[str, ...], settings: EstimatorSettings) -> "EstimatorState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        fresh = self.empty(names, settings=settings)
        row = {name: i for i, name in enumerate(self.names)}
        rows = np.array([row.get(name, -1) for name in names], dtype=np.int64)
        if self.points.shape[1] != settings.slots:
            return fresh
        for name in self.__slots__[1:]:
            getattr(fresh, name)[rows >= 0] = getattr(self, name)[rows[rows >= 0]]
        return fresh


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """The profiles in force: the seed's rows where nothing was learned."""

    profiles: ServiceProfiles
    trust: IntArray
    status: IntArray


def learned(state: EstimatorState, seed: ServiceProfiles) -> Learned:
    """Return the profile of each of the state's variants, and how far to trust it."""
    known = np.isfinite(state.current).all(axis=1)
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
    settings : EstimatorSettings

    Returns
    -------
    EstimatorState
    """
    state = state.aligned(names, settings)
    features = _features(observations, workloads)
    usable = np.isfinite(features[:, :_TTFT]).all(axis=1) & (features[:, _ITL] > 0)
    usable &= observations.requests >= settings.fewest_requests
    usable &= now_s - state.taken_s >= settings.spacing_s
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        return state
    state = _remembered(state, rows, features[rows], now_s, settings)
    fitted = _fitted(state, rows, seed, now_s, settings)
    return _adopted(state, rows, fitted)


def _features(observations: Observations, workloads: Workloads) -> FloatArray:
    load = load_of(workloads, observations.arrival_rate_rps)
    # By Little's law λ TTFT requests are on their way to a first token; where a tenth of
    # that many wait for a slot, TTFT tells of the queue and not of the engine.
    on_the_way = observations.arrival_rate_rps * observations.ttft_s
    queued = np.nan_to_num(observations.waiting_requests) > 0.1 * on_the_way
    ttft = np.where(queued | ~(observations.ttft_s > 0), np.nan, observations.ttft_s)
    columns = (
        load.arrival_rate_rps,
        load.prompt_tokens,
        load.held_tokens,
        load.decode_steps,
        load.context_tokens,
        observations.decoding_requests,
        observations.itl_s,
        ttft,
    )
    return np.stack(columns, axis=1)


def _remembered(
    state: EstimatorState,
    rows: IntArray,
    features: FloatArray,
    now_s: float,
    settings: EstimatorSettings,
) -> EstimatorState:
    """Return the state with one new window for each of `rows`."""
    points, windows, seen = state.points.copy(), state.windows.copy(), state.seen_s.copy()
    mine, known = points[rows], windows[rows]
    distance = np.where(known > 0, _distance(mine, features), np.inf)
    nearest = distance.argmin(axis=1)
    joins = np.take_along_axis(distance, nearest[:, None], 1)[:, 0] < settings.same_point_ratio
    slot = np.where(joins, nearest, seen[rows].argmin(axis=1))
    count = np.where(
        joins, np.minimum(known[np.arange(len(rows)), slot], settings.memory_windows), 0.0
    )
    old = mine[np.arange(len(rows)), slot]
    mean = (old * count[:, None] + features) / (count[:, None] + 1.0)
    # A TTFT that is missing on one side leaves the other as it is.
    mean[:, _TTFT] = np.where(np.isnan(features[:, _TTFT]) & joins, old[:, _TTFT], mean[:, _TTFT])
    alone = ~joins | np.isnan(old[:, _TTFT])
    mean[:, _TTFT] = np.where(alone, features[:, _TTFT], mean[:, _TTFT])
    points[rows, slot], windows[rows, slot], seen[rows, slot] = mean, count + 1.0, now_s
    taken = state.taken_s.copy()
    taken[rows] = now_s
    return replace(state, points=points, windows=windows, seen_s=seen, taken_s=taken)


def _distance(points: FloatArray, features: FloatArray) -> FloatArray:
    """Return the largest relative difference in load and lengths, shape (rows, slots)."""
    kinds = [_DECODING, _PROMPT, _STEPS, _HELD]
    here, there = np.log1p(points[:, :, kinds]), np.log1p(features[:, None, kinds])
    return np.asarray(np.abs(here - there).max(axis=2), dtype=np.float64)


def _fitted(
    state: EstimatorState,
    rows: IntArray,
    seed: ServiceProfiles,
    now_s: float,
    settings: EstimatorSettings,
) -> FittedProfiles:
    points, windows = state.points[rows], state.windows[rows]
    age_s = np.where(windows > 0, now_s - state.seen_s[rows], 0.0)
    # One window is half as good as many: beyond that it is the law that is inexact.
    weight = windows / (windows + 1.0) * np.exp2(-age_s / settings.half_life_s)
    prior = parameters_of(seed)[rows]
    prior = np.where(_all_known(prior)[:, None], prior, np.array(_GENERIC_SEED))
    return fit_profiles(
        Points(
            load=Load(
                arrival_rate_rps=points[..., _RATE],
                prompt_tokens=points[..., _PROMPT],
                held_tokens=points[..., _HELD],
                decode_steps=points[..., _STEPS],
                context_tokens=points[..., _CONTEXT],
            ),
            decoding_requests=points[..., _DECODING],
            itl_s=points[..., _ITL],
            ttft_s=points[..., _TTFT],
            weight=weight,
        ),
        seed=profiles_of(prior),
        good=profiles_of(state.good[rows]),
    )


def _adopted(state: EstimatorState, rows: IntArray, fitted: FittedProfiles) -> EstimatorState:
    new = parameters_of(fitted.profiles)
    current, good = state.current.copy(), state.good.copy()
    status, condition, error = (
        state.status.copy(),
        state.condition.copy(),
        state.error.copy(),
    )
    # A generic seed is nobody's profile: without a fit the row stays unknown.
    rests = fitted.status != FitStatus.SEED
    current[rows] = np.where(rests[:, None], new, np.nan)
    passed = fitted.status >= FitStatus.ANCHORED
    good[rows] = np.where(passed[:, None], new, good[rows])
    status[rows], condition[rows], error[rows] = fitted.status, fitted.condition, fitted.error
    return replace(
        state, current=current, good=good, status=status, condition=condition, error=error
    )


def _all_known(parameters: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(parameters).all(axis=-1), dtype=np.bool_)
