"""One candidate for each service, chosen together: the master problem.

With y = 1 for the candidate that a service takes,

    min Σ value y   subject to   Σ y = 1 per service,   Σ units y <= capacity per resource.

Its linear relaxation knows that counts are whole, so it is far tighter than that of the
counts, and all but as many services as there are resources take one candidate outright.
Candidates are many and few matter: they are added while one would pay at the prices in force
(column generation, Dantzig and Wolfe 1960). What stays split is decided by the exact solver
over the candidates that nearly pay.
"""

from dataclasses import dataclass

import highspy
import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .lp_prices import solver
from .neighborhood import Neighborhood
from .problem import SLACK, Problem

__all__ = ["Choice", "choose"]

_ROUNDS = 15
_WHOLE = 1.0 - 1e-6
# Candidates that the exact solver may choose from, and its nodes.
_MOST_CANDIDATES = 600
_NODES = 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """Counts that fit and the relaxed ones, (V,), prices of resources, (R,), and a value.

    No choice among the same candidates has a smaller value than `value`. [currency/h]
    """

    counts: IntArray
    point: FloatArray
    price: FloatArray
    value: float


def choose(
    problem: Problem, found: list[Neighborhood], resource_price: FloatArray, *plans: IntArray
) -> Choice:
    """Return the candidates that fit together best; `plans` are known to fit."""
    master = _Master(problem, found)
    for plan in (problem.lowest, *plans):
        master.add(master.of_plan(plan))
    price = resource_price
    master.add(master.best(price)[0])
    for _ in range(_ROUNDS):
        price, due = master.solve()
        picks, value = master.best(price)
        if not master.add(picks, only=value < due - 1e-7 * np.maximum(1.0, np.abs(due))):
            break
    point, least = master.point(), master.value()
    return Choice(counts=master.whole(), point=point, price=price, value=least)


