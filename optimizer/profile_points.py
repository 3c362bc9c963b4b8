"""Observed operating points of replicas, and the law fitted to them. Pure.

Joins the law (`operating_point`) with the numerics (`least_squares`); what to make of a
fit, and whether to believe it, is decided in `profile_fit`.
"""

from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .least_squares import LogFit, Model, fit_logarithms
from .operating_point import step_at_rate
from .step_law import Load, design

__all__ = ["TTFT_WEIGHT", "FitProblem", "Points"]

# A mean TTFT holds what the law doesn't know (network, tokenizer, output handling): its
# residuals scatter about twice as far as those of ITL, in every data set at hand.
TTFT_WEIGHT = 0.25


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
    ttft_weight : float or ndarray, shape (V,)
        Of a mean TTFT, where a mean ITL has 1.
    """

    points: Points
    anchor: FloatArray
    hold: FloatArray
    start: FloatArray
    dispersion: float
    ttft_weight: FloatArray | float = TTFT_WEIGHT

    def take(self, rows: IntArray) -> "FitProblem":
        """Return the problem of some replicas."""
        return FitProblem(
            points=self.points.take(rows),
            anchor=self.anchor[rows],
            hold=self.hold[rows],
            start=self.start[rows],
            dispersion=self.dispersion,
            ttft_weight=np.broadcast_to(self.ttft_weight, len(self.anchor))[rows],
        )

    def fit(self, basis: FloatArray, *, held: bool = False, iterations: int = 40) -> LogFit:
        """Return the fit along the columns of `basis`; if `held`, the seed takes part."""
        observed, weight = self._measured()
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

    def evaluated(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return residuals (V, K, 2), derivatives (V, K, 2, 5) and weights at `parameters`.

        Of ln(predicted / observed), by ln(parameters); 0 where nothing was measured.
        """
        observed, weight = self._measured()
        predicted, slopes = self.model()(parameters, np.arange(len(parameters)))
        there = weight > 0
        ratio = np.where(there, predicted / np.where(there, observed, 1.0), 1.0)
        relative = slopes / predicted[..., None] * parameters[:, None, None, :]
        return np.log(ratio), np.where(there[..., None], relative, 0.0), weight

    def _measured(self) -> tuple[FloatArray, FloatArray]:
        """Return ITL and TTFT of each point, and their weights, shape (V, K, 2)."""
        points = self.points
        observed = np.stack([points.itl_s, points.ttft_s], axis=-1)
        there = np.isfinite(observed) & (points.weight[..., None] > 0)
        of_ttft = np.broadcast_to(self.ttft_weight, len(observed))
        kinds = np.stack([np.ones_like(of_ttft), of_ttft], axis=-1)[:, None, :]
        return observed, np.where(there, points.weight[..., None] * kinds, 0.0)

    def model(self) -> Model:
        """Return the law at the observed loads, and its derivatives, as functions of θ.

        Where the number that decodes was measured, the law is linear: its coefficients
        come from what was measured. Where it wasn't, it follows from the rate and moves
        with θ.
        """
        measured = np.isfinite(self.points.decoding_requests) & np.isfinite(self.points.itl_s)
        if np.all(measured | (self.points.weight <= 0)):
            return self._by_concurrency()
        return self._by_rate(measured)

    def _by_concurrency(self) -> Model:
        points = self.points
        law = design(
            points.load,
            step_s=points.itl_s,
            decoding_requests=points.decoding_requests,
            dispersion=self.dispersion,
        )

        def predicted(parameters: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
            theta, here = parameters[:, None, :], law.take(rows)
            itl, ttft = here.latencies_s(theta)
            slopes, by_itl = here.ttft_slopes(theta, itl)
            d_ttft = slopes + by_itl[..., None] * here.itl
            return np.stack([itl, ttft], axis=-1), np.stack([here.itl, d_ttft], axis=-2)

        return predicted

    def _by_rate(self, measured: BoolArray) -> Model:
        per_request = self.points.load.arrival_rate_rps * self.points.load.decode_steps

        def predicted(parameters: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
            theta, known = parameters[:, None, :], measured[rows]
            points, each_rps = self.points.take(rows), per_request[rows]
            load = points.load
            by_rate, stretch = step_at_rate(theta, load, dispersion=self.dispersion)
            step_s = np.where(known, points.itl_s, by_rate)
            law = design(
                load,
                step_s=step_s,
                decoding_requests=np.where(known, points.decoding_requests, each_rps * step_s),
                dispersion=self.dispersion,
            )
            itl, ttft = law.latencies_s(theta)
            slopes, by_itl = law.ttft_slopes(theta, itl)
            # A longer step delays a first token by what decodes and starts beside it, and
            # by being met more often; prompts bunch less on longer steps.
            decode = theta[..., 1] + load.context_tokens * theta[..., 3]
            started = self.dispersion * load.arrival_rate_rps * load.prompt_tokens
            met = (0.5 - law.half_busy) * by_itl / np.maximum(law.half_busy, 1e-12) * step_s
            beside = law.half_busy + each_rps * (decode + met) + started * theta[..., 2]
            d_itl = law.itl * np.where(known, 1.0, stretch)[..., None]
            d_ttft = slopes + np.where(known, by_itl, beside)[..., None] * d_itl
            return (
                np.stack([np.where(known, itl, by_rate), ttft], axis=-1),
                np.stack([d_itl, d_ttft], axis=-2),
            )

        return predicted
