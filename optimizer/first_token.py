"""Time to first token as a distribution: wait for a slot, running step, prompts, own prompt.

A request that finds a slot arrives within a step, waits for its end, and is computed in
the next one together with all prompts that arrived during the same step; one that waits
starts with a step. Steps that a random arrival meets are longer than the average one
(inspection paradox), mostly for others' prompts.
"""

from dataclasses import dataclass

import numpy as np

from .domain import Columns, FloatArray, IntArray
from .occupancy import Replica
from .queueing import Stationary
from .rootfind import find_roots
from .service import RequestWork
from .tails import (
    HERMITE_NODES,
    HERMITE_WEIGHTS,
    ShiftedLognormal,
    gamma_quantile,
    gamma_survival,
)

__all__ = ["FirstToken", "first_token"]

# Share of the time for prompts beyond which their own queue has no steady state.
_LARGEST_SHARE = 0.98
_QUANTILE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FirstToken(Columns):
    """Distribution of the time to first token in the engine, a column entry per variant.

    With probability 1 - `waiting_ratio` it is `at_once`, stretched where prompts exceed
    one step's token budget; otherwise a gamma wait plus `after_wait`.

    Attributes
    ----------
    mean_s : ndarray
        [s]
    waiting_ratio, wait_mean_s, wait_shape : ndarray
        Probability of waiting for a slot, and the wait's mean [s] and shape then.
    at_once, after_wait : arrays of `ShiftedLognormal`
        Columns of both are kept apart, see `_at_once` and `_after_wait`.
    stretch_from_s, stretch_ratio : ndarray
        Beyond the first, every second of prompts brings `stretch_ratio` seconds of
        further steps. [s, 1]
    """

    mean_s: FloatArray
    waiting_ratio: FloatArray
    wait_mean_s: FloatArray
    wait_shape: FloatArray
    at_once: ShiftedLognormal
    after_wait: ShiftedLognormal
    stretch_from_s: FloatArray
    stretch_ratio: FloatArray
