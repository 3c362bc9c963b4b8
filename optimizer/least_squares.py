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

from .domain import BoolArray, Columns, FloatArray, IntArray

__all__ = ["LogFit", "Model", "fit_logarithms"]

# Parameters (N, P) of N of the problems, and which -> predictions (N, K, C) and their
# derivatives (N, K, C, P).
Model = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]

# A parameter may differ from its center by this factor, and is called unbounded by the
# data when it ends there.
REACH = 100.0
_LARGEST_STEP = 1.5
_SMALLEST_SCALE = 2e-3
_TOLERANCE = 1e-6
_GIVEN_UP = 1e6
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
        Predictions (N, K, C) and derivatives (N, K, C, P) at parameters (N, P) of the
        problems in the rows (N,); positive and finite within the parameters' reach.
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
    problem = _Problem(
        model=model,
        observed=observed,
        weight=weight,
        center=center,
        basis=basis,
        pull_back=np.broadcast_to(pull_to_center, (len(center),))[:, None],
    )
    free = _within(np.log(start / center) @ np.linalg.pinv(basis).T)
    state = problem.evaluate(free, np.arange(len(free)))
    damping = np.full(len(free), 1e-3)
    live = np.arange(len(free))
    for _ in range(iterations):
        if len(live) == 0:
            break
        moved = _advance(problem, state, free, damping, live)
        live = live[(moved > _TOLERANCE) & (damping[live] < _GIVEN_UP)]
    return _result(problem, state, free)


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """Residuals (V, R), their derivatives (V, R, Q) and robust weights (V, R), R = K C."""

    residual: FloatArray
    jacobian: FloatArray
    pull: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Problem:
    """V fits with the same model and the same free directions."""

    model: Model
    observed: FloatArray
    weight: FloatArray
    center: FloatArray
    basis: FloatArray
    pull_back: FloatArray

    def evaluate(self, free: FloatArray, rows: IntArray) -> _State:
        """Return residuals and all of `rows` where their directions have come to `free`."""
        parameters = self.center[rows] * np.exp(free @ self.basis.T)
        predicted, slope = self.model(parameters, rows)
        weight = self.weight[rows]
        there = weight > 0
        ratio = np.where(there, predicted / np.where(there, self.observed[rows], 1.0), 1.0)
        residual = np.log(ratio)
        relative = np.where(there, 1.0 / predicted, 0.0)[..., None] * slope
        directions = parameters[:, :, None] * self.basis
        size = np.abs(residual)
        pull = weight * np.minimum(1.0, _scale(size, there) / np.maximum(size, 1e-300))
        flat = (len(rows), -1)
        return _State(
            residual.reshape(flat),
            relative.reshape(*flat, len(self.basis)) @ directions,
            pull.reshape(flat),
        )

    def cost(
        self, pull: FloatArray, residual: FloatArray, free: FloatArray, rows: IntArray
    ) -> FloatArray:
        """Return the loss with the robust weights held: what a step has to lower."""
        held = self.pull_back[rows] * free**2
        total = (pull * residual**2).sum(axis=1) + held.sum(axis=1)
        return np.asarray(total, dtype=np.float64)


def _scale(size: FloatArray, there: BoolArray) -> FloatArray:
    """Return Huber's threshold for each kind of measurement, shape (V, 1, C)."""
    ordered = np.sort(np.where(there, size, np.inf), axis=1)
    middle = (np.maximum(there.sum(axis=1, keepdims=True), 1) - 1) // 2
    median = np.take_along_axis(ordered, middle, axis=1)
    return np.maximum(np.where(np.isfinite(median), median, 0.0), _SMALLEST_SCALE)


def _advance(
    problem: _Problem, state: _State, free: FloatArray, damping: FloatArray, live: IntArray
) -> FloatArray:
    """Take one step of the fits that are `live`, in place; return how far each went."""
    jacobian, residual, pull = state.jacobian[live], state.residual[live], state.pull[live]
    weighted = np.swapaxes(jacobian * pull[..., None], 1, 2)
    hold = problem.pull_back[live]
    normal = weighted @ jacobian + hold[:, :, None] * np.eye(jacobian.shape[2])
    gradient = (weighted @ residual[..., None])[..., 0] + hold * free[live]
    trial = _within(free[live] + _step(normal, gradient, damping[live]))
    after = problem.evaluate(trial, live)
    before_cost = problem.cost(pull, residual, free[live], live)
    better = problem.cost(pull, after.residual, trial, live) <= before_cost
    moved = np.where(better, np.abs(trial - free[live]).max(axis=1, initial=0.0), np.inf)
    damping[live] = np.clip(damping[live] * np.where(better, 0.25, 6.0), 1e-12, _GIVEN_UP)
    rows = live[better]
    free[rows] = trial[better]
    state.residual[rows] = after.residual[better]
    state.jacobian[rows] = after.jacobian[better]
    state.pull[rows] = after.pull[better]
    return moved


def _within(free: FloatArray) -> FloatArray:
    return np.clip(free, -np.log(REACH), np.log(REACH))


def _step(normal: FloatArray, gradient: FloatArray, damping: FloatArray) -> FloatArray:
    """Return damped Gauss-Newton steps, shape (V, Q)."""
    diagonal = np.diagonal(normal, axis1=1, axis2=2)
    added = damping[:, None] * diagonal + _RIDGE * (1.0 + diagonal.max(axis=1, keepdims=True))
    damped = normal + added[:, :, None] * np.eye(normal.shape[1])
    step: FloatArray = -np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    return np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)


def _result(problem: _Problem, state: _State, free: FloatArray) -> LogFit:
    flat = problem.weight.reshape(len(free), -1)
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
        parameters=problem.center * np.exp(free @ problem.basis.T),
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
