"""Observed operating points of replicas, and the law fitted to them. Pure.

Joins the law (`operating_point`) with the numerics (`least_squares`); what to make of a
fit, and whether to believe it, is decided in `profile_fit`.
"""

from dataclasses import dataclass

import numpy as np

from .domain import FloatArray, IntArray
from .least_squares import LogFit, Model, fit_logarithms
from .operating_point import Load, design, step_at_rate

__all__ = ["FitProblem", "Points"]

# A mean TTFT holds what the law doesn't know (network, tokenizer, output handling): its
# residuals scatter about twice as far as those of ITL, in every data set at hand.
_TTFT_WEIGHT = 0.25


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
class FitProblem:
    """What is fitted: points, and the seed that holds what they leave open.

    Attributes
    ----------
    points : Points
    anchor, start : ndarray, shape (V, 5)
        The seed, and where the search starts.
    hold : ndarray, shape (V,)
        How hard the seed holds what the observations leave open.
    dispersion : float in [0, 1]
        Variance-to-mean ratio of the number in system.
    """

    points: Points
    anchor: FloatArray
    hold: FloatArray
    start: FloatArray
    dispersion: float

    def fit(self, basis: FloatArray, *, held: bool = False, iterations: int = 40) -> LogFit:
        """Return the fit along the columns of `basis`; if `held`, the seed takes part."""
        points = self.points
        observed = np.stack([points.itl_s, points.ttft_s], axis=-1)
        there = np.isfinite(observed) & (points.weight[..., None] > 0)
        weight = np.where(there, points.weight[..., None] * np.array([1.0, _TTFT_WEIGHT]), 0.0)
        return fit_logarithms(
            self.model(),
            observed=observed,
            weight=weight,
            center=self.anchor,
            start=self.start,
            basis=basis,
            pull_to_center=self.hold if held else np.zeros_like(self.hold),
            iterations=iterations,
        )

    def model(self) -> Model:
        """Return the law at the observed loads, and its derivatives, as functions of θ.

        Where the number that decodes was measured, the law is linear: its coefficients
        come from what was measured. Where it wasn't, it follows from the rate and moves
        with θ.
        """
        points, load, dispersion = self.points, self.points.load, self.dispersion
        measured = np.isfinite(points.decoding_requests)
        per_request = load.arrival_rate_rps * load.decode_steps

        def predicted(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
            theta = parameters[:, None, :]
            by_rate, stretch = step_at_rate(theta, load, dispersion=dispersion)
            seen = measured & np.isfinite(points.itl_s)
            step_s = np.where(seen, points.itl_s, by_rate)
            decoding = np.where(measured, points.decoding_requests, per_request * step_s)
            rows = design(load, step_s=step_s, decoding_requests=decoding, dispersion=dispersion)
            itl, ttft = rows.latencies_s(theta)
            # A longer step delays a first token by what decodes and starts beside it, and
            # by being met more often.
            each = theta[..., 1] + load.context_tokens * theta[..., 3]
            started = load.arrival_rate_rps * load.prompt_tokens * theta[..., 2]
            met = (0.5 - rows.half_busy) * step_s
            beside = per_request * (each + met) + dispersion * started
            by_step = rows.half_busy + np.where(measured, 0.0, beside)
            d_itl = rows.itl * np.where(measured, 1.0, stretch)[..., None]
            d_ttft = rows.ttft + by_step[..., None] * d_itl
            return (
                np.stack([np.where(measured, itl, by_rate), ttft], axis=-1),
                np.stack([d_itl, d_ttft], axis=-2),
            )

        return predicted
