"""Time to first token as a distribution: wait for a slot, running step, prompts, own prompt.

A request that finds a slot arrives within a step, waits for its end, and is computed in
the next one together with all prompts that arrived during the same step; one that waits
for a slot gets it at the end of a step. Steps that a random arrival meets are longer than
the average one (inspection paradox), mostly for others' prompts. The parts' cumulants
add; their sum is taken as a shifted lognormal.
"""

from dataclasses import dataclass

import numpy as np

from .domain import Columns, FloatArray, IntArray
from .prompt_queue import BurstFactors, burst_factors
from .queueing import Stationary
from .rootfind import find_roots
from .service import RequestWork
from .tails import (
    HERMITE_NODES,
    HERMITE_WEIGHTS,
    CutExponential,
    ShiftedLognormal,
)

__all__ = ["FirstToken", "Load", "first_token"]

# Largest share of the time that prompts take: beyond it their queue has no steady state.
_LARGEST_SHARE = 0.98
_QUANTILE_TOLERANCE = 1e-7
# Least wait, in steps, of the few that wait: a mean that must not be zero.
_LEAST_WAIT = 1e-3
# A share of waiting requests below this is rounding.
_LEAST_WAITING = 1e-12
# Least part of a variance that is put down to prompts, so that it can be divided by.
_LEAST_PART = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load(Columns):
    """How busy a replica is, as its latencies see it.

    Attributes
    ----------
    prompt_share : ndarray, < 1
        Share of the time that goes to prompts, ρ = λ S.
    step_floor_s : ndarray
        Mean time of a step without prompts, A. [s]
    step_floor_variance_s2, step_floor_third_s3 : ndarray
        Its second and third central moment as requests come and go. [s², s³]
    budget_s : ndarray
        Time of the prompt tokens that fit into a step, C; +inf without a budget. [s]
    full_step_s : ndarray
        Mean time of a step, prompts included, with all slots taken. [s]
    full_prompt_share : ndarray, < 1
        Share of it for prompts.
    arrivals : ndarray, >= 1
        Index of dispersion of what arrives.
    rate_rps : ndarray
        Requests that are served. [requests/s]
    """

    prompt_share: FloatArray
    step_floor_s: FloatArray
    step_floor_variance_s2: FloatArray
    step_floor_third_s3: FloatArray
    budget_s: FloatArray
    full_step_s: FloatArray
    full_prompt_share: FloatArray
    arrivals: FloatArray
    rate_rps: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FirstToken:
    """Distribution of the time to first token inside the engine, columns over variants.

    With probability 1 - `waiting_ratio` it is `at_once`, stretched by the further steps
    of prompts that exceed one step's budget; else `wait` plus `after_wait`.

    Attributes
    ----------
    at_once, after_wait : ShiftedLognormal
    wait : CutExponential
        Of those who wait for a slot.
    waiting_ratio : ndarray
        Their share.
    stretch_from_s, stretch_ratio : ndarray
        Every second of prompts beyond the first brings so many of further steps.
    least_s, mean_s : ndarray
        No TTFT is shorter than one step; and the mean. [s]
    """

    at_once: ShiftedLognormal
    after_wait: ShiftedLognormal
    wait: CutExponential
    waiting_ratio: FloatArray
    stretch_from_s: FloatArray
    stretch_ratio: FloatArray
    least_s: FloatArray
    mean_s: FloatArray

    def take(self, rows: IntArray) -> "FirstToken":
        """Return the distributions of some rows."""
        return FirstToken(
            at_once=self.at_once.take(rows),
            after_wait=self.after_wait.take(rows),
            wait=self.wait.take(rows),
            waiting_ratio=self.waiting_ratio[rows],
            stretch_from_s=self.stretch_from_s[rows],
            stretch_ratio=self.stretch_ratio[rows],
            least_s=self.least_s[rows],
            mean_s=self.mean_s[rows],
        )

    def survival(self, t: FloatArray) -> FloatArray:
        """Return the probability of more than `t` seconds, shape (V,)."""
        beyond = np.maximum(t - self.stretch_from_s, 0.0)
        unstretched = t - beyond * self.stretch_ratio / (1.0 + self.stretch_ratio)
        left = t - self.after_wait.at(np.array(HERMITE_NODES)[:, None])
        waited = np.array(HERMITE_WEIGHTS) @ self.wait.survival(left)
        at_once = self.at_once.survival(unstretched)
        beyond_t = (1.0 - self.waiting_ratio) * at_once + self.waiting_ratio * waited
        return np.where(t < self.least_s, 1.0, beyond_t)

    def quantile(self, probability: FloatArray) -> FloatArray:
        """Return t with P(TTFT <= t) = `probability`, in (0, 1), shape (V,). [s]"""
        over = 1.0 - probability
        low, high = self._bracket(probability)

        def excess(t: FloatArray, rows: IntArray) -> FloatArray:
            """Return ln of what may be later than t less ln of what is: 0 at the quantile."""
            return np.log(over[rows]) - _safe_log(self.take(rows).survival(t))

        everything = np.arange(len(low))
        roots = find_roots(
            excess,
            low=low,
            high=high,
            low_value=np.minimum(excess(low, everything), 0.0),
            high_value=np.maximum(excess(high, everything), 0.0),
            x_tolerance=_QUANTILE_TOLERANCE,
        )
        return np.maximum(roots.x, self.least_s)

    def _bracket(self, probability: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return times that the quantile lies between."""
        over = 1.0 - probability
        once, after = self._stretched(probability), self.after_wait.quantile(probability)
        # A sum is beyond t only if a term is beyond its part of t: half the excess each.
        half = 1.0 - 0.5 * over
        waited = self.after_wait.quantile(half) + self.wait.quantile(half)
        high = np.maximum(once, waited)
        # Where far fewer wait than may be late, all who wait may be.
        few = self.waiting_ratio < 0.5 * over
        late = np.where(few, over - self.waiting_ratio, 0.5 * over)
        return np.minimum(once, after), np.where(few, self._stretched(1.0 - late), high)

    def _stretched(self, probability: FloatArray) -> FloatArray:
        t = self.at_once.quantile(probability)
        return t + self.stretch_ratio * np.maximum(t - self.stretch_from_s, 0.0)


def first_token(work: RequestWork, load: Load, stationary: Stationary) -> FirstToken:
    """Return the distribution of the time to first token, the profile's constant apart.

    Parameters
    ----------
    work : RequestWork, V rows
    load : Load, V rows
    stationary : Stationary, V rows

    Notes
    -----
    Prompts that exceed one step's budget of C seconds take more steps of A seconds: every
    second of them beyond C / 2 brings A / C more. How many there are is taken from the
    whole by linear regression. As long as prompts are queued their share of the time is
    ρ (1 + x A / C), with x, at most 1, the mean prompts per step over the budget.
    """
    rho, floor = load.prompt_share, load.step_floor_s
    ratio = floor / load.budget_s
    crowding = np.minimum(rho / (1.0 - rho) * ratio, 1.0) * (1.0 - stationary.waiting_ratio)
    share = np.minimum(rho * (1.0 + ratio * crowding), _LARGEST_SHARE)
    parts = _at_once(work, load, share)
    once = ShiftedLognormal.from_cumulants(parts.mean, parts.variance, parts.third)
    # Prompts, given the whole: their mean, and their part of what deviates from its mean.
    part = np.maximum(parts.prompt_variance / parts.variance, _LEAST_PART)
    start = parts.mean + (0.5 * load.budget_s - parts.prompt_mean) / part
    stretch = np.where(ratio > 0.0, ratio * part, 0.0)
    start = np.where(ratio > 0.0, start, 0.0)
    after = _after_wait(work, load)
    waiting = stationary.waiting_ratio
    wait_mean = stationary.mean_wait_s / np.maximum(waiting, _LEAST_WAITING)
    mean = (1.0 - waiting) * (parts.mean + stretch * once.mean_above(start))
    return FirstToken(
        at_once=once,
        after_wait=ShiftedLognormal.from_cumulants(*after),
        wait=CutExponential(
            mean=np.maximum(wait_mean, _LEAST_WAIT * load.full_step_s),
            slope=stationary.wait_slope,
        ),
        waiting_ratio=waiting,
        stretch_from_s=start,
        stretch_ratio=stretch,
        least_s=work.iteration_base_s,
        mean_s=mean + waiting * after[0] + stationary.mean_wait_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Parts(Columns):
    """First cumulants of a TTFT, and of the prompts' part of it."""

    mean: FloatArray
    variance: FloatArray
    third: FloatArray
    prompt_mean: FloatArray
    prompt_variance: FloatArray


def _at_once(work: RequestWork, load: Load, share: FloatArray) -> _Parts:
    """Return the cumulants of the TTFT of a request that finds a slot.

    Notes
    -----
    Steps are generations: a step of T seconds brings λ T prompts into the next one, which
    lasts A plus their work. Hence E[T] = A / (1 - ρ), Var(T) = λ E[T] E[S²] / (1 - ρ²);
    the prompts' part is taken as gamma distributed. An arrival falls into a step T* drawn
    by length, E[T*^k] = E[T^(k+1)] / E[T], at a uniform point, so that

        TTFT = U T* + A + S + (prompts that arrive in T*),

    the last a compound Poisson sum of mean ρ T*. The slow change of A moves all of it.
    Where arrivals come in bursts, all but that change grows as in `prompt_queue`.
    """
    s, shape = work.prefill_s, work.prompt_shape
    floor, rho = load.step_floor_s, load.prompt_share
    mean = floor / (1.0 - share)
    second = share * s * shape  # λ E[S²]
    third = share * s**2 * shape**3
    scale = s * shape / (1.0 - share**2)
    variance = share * scale * mean
    raw2 = variance + mean**2
    raw3 = 2.0 * variance * scale + 3.0 * mean * variance + mean**3
    raw4 = (
        3.0 * variance**2
        + 6.0 * variance * scale**2
        + 8.0 * mean * variance * scale
        + 6.0 * mean**2 * variance
        + mean**4
    )
    met1, met2, met3 = raw2 / mean, raw3 / mean, raw4 / mean
    # Moments of U + ρ, U uniform.
    u1, u2 = 0.5 + share, 1.0 / 3.0 + share + share**2
    u3 = 0.25 + share + 1.5 * share**2 + share**3
    g1 = u1 * met1
    g2 = u2 * met2 + second * met1
    g3 = u3 * met3 + 3.0 * second * u1 * met2 + third * met1
    lever = 1.0 + u1 / (1.0 - share)
    own1, own2, own3 = _prompt_cumulants(work)
    burst = _bursts(work, load, share)
    total = burst.mean * (g1 + floor + own1)
    return _Parts(
        mean=total,
        variance=burst.variance * (g2 - g1**2 + own2) + lever**2 * load.step_floor_variance_s2,
        third=burst.third * (g3 - 3.0 * g1 * g2 + 2.0 * g1**3 + own3)
        + lever**3 * load.step_floor_third_s3,
        prompt_mean=rho * met1 + own1 + total - (g1 + floor + own1),
        prompt_variance=burst.variance
        * (rho**2 * (met2 - met1**2) + rho * s * shape * met1 + own2),
    )


def _bursts(work: RequestWork, load: Load, share: FloatArray) -> BurstFactors:
    if np.all(load.arrivals == 1.0):
        alike = np.ones_like(share)
        return BurstFactors(mean=alike, variance=alike, third=alike)
    return burst_factors(
        work,
        rate_rps=load.rate_rps,
        share=share,
        step_floor_s=load.step_floor_s,
        budget_s=load.budget_s,
        arrivals=load.arrivals,
    )


def _after_wait(work: RequestWork, load: Load) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the cumulants of the step that computes the prompt of a request that waited.

    All slots are taken, the request starts with a step, and as many others with it as
    ended in the step before.
    """
    s, shape, step = work.prefill_s, work.prompt_shape, load.full_step_s
    others = load.full_prompt_share * step
    own1, own2, own3 = _prompt_cumulants(work)
    return (
        step + own1,
        # A slot frees at any point of a step, the chain's clock doesn't know which.
        own2 + others * s * shape + step**2 / 12.0,
        own3 + others * s**2 * shape**3,
    )


def _prompt_cumulants(work: RequestWork) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the cumulants of a prompt's work, lognormal by two moments."""
    s, shape = work.prefill_s, work.prompt_shape
    return s, s**2 * (shape - 1.0), s**3 * (shape**3 - 3.0 * shape + 2.0)


def _safe_log(x: FloatArray) -> FloatArray:
    return np.log(np.maximum(x, np.finfo(np.float64).tiny))
