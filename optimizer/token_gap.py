"""Inter-token latency as a distribution: each request's mean gap between its tokens.

A request sees the level of its time (how many others decode), and, more the fewer tokens
it has, the prompts that happen to be computed beside it. It is admitted in a step that is
longer than most, and those who arrive meanwhile lengthen the next ones.
"""

from dataclasses import dataclass

import numpy as np

from .dispersion import peers_within
from .domain import FloatArray
from .first_token import Load
from .queueing import Stationary
from .service import RequestWork
from .tails import ShiftedLognormal

__all__ = ["TokenGap", "token_gap"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenGap:
    """Distribution of a request's mean gap between tokens, columns over variants.

    Attributes
    ----------
    uncut_mean_s : ndarray
        Over requests, were there no longest gap. [s]
    least_s, most_s : ndarray
        No gap is shorter, or longer: a step takes no more prompts than its budget. [s]
    distribution : ShiftedLognormal
    """

    uncut_mean_s: FloatArray
    least_s: FloatArray
    most_s: FloatArray
    distribution: ShiftedLognormal

    @property
    def mean_s(self) -> FloatArray:
        """Over requests. [s]"""
        bounded = np.isfinite(self.most_s)
        beyond = self.distribution.mean_above(np.where(bounded, self.most_s, 0.0))
        return np.where(bounded, self.uncut_mean_s - beyond, self.uncut_mean_s)

    def quantile(self, probability: FloatArray) -> FloatArray:
        """Return the gap that this share of requests stays within, shape (V,). [s]"""
        return np.clip(self.distribution.quantile(probability), self.least_s, self.most_s)


def token_gap(work: RequestWork, load: Load, stationary: Stationary) -> TokenGap:
    """Return the distribution of (end to end - TTFT) / (output tokens - 1).

    Parameters
    ----------
    work : RequestWork, V rows
    load : Load, V rows
    stationary : Stationary, V rows

    Notes
    -----
    By Little's law the mean step in service is T = n / (λ (c + D)). After its first
    token a request sees the excess of its own prompt's step T₀ over T decay by the factor
    ρ per step (no new prompts start where others wait), in all (E[T₀] - T) ρ / (1 - ρ)
    over D gaps, and E[1/D] is larger than 1 / E[D]. With v the excess of the step that an
    arrival meets, bounded by the budget, E[T₀] = A + S + ρ (T + v). The variance is that
    of the level, less what a request's life averages out, plus that of the prompts in D
    steps. Where arrivals cluster, those who come behind a request within its life, beyond
    what is usual, put their prompts between its tokens. No gap exceeds a full batch's step
    with a whole budget of prompts: what the distribution has beyond is cut to that.
    """
    s, shape, rho = work.prefill_s, work.prompt_shape, load.prompt_share
    steps = work.prefill_steps + work.decode_steps
    step = stationary.mean_in_service / (stationary.throughput_rps * steps)
    floor = step * (1.0 - rho)
    open_share = rho * (1.0 - stationary.waiting_ratio)
    per_gap, per_gap2 = _per_gap(work)

    beside, behind = _others(work, load, step, steps)
    longer = rho * s * (shape + 2.0 * beside) / (1.0 - open_share**2)
    room = np.maximum(floor + load.budget_s - step, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        bounded = np.where(np.isfinite(room), longer * room / (longer + room), longer)
    met = step + np.where(longer > 0.0, bounded, 0.0)
    first = np.maximum(floor + s * (1.0 + 2.0 * beside) + rho * met - step, 0.0)
    later = s * (behind - beside) * (1.0 - stationary.waiting_ratio)
    mean = step + (first * open_share + later) / (1.0 - open_share) * per_gap

    base = work.iteration_base_s
    averaging = 1.0 / (1.0 + base / (3.0 * load.step_floor_s))
    level = load.step_floor_variance_s2 / (1.0 - rho) ** 2
    level3 = load.step_floor_third_s3 / (1.0 - rho) ** 3
    noise = step * rho * s * (shape + 2.0 * behind) / (1.0 - open_share) ** 2
    noise3 = step * rho * s**2 * shape**3 / (1.0 - open_share) ** 3
    variance = level * averaging + noise * per_gap
    third = level3 * averaging**2 + noise3 * per_gap2
    # A replica with one request at a time has no variance; a hair keeps the form.
    least = (1e-6 * mean) ** 2
    # Of a full batch, and the whole budget: a bound that load doesn't move.
    tokens_s = load.budget_s + stationary.mean_in_service * work.prompt_token_s
    most = load.full_step_s * (1.0 - load.full_prompt_share) + tokens_s
    return TokenGap(
        uncut_mean_s=mean,
        least_s=base,
        most_s=most,
        distribution=ShiftedLognormal.from_cumulants(mean, np.maximum(variance, least), third),
    )


def _others(
    work: RequestWork, load: Load, step_s: FloatArray, steps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return how many beyond the usual follow a request within its step, and its life.

    No more within its step than what fits into the budget behind it.
    """
    in_step = np.maximum(load.rate_rps * step_s, 1e-9)
    beside = peers_within(load.arrivals, in_step)
    behind = peers_within(load.arrivals, in_step * steps)
    return beside / (1.0 + 2.0 * work.prefill_s * beside / load.budget_s), behind


def _per_gap(work: RequestWork) -> tuple[FloatArray, FloatArray]:
    """Return E[1/D] and E[1/D²], at most 1, where output tokens O = D + 1 are lognormal.

    1/(O - 1) is 1/O + 1/O² + ..., of which two terms are taken, and E[1/O^k] follows from
    two moments.
    """
    output = work.decode_steps + 1.0
    second = work.decode_shape * work.decode_steps**2 + 2.0 * work.decode_steps + 1.0
    shape = second / output**2
    first, square, cube = shape / output, shape**3 / output**2, shape**6 / output**3
    return np.minimum(first + square, 1.0), np.minimum(square + 2.0 * cube, 1.0)
