"""Robust fits of positive parameters, many small problems at once. Pure numpy.

Residuals are logarithms of predicted over observed, parameters move as logarithms: both
are relative errors, nothing can turn negative, and units cancel. Levenberg-Marquardt
steps on Huber's loss, whose threshold is the median residual, so that a wrong
observation pulls with a bounded force. Knows nothing of what is fitted.

The condition number of the Jacobian with respect to the logarithms says whether the
observations determine the parameters at all; the standard errors say how well, given
how far the observations scatter.

References: J. Nocedal and S. Wright, Numerical Optimization, 2nd ed., 2006, section 10.3;
P. Huber, Robust Statistics, 1981, section 7.8 (iteratively reweighted least squares).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, Columns, FloatArray

__all__ = ["LogFit", "Model", "fit_logarithms"]

# parameters (V, P) -> predictions (V, K, C) and their derivatives (V, K, C, P).
Model = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

# A parameter may differ from its center by this factor, and is called unbounded by the
# data when it ends there.
REACH = 100.0
_LARGEST_STEP = 1.5
_SMALLEST_SCALE = 2e-3
_HUBER = 1.0
_TOLERANCE = 1e-7
_RIDGE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogFit(Columns):
    """The result of each of V fits.

    Attributes
    ----------
    parameters : ndarray, shape (V, P)
    condition : ndarray, shape (V,)
        Condition number of the weighted Jacobian with respect to the logarithms of the
        free directions that didn't end at a bound; inf where they aren't determined.
    standard_error : ndarray, shape (V,)
        Largest standard error of a free direction, as a logarithm.
    error : ndarray, shape (V,)
        Weighted root mean square of the residuals, outliers bounded.
    at_bound : ndarray of bool, shape (V,)
        A free direction ended at the edge of its reach.
    """

    parameters: FloatArray
    condition: FloatArray
    standard_error: FloatArray
    error: FloatArray
    at_bound: BoolArray

    def __post_init__(self) -> None:
        """Accept the parameters' second axis, which columns don't have."""


def fit_logarithms(
    model: Model,
    *,
    observed: FloatArray,
    weight: FloatArray,
    center: FloatArray,
    start: FloatArray,
    basis: FloatArray,
    pull_to_center: FloatArray | float = 0.0,
    iterations: int = 40,
) -> LogFit:
    """Return the robust least-squares fit of each problem.

    Parameters
    ----------
    model : callable
        Predictions (V, K, C) and derivatives (V, K, C, P) at parameters (V, P); must be
        positive and finite within the reach of the parameters.
    observed : array, shape (V, K, C), > 0 where weighted
        K rows of C kinds of measurement; each kind has its own scale of residuals.
    weight : array, shape (V, K, C), >= 0
        0: not there.
    center : array, shape (V, P), > 0
        Where the reach of each parameter is centered.
    start : array, shape (V, P), > 0
        First guess, projected onto the free directions.
    basis : array, shape (P, Q)
        Column q is a free direction: ln(parameters / center) = basis @ free.
    pull_to_center : float or array, shape (V,), >= 0
        Added to the loss as this times |free|²: prior knowledge that decides where the
        observations don't. Not part of the condition and of the errors returned.
    iterations : int
        Steps at most; 0 evaluates the start.

    Returns
    -------
    LogFit
    """
    pull_back = np.broadcast_to(pull_to_center, (len(center),))[:, None]
    inverse = np.linalg.pinv(basis)
    free = _within(np.log(start / center) @ inverse.T)
    damping = np.full(len(free), 1e-3)
    state = _evaluate(model, free, center, basis, observed, weight)
    for _ in range(iterations):
        scaled = state.jacobian * state.pull[..., None]
        normal = np.einsum("vrq,vrs->vqs", scaled, state.jacobian)
        normal += pull_back[:, :, None] * np.eye(basis.shape[1])
        gradient = np.einsum("vrq,vr->vq", scaled, state.residual) + pull_back * free
        trial = _within(free + _step(normal, gradient, damping))
        after = _evaluate(model, trial, center, basis, observed, weight)
        before_cost = _cost(state.pull, state.residual, pull_back, free)
        after_cost = _cost(state.pull, after.residual, pull_back, trial)
        better = after_cost <= before_cost
        damping = np.clip(np.where(better, damping / 4.0, damping * 6.0), 1e-12, 1e6)
        moved = np.where(better, np.abs(trial - free).max(axis=1, initial=0.0), np.inf)
        free = np.where(better[:, None], trial, free)
        state = state.replaced_where(better, after)
        if np.all((moved < _TOLERANCE) | (damping >= 1e6)):
            break
    return _result(free, state, center, basis, weight)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """Residuals (V, R), their derivatives (V, R, Q) and robust weights (V, R), R = K C."""

    residual: FloatArray
    jacobian: FloatArray
    pull: FloatArray

    def replaced_where(self, better: BoolArray, other: "_State") -> "_State":
        if better.all():
            return other
        return _State(
            residual=np.where(better[:, None], other.residual, self.residual),
            jacobian=np.where(better[:, None, None], other.jacobian, self.jacobian),
            pull=np.where(better[:, None], other.pull, self.pull),
        )


def _evaluate(
    model: Model,
    free: FloatArray,
    center: FloatArray,
    basis: FloatArray,
    observed: FloatArray,
    weight: FloatArray,
) -> _State:
    parameters = center * np.exp(free @ basis.T)
    predicted, slope = model(parameters)
    there = weight > 0
    ratio = np.where(there, predicted / np.where(there, observed, 1.0), 1.0)
    residual = np.log(ratio)
    relative = slope * parameters[:, None, None, :] / predicted[..., None]
    jacobian = np.where(there[..., None], relative, 0.0) @ basis
    size = np.abs(residual)
    median = np.sort(np.where(there, size, np.inf), axis=1)
    middle = (np.maximum(there.sum(axis=1, keepdims=True), 1) - 1) // 2
    scale = np.take_along_axis(median, middle, axis=1)
    scale = np.maximum(_HUBER * np.where(np.isfinite(scale), scale, 0.0), _SMALLEST_SCALE)
    pull = weight * np.minimum(1.0, scale / np.maximum(size, scale))
    shape = (len(free), -1)
    return _State(
        residual=residual.reshape(shape),
        jacobian=jacobian.reshape(*shape, basis.shape[1]),
        pull=pull.reshape(shape),
    )


def _cost(
    pull: FloatArray, residual: FloatArray, pull_back: FloatArray, free: FloatArray
) -> FloatArray:
    """Return the loss with the robust weights held: what a step has to lower."""
    total = (pull * residual**2).sum(axis=1) + (pull_back * free**2).sum(axis=1)
    return np.asarray(total, dtype=np.float64)


def _within(free: FloatArray) -> FloatArray:
    return np.clip(free, -np.log(REACH), np.log(REACH))


def _step(normal: FloatArray, gradient: FloatArray, damping: FloatArray) -> FloatArray:
    """Return damped Gauss-Newton steps, shape (V, Q)."""
    diagonal = np.einsum("vqq->vq", normal)
    added = damping[:, None] * diagonal + _RIDGE * (1.0 + diagonal.max(axis=1, keepdims=True))
    damped = normal + added[:, :, None] * np.eye(normal.shape[1])
    step: FloatArray = -np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    return np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)


def _result(
    free: FloatArray, state: _State, center: FloatArray, basis: FloatArray, weight: FloatArray
) -> LogFit:
    flat = weight.reshape(len(free), -1)
    bounded = np.abs(free) >= np.log(REACH) * (1.0 - 1e-9)
    jacobian = np.sqrt(flat)[..., None] * np.where(bounded[:, None, :], 0.0, state.jacobian)
    determined = (~bounded).sum(axis=1)
    rows = (flat > 0).sum(axis=1)
    values = _singular_values(jacobian)
    smallest = np.take_along_axis(values, np.maximum(determined - 1, 0)[:, None], axis=1)[:, 0]
    known = (determined > 0) & (rows >= determined) & (smallest > 0)
    condition = np.divide(
        values[:, 0], smallest, out=np.full(len(free), np.inf), where=known & (smallest > 1e-300)
    )
    cost = (state.pull * state.residual**2).sum(axis=1)
    spread = cost / np.maximum(rows - determined, 1)
    return LogFit(
        parameters=center * np.exp(free @ basis.T),
        condition=condition,
        standard_error=np.divide(
            np.sqrt(spread), smallest, out=np.full(len(free), np.inf), where=np.isfinite(condition)
        ),
        error=np.sqrt(cost / np.maximum(state.pull.sum(axis=1), 1e-300)),
        at_bound=bounded.any(axis=1),
    )


def _singular_values(jacobian: FloatArray) -> FloatArray:
    """Return singular values in falling order, shape (V, Q), zeros for missing rows."""
    values = np.asarray(np.linalg.svd(jacobian, compute_uv=False), dtype=np.float64)
    missing = jacobian.shape[2] - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing))) if missing > 0 else values