class _Master:
    """The restricted master problem and the candidates that are in it so far."""

    def __init__(self, problem: Problem, found: list[Neighborhood]) -> None:
        self._problem, self._found = problem, found
        self._services = np.concatenate([part.services for part in found])
        self._first = np.cumsum([0, *(len(part.services) for part in found)])
        self._row = np.argsort(self._services)  # of a service's convexity row: sorted services
        self._row_of = np.argsort(self._row)
        self._part: list[IntArray] = []
        self._pick: list[IntArray] = []
        self._where: list[IntArray] = []
        self._known: set[tuple[int, int]] = set()
        self._values: list[FloatArray] = []
        self._uses = [_units(problem, part) for part in found]
        count, resources = len(self._services), len(problem.uses.capacity)
        self._highs = solver()
        lp = highspy.HighsLp()
        lp.num_row_ = count + resources
        lp.row_lower_ = np.concatenate([np.ones(count), np.full(resources, -np.inf)])
        lp.row_upper_ = np.concatenate([np.ones(count), problem.capacity])
        lp.a_matrix_.start_ = np.zeros(1, dtype=np.int32)
        self._highs.passModel(lp)

    def best(self, price: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return each service's best candidate at these prices, and its priced value."""
        paid = self._problem.uses.price(price, len(self._problem.service))
        picks, values = [], []
        for part in self._found:
            priced = part.priced(paid)
            pick = priced.argmin(axis=1)
            picks.append(pick)
            values.append(priced[np.arange(len(pick)), pick])
        return np.concatenate(picks), np.concatenate(values)

    def of_plan(self, plan: IntArray) -> IntArray:
        """Return the candidate of each service that has a plan's counts; it is among them."""
        return np.concatenate(
            [
                (part.counts == plan[part.members][:, None, :]).all(axis=2).argmax(axis=1)
                for part in self._found
            ]
        )

    def add(self, picks: IntArray, only: BoolArray | None = None) -> bool:
        """Add candidates that aren't in yet; say whether there were any."""
        wanted = np.arange(len(picks)) if only is None else np.flatnonzero(only)
        new = [w for w in wanted.tolist() if (w, int(picks[w])) not in self._known]
        if not new:
            return False
        rows = np.array(new)
        self._known.update((w, int(picks[w])) for w in new)
        self._add_columns(rows, picks[rows])
        return True

    def _add_columns(self, rows: IntArray, picks: IntArray) -> None:
        part_of = np.searchsorted(self._first, rows, side="right") - 1
        order = np.argsort(part_of, kind="stable")
        rows, picks, part_of = rows[order], picks[order], part_of[order]
        value, entries = [], []
        for index in np.unique(part_of):
            mine = part_of == index
            local, pick = rows[mine] - self._first[index], picks[mine]
            value.append(self._found[index].value[local, pick])
            counts = self._found[index].counts[local, pick]
            entries.append(np.einsum("gk,gkr->gr", counts, self._uses[index][local]))
        cost, use = np.concatenate(value), np.concatenate(entries)
        services = len(self._services)
        dense = use != 0
        start = np.concatenate([[0], np.cumsum(1 + dense.sum(axis=1))])
        index = np.empty(start[-1], dtype=np.int32)
        values = np.empty(start[-1])
        index[start[:-1]], values[start[:-1]] = self._row_of[rows], 1.0
        rest = np.ones(start[-1], dtype=np.bool_)
        rest[start[:-1]] = False
        index[rest] = services + np.nonzero(dense)[1]
        values[rest] = use[dense]
        count = len(rows)
        self._highs.addCols(
            count,
            cost,
            np.zeros(count),
            np.full(count, np.inf),
            int(start[-1]),
            start[:-1].astype(np.int32),
            index,
            values,
        )
        self._where.append(rows)
        self._pick.append(picks)

    def solve(self) -> tuple[FloatArray, FloatArray]:
        """Return the prices of resources and what each service is charged for, as rows."""
        self._highs.run()
        dual = np.asarray(self._highs.getSolution().row_dual)
        services = len(self._services)
        return np.maximum(-dual[services:], 0.0), dual[:services][self._row_of]

    def value(self) -> float:
        """Return the relaxed optimum. [currency/h]"""
        return float(self._highs.getInfo().objective_function_value)

    def point(self) -> FloatArray:
        """Return the relaxed counts: candidates mixed by their parts, shape (V,)."""
        taken = np.asarray(self._highs.getSolution().col_value)
        rows, picks = np.concatenate(self._where), np.concatenate(self._pick)
        part_of = np.searchsorted(self._first, rows, side="right") - 1
        counts = np.zeros(len(self._problem.service))
        for index, part in enumerate(self._found):
            mine = part_of == index
            local = rows[mine] - self._first[index]
            mixed = taken[mine, None] * part.counts[local, picks[mine]]
            np.add.at(counts, part.members[local].ravel(), mixed.ravel())
        return counts

    def whole(self) -> IntArray:
        """Return whole counts: candidates taken outright, the rest by the exact solver."""
        solution = self._highs.getSolution()
        taken, reduced = np.asarray(solution.col_value), np.asarray(solution.col_dual)
        rows, picks = np.concatenate(self._where), np.concatenate(self._pick)
        if np.all((taken > _WHOLE) | (taken < 1.0 - _WHOLE)):
            return self._counts(rows[taken > 0.5], picks[taken > 0.5])
        fits = self.of_plan(self._problem.lowest)
        near = np.argsort(np.where(taken > SLACK, -1.0, reduced), kind="stable")
        kept = np.zeros(len(rows), dtype=np.bool_)
        kept[near[:_MOST_CANDIDATES]] = True
        kept |= (taken > SLACK) | (picks == fits[rows])
        columns = np.arange(len(rows))
        self._highs.changeColsBounds(
            len(rows), columns.astype(np.int32), np.zeros(len(rows)), np.where(kept, 1.0, 0.0)
        )
        self._highs.changeColsIntegrality(
            len(rows),
            columns.astype(np.int32),
            np.full(len(rows), int(highspy.HighsVarType.kInteger), dtype=np.uint8),
        )
        self._highs.setOptionValue("mip_max_nodes", _NODES)
        self._highs.setOptionValue("mip_rel_gap", 1e-4)
        self._highs.run()
        taken = np.asarray(self._highs.getSolution().col_value)
        if len(taken) != len(rows) or not np.isfinite(taken).all():
            return self._problem.lowest.copy()
        on = taken > 0.5
        return self._counts(rows[on], picks[on])

    def _counts(self, rows: IntArray, picks: IntArray) -> IntArray:
        counts = self._problem.lowest.copy()
        part_of = np.searchsorted(self._first, rows, side="right") - 1
        for index, part in enumerate(self._found):
            mine = part_of == index
            local = rows[mine] - self._first[index]
            counts[part.members[local]] = part.counts[local, picks[mine]]
        return counts


def _units(problem: Problem, part: Neighborhood) -> FloatArray:
    """Return the units of each resource that a replica of each member takes, (G, k, R)."""
    uses = problem.uses
    matrix = np.zeros((len(problem.service), len(uses.capacity)))
    np.add.at(matrix, (uses.variant, uses.resource), uses.units)
    return np.asarray(matrix[part.members])
