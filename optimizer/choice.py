"""One candidate for each service, chosen together: the master problem, relaxed.

With y = 1 for the candidate that a service takes,

    min Σ value y   subject to   Σ y = 1 per service,   Σ units y <= capacity per resource.

Its linear relaxation knows that counts are whole, so it is far tighter than that of the
counts, and all but as many services as there are resources take one candidate outright.
Candidates are many and few matter: they are added while one would pay at the prices in force
(column generation, Dantzig and Wolfe 1960). At any prices p >= 0 what the services pay at
least, each alone, less p capacity, bounds every plan from below (Lagrange).
"""

from collections.abc import Callable
from dataclasses import dataclass

import highspy
import numpy as np

from .candidates import Candidates, nearest
from .domain import FloatArray, IntArray
from .lp_prices import solver

__all__ = ["Choice", "Pricer", "choose"]

_ROUNDS = 30
# Candidates of a service that are added at once.
_ADDED_EACH = 3
# The relaxed choice is as good as its bound within this part of it.
_CLOSE = 1e-6
# HiGHS's numbers of the simplex methods.
_DUAL, _PRIMAL = 1, 4

# Takes prices of resources, (R,), and limits per service, (S,); returns candidates whose priced
# value is below, and what none of a service undercuts.
Pricer = Callable[[FloatArray, FloatArray], tuple[Candidates, FloatArray]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The relaxed choice.

    Attributes
    ----------
    candidates : Candidates
    share : ndarray, shape (F,)
        How much of each is taken.
    price : ndarray, shape (R,)
        What one more unit of a resource would save. [currency/h]
    least : ndarray, shape (S,)
        What a service pays at least at these prices. [currency/h]
    bound : float
        What no plan undercuts, as far as the pricer knows all candidates. [currency/h]
    """

    candidates: Candidates
    share: FloatArray
    price: FloatArray
    least: FloatArray
    bound: float


def choose(
    first: Candidates,
    capacity: FloatArray,
    price: FloatArray,
    pricer: Pricer,
    plan: IntArray | None = None,
) -> Choice:
    """Return the relaxed choice; among `first` there is a plan that fits, `plan` if given."""
    master = _Master(first, capacity)
    if plan is not None:
        master.begin_with(first.rows_of(plan))
    bound, at, least = -np.inf, price, np.full(len(first.members.variant), -np.inf)
    for _ in range(_ROUNDS):
        price, due, value = master.solve()
        more, priced = pricer(price, due - _CLOSE * np.maximum(1.0, np.abs(due)))
        here = float(priced.sum() - price @ capacity)
        if here > bound:
            bound, at, least = here, price, priced
        if len(more.service) == 0 or value - bound <= _CLOSE * max(1.0, abs(value)):
            break
        paid = more.value + more.use @ price
        master.add(more.take(nearest(more.service, paid, _ADDED_EACH)))
    order = np.argsort(master.candidates.service, kind="stable")
    return Choice(
        candidates=master.candidates.take(order),
        share=master.share()[order],
        price=at,
        least=least,
        bound=bound,
    )


class _Master:
    """The restricted master problem and the candidates that are in it so far."""

    def __init__(self, first: Candidates, capacity: FloatArray) -> None:
        self.candidates = first
        self._services = len(first.members.variant)
        self._highs = solver()
        # Presolving takes longer than the few steps from one choice to the next.
        self._highs.setOptionValue("presolve", "off")
        lp = highspy.HighsLp()
        lp.num_row_ = self._services + len(capacity)
        lp.row_lower_ = np.concatenate([np.ones(self._services), np.full(len(capacity), -np.inf)])
        lp.row_upper_ = np.concatenate([np.ones(self._services), capacity])
        lp.a_matrix_.start_ = np.zeros(1, dtype=np.int32)
        self._highs.passModel(lp)
        self._enter(first)

    def begin_with(self, rows: IntArray) -> None:
        """Start from a whole choice that fits, one candidate for each service.

        Where little changed since the last plan that is a few steps from the answer. The basis
        is feasible and its prices are wrong, which is what the primal simplex is for.
        """
        status = highspy.HighsBasisStatus
        basis = highspy.HighsBasis()
        columns = np.full(len(self.candidates.service), status.kLower)
        columns[rows] = status.kBasic
        basis.col_status = columns.tolist()
        resources = self._highs.getNumRow() - self._services
        basis.row_status = [status.kLower] * self._services + [status.kBasic] * resources
        basis.valid = True
        self._highs.setBasis(basis)
        self._highs.setOptionValue("simplex_strategy", _PRIMAL)

    def add(self, more: Candidates) -> None:
        """Let candidates in."""
        self.candidates = self.candidates.followed_by(more)
        self._enter(more)

    def _enter(self, more: Candidates) -> None:
        count = len(more.service)
        start, index, values = more.entries()
        free = np.full(count, np.inf)
        self._highs.addCols(
            count, more.value, np.zeros(count), free, len(index), start[:-1], index, values
        )

    def solve(self) -> tuple[FloatArray, FloatArray, float]:
        """Return prices of resources, what each service is charged, and the value."""
        self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            # Lost on the way from where it began: once more, from nothing.
            self._highs.clearSolver()
            self._highs.setOptionValue("simplex_strategy", _DUAL)
            self._highs.run()
        dual = np.asarray(self._highs.getSolution().row_dual)
        value = float(self._highs.getInfo().objective_function_value)
        return np.maximum(-dual[self._services :], 0.0), dual[: self._services], value

    def share(self) -> FloatArray:
        """Return how much of each candidate is taken."""
        self._highs.run()
        return np.asarray(self._highs.getSolution().col_value)
