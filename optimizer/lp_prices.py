"""The linear relaxation: a bound, a point near the integer optimum, and prices of resources.

A resource's price is its dual value: what one more GPU would save. At these prices the
services no longer depend on each other, so each can be decided alone.
"""

from dataclasses import dataclass

import highspy
import numpy as np
from highspy._core import _Highs

from .domain import BoolArray, FloatArray, IntArray
from .problem import Problem

__all__ = ["LinearModel", "Relaxed", "build_linear_model", "relaxed", "solver"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearModel:
    """Columns are replicas that are kept, replicas that are added, then unmet shares.

    The price of change is convex, so one count is two columns: up to what is there a
    replica costs its price less that of stopping it, beyond its price and that of a start.
    """

    lp: highspy.HighsLp
    variant: IntArray  # of the first columns
    kept: BoolArray  # which of them are kept replicas
    services: int
    constant: float
    demand_rows: int

    def counts(self, values: FloatArray, problem: Problem) -> FloatArray:
        """Return replicas per variant of a solver's solution, shape (V,)."""
        part = values[: len(self.variant)]
        return np.bincount(self.variant, weights=part, minlength=len(problem.service)).astype(
            np.float64
        )

    def values(self, counts: IntArray, problem: Problem) -> FloatArray:
        """Return the solver's columns of a plan."""
        beyond = np.maximum(counts - problem.kept, 0)
        part = np.where(self.kept, np.minimum(counts, problem.kept)[self.variant], 0)
        part = np.where(self.kept, part, beyond[self.variant])
        return np.concatenate([part, problem.unmet(counts)]).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxed:
    """The relaxation's optimum: counts (V,), a price per resource (R,), its objective."""

    counts: FloatArray
    price: FloatArray
    bound: float


def build_linear_model(problem: Problem, penalty: FloatArray) -> LinearModel:
    """Return the relaxation with `penalty` [currency/h] for a wholly unmet service, (S,)."""
    count = len(problem.service)
    kept = problem.kept
    usable = np.where(problem.rate_rps > 0, problem.highest, kept)
    every = np.arange(count)
    grows = np.flatnonzero(usable > kept)
    variant = np.concatenate([every, grows])
    lower = np.concatenate([problem.lowest, np.zeros(len(grows), dtype=np.int64)])
    upper = np.concatenate([kept, (usable - kept)[grows]])
    cost = np.concatenate(
        [
            problem.cost_per_hour - problem.stop_per_hour,
            (problem.cost_per_hour + problem.start_per_hour)[grows],
        ]
    )
    services, roles = problem.demand_rps.shape
    wanted = problem.demand_rps.ravel() > 0
    row_of = np.cumsum(wanted) - 1
    demand = problem.demand_rps.ravel()[wanted]
    slot = (problem.service * roles + problem.role)[variant]
    carries = wanted[slot] & (problem.rate_rps[variant] > 0)
    columns = np.arange(len(variant))
    entries = [
        (row_of[slot[carries]], columns[carries], problem.rate_rps[variant[carries]]),
        (
            np.arange(len(demand)),
            len(variant) + np.flatnonzero(wanted) // roles,
            demand,
        ),
        *_resource_entries(problem, variant, len(demand)),
    ]
    lp = highspy.HighsLp()
    lp.num_col_ = len(variant) + services
    lp.num_row_ = len(demand) + len(problem.uses.capacity)
    lp.col_cost_ = np.concatenate([cost, penalty])
    lp.col_lower_ = np.concatenate([lower, np.zeros(services)]).astype(np.float64)
    lp.col_upper_ = np.concatenate([upper, np.ones(services)]).astype(np.float64)
    lp.row_lower_ = np.concatenate([demand, np.full(len(problem.uses.capacity), -np.inf)])
    lp.row_upper_ = np.concatenate([np.full(len(demand), np.inf), problem.capacity])
    _fill_matrix(lp, entries)
    return LinearModel(
        lp=lp,
        variant=variant,
        kept=np.arange(len(variant)) < count,
        services=services,
        constant=float((problem.stop_per_hour * problem.current).sum()),
        demand_rows=len(demand),
    )


def _resource_entries(
    problem: Problem, variant: IntArray, first_row: int
) -> list[tuple[IntArray, IntArray, FloatArray]]:
    """Return the entries of the resources' rows, for both columns of each variant."""
    uses, count = problem.uses, len(problem.service)
    beyond = np.full(count, -1)
    beyond[variant[count:]] = np.arange(count, len(variant))
    second = beyond[uses.variant]
    has = second >= 0
    row = first_row + uses.resource
    return [(row, uses.variant, uses.units), (row[has], second[has], uses.units[has])]


def _fill_matrix(lp: highspy.HighsLp, entries: list[tuple[IntArray, IntArray, FloatArray]]) -> None:
    row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    order = np.lexsort((row, column))
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.concatenate(
        [[0], np.cumsum(np.bincount(column, minlength=lp.num_col_))]
    ).astype(np.int32)
    lp.a_matrix_.index_ = row[order].astype(np.int32)
    lp.a_matrix_.value_ = value[order]


def solver() -> _Highs:
    """Return a silent HiGHS with one thread and a fixed seed: same input, same answer.

    The class beneath `highspy.Highs`: that one prints a banner before it can be silenced.
    """
    highs = _Highs()
    for name, value in (("output_flag", False), ("threads", 1), ("random_seed", 1)):
        highs.setOptionValue(name, value)
    return highs


def relaxed(problem: Problem, penalty: FloatArray) -> Relaxed:
    """Solve the relaxation; it always has a solution, since unmet demand is one."""
    model = build_linear_model(problem, penalty)
    highs = solver()
    highs.passModel(model.lp)
    highs.run()
    found = highs.getSolution()
    dual = np.asarray(found.row_dual)[model.demand_rows :]
    return Relaxed(
        counts=model.counts(np.asarray(found.col_value), problem),
        price=np.maximum(-dual, 0.0),
        bound=float(highs.getInfo().objective_function_value) + model.constant,
    )
