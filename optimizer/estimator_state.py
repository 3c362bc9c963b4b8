"""Records of the online estimator: what it reads, how it remembers, what it hands on."""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from .domain import Columns, FloatArray, IntArray, rows_of
from .profile_fit import FitStatus
from .step_law import PARAMETERS

__all__ = [
    "DEFAULT_SETTINGS",
    "FEATURES",
    "EstimatorSettings",
    "EstimatorState",
    "Observations",
    "put",
]

# Figures that are kept of each operating point.
FEATURES = 9

_Array = TypeVar("_Array", FloatArray, IntArray)


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
    memory_requests : float
        A point's means follow the newest windows over about so many requests.
    half_trusted_requests : float
        A point that rests on so many requests counts half: beyond a multiple of that it
        is the law that is inexact and not the mean.
    fewest_requests : float
        A window with fewer requests says too little.
    """

    slots: int = 24
    same_point_ratio: float = 0.15
    spacing_s: float = 10.0
    half_life_s: float = 4.0 * 3600.0
    memory_requests: float = 2000.0
    half_trusted_requests: float = 200.0
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
    prompt_tokens : ndarray
        Mean of the prompts that were computed in the window, cached tokens left out; NaN:
        that of the requests which finished in it. [tokens]
    context_tokens : ndarray
        Mean KV tokens under a running request; NaN: what lengths say. [tokens]
    """

    requests: FloatArray
    arrival_rate_rps: FloatArray
    decoding_requests: FloatArray
    waiting_requests: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray
    prompt_tokens: FloatArray
    context_tokens: FloatArray

    @classmethod
    def none(cls, variants: int) -> "Observations":
        """Return the record of variants of which nothing was observed."""
        return cls(**{f.name: np.full(variants, np.nan) for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EstimatorState:
    """What one update hands to the next.

    Attributes
    ----------
    names : tuple of str, length V
    points : ndarray, shape (V, slots, 9)
        Arrival rate, computed prompt tokens and their second moment, held prompt tokens,
        decode steps, context tokens, decoding requests, ITL and TTFT of each operating
        point.
    requests : ndarray, shape (V, slots)
        Requests that a point's means rest on; 0: free slot.
    seen_s, taken_s : ndarray, shape (V, slots), (V,)
        When a point was last heard of, and the variant at all. [s]
    full : ndarray, shape (V, 5)
        The last fit of all five parameters, which replaces the seed; NaN: none.
    good : ndarray, shape (V, 5)
        The last fit that passed the guard; NaN: none.
    current : ndarray, shape (V, 5)
        The profile in force; NaN: none.
    status, condition, error : ndarray, shape (V,)
        What `current` rests on, see `profile_fit.FittedProfiles`.
    capacity_error : ndarray, shape (V,)
        Standard error of the capacity that the last fit predicts, as a logarithm; inf: no
        fit, NaN: nobody said what capacity is to be predicted.
    drift : ndarray, shape (V,)
        How far the newest windows' gaps exceed what `good` says of them, as a logarithm,
        averaged over about five windows.
    """

    names: tuple[str, ...]
    points: FloatArray
    requests: FloatArray
    seen_s: FloatArray
    taken_s: FloatArray
    full: FloatArray
    good: FloatArray
    current: FloatArray
    status: IntArray
    condition: FloatArray
    error: FloatArray
    capacity_error: FloatArray
    drift: FloatArray

    @classmethod
    def empty(
        cls, names: tuple[str, ...] = (), *, settings: EstimatorSettings = DEFAULT_SETTINGS
    ) -> "EstimatorState":
        """Return the state of variants of which nothing was ever observed."""
        count, slots = len(names), settings.slots
        return cls(
            names=names,
            points=np.ones((count, slots, FEATURES)),
            requests=np.zeros((count, slots)),
            seen_s=np.full((count, slots), -np.inf),
            taken_s=np.full(count, -np.inf),
            full=np.full((count, len(PARAMETERS)), np.nan),
            good=np.full((count, len(PARAMETERS)), np.nan),
            current=np.full((count, len(PARAMETERS)), np.nan),
            status=np.full(count, FitStatus.SEED, dtype=np.int64),
            condition=np.full(count, np.inf),
            error=np.full(count, np.inf),
            capacity_error=np.full(count, np.inf),
            drift=np.zeros(count),
        )

    def aligned(self, names: tuple[str, ...], settings: EstimatorSettings) -> "EstimatorState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        fresh = self.empty(names, settings=settings)
        rows = rows_of(names, self.names)
        if self.points.shape[1] != settings.slots:
            return fresh
        for name in self.__slots__[1:]:
            getattr(fresh, name)[rows >= 0] = getattr(self, name)[rows[rows >= 0]]
        return fresh


def put(column: _Array, rows: IntArray, values: _Array) -> _Array:
    """Return a column with `values` at `rows`."""
    result = column.copy()
    result[rows] = values
    return result
