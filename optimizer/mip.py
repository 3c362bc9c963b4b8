"""The exact solver, for what stays open: HiGHS from an incumbent, limited by nodes.

Never by wall time: the same instance under half a second gave objectives 13,265 and 7,463.
"""

from dataclasses import dataclass

import highspy
import numpy as np
from highspy._core import _Highs

from .candidates import Candidates
from .domain import BoolArray, FloatArray, IntArray
from .lp_prices import build_linear_model, solver
from .problem import Problem

__all__ = ["Exact", "exact", "whole_choice"]

_LEAST_GAP = 1e-6
# A search that begins with a good plan: looking for a first one, or for symmetries, took most of
# its time.
_FROM_A_PLAN = (
    ("mip_allow_restart", False),
    ("mip_heuristic_run_feasibility_jump", False),
    ("mip_detect_symmetry", False),
)


def whole_choice(
    candidates: Candidates,
    penalty: FloatArray,
    loose: BoolArray,
    incumbent: IntArray,
    *,
    nodes: int,
    gap: float,
) -> IntArray:
    """Return the counts, (V,), of the best plan of candidates, and of any counts where `loose`.

    Parameters
    ----------
    candidates : Candidates
        Of services that aren't loose; those of others are passed over.
    penalty : array, shape (S,)
        Of a wholly unmet service. [currency/h]
    loose : ndarray of bool, shape (S,)
        Services with too many candidates to list: their counts themselves are chosen.
    incumbent : array of int, shape (V,)
        A plan that fits; it is the answer where nothing better is found.
    nodes : int
        How many the solver may look at.
    gap : float
        How far from the best the answer may be. [currency/h]
    """
    problem = candidates.members.problem
    listed = candidates.take(~loose[candidates.service])
    variants = np.flatnonzero(loose[problem.service])
    part = problem.taken(np.flatnonzero(loose), variants, np.arange(len(problem.uses.capacity)))
    model = build_linear_model(part, penalty[loose])
    whole, free = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    model.lp.integrality_ = [whole] * len(model.variant) + [free] * model.services
    most = np.asarray(model.lp.row_upper_)
    most[model.demand_rows :] = problem.capacity
    model.lp.row_upper_ = most
    highs = solver()
    for name, value in (*_FROM_A_PLAN, ("mip_max_nodes", nodes)):
        highs.setOptionValue(name, value)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("mip_abs_gap", gap)
    highs.passModel(model.lp)
    own = len(model.variant) + model.services
    _list(highs, listed, np.flatnonzero(~loose), model.demand_rows)
    start = highspy.HighsSolution()
    taken = np.zeros(len(listed.service))
    same = listed.counts == listed.members.counts_of(incumbent)[listed.service]
    taken[same.all(axis=1)] = 1.0
    start.col_value = np.concatenate([model.values(incumbent[variants], part), taken])
    highs.setSolution(start)
    highs.run()
    found = np.asarray(highs.getSolution().col_value)
    rows = np.flatnonzero(found[own:] > 0.5)
    if not np.array_equal(listed.service[rows], np.flatnonzero(~loose)):
        return incumbent
    plan = incumbent.copy()
    plan[variants] = np.rint(model.counts(found[:own], part))
    mine = listed.members.variant[listed.service[rows]]
    plan[mine[mine >= 0]] = listed.counts[rows][mine >= 0]
    return plan if problem.fits(plan).all() else incumbent


def _list(highs: _Highs, listed: Candidates, services: IntArray, first_row: int) -> None:
    """Add the candidates, and a row for each service that takes one of them."""
    resources = listed.use.shape[1]
    ones, none = np.ones(len(services)), np.empty(0, dtype=np.int32)
    highs.addRows(len(services), ones, ones, 0, none, none, np.empty(0))
    row = np.full(len(listed.members.variant) + resources, -1)
    row[services] = first_row + resources + np.arange(len(services))
    row[len(listed.members.variant) :] = first_row + np.arange(resources)
    # Less what can't be avoided: or it would hide the rest from the solver's tolerances.
    least = np.full(len(listed.members.variant), np.inf)
    np.minimum.at(least, listed.service, listed.value)
    count = len(listed.service)
    start, index, values = listed.entries()
    before = highs.getNumCol()
    highs.addCols(
        count,
        listed.value - least[listed.service],
        np.zeros(count),
        np.ones(count),
        len(index),
        start[:-1],
        row[index].astype(np.int32),
        values,
    )
    whole = np.full(count, int(highspy.HighsVarType.kInteger), dtype=np.uint8)
    highs.changeColsIntegrality(count, (before + np.arange(count)).astype(np.int32), whole)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exact:
    """Counts (V,), the best bound that was proven, and whether they meet."""

    counts: IntArray
    bound: float
    proven: bool


def exact(
    problem: Problem,
    penalty: FloatArray,
    incumbent: IntArray,
    *,
    nodes: int,
    gap_ratio: float = 0.0,
) -> Exact | None:
    """Return a plan within `gap_ratio`, or the best within `nodes`; None if there is none.

    Of the counts themselves, which is far slower than of candidates: a reference.
    """
    model = build_linear_model(problem, penalty)
    whole, free = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    model.lp.integrality_ = [whole] * len(model.variant) + [free] * model.services
    highs = solver()
    highs.setOptionValue("mip_max_nodes", nodes)
    highs.setOptionValue("mip_rel_gap", max(gap_ratio, _LEAST_GAP))
    highs.setOptionValue("mip_heuristic_run_feasibility_jump", False)
    highs.passModel(model.lp)
    start = highspy.HighsSolution()
    start.col_value = model.values(incumbent, problem)
    highs.setSolution(start)
    highs.run()
    values = np.asarray(highs.getSolution().col_value)
    if len(values) == 0:
        return None
    info = highs.getInfo()
    counts = np.rint(model.counts(values, problem)).astype(np.int64)
    return Exact(
        counts=np.clip(counts, problem.lowest, problem.highest),
        bound=float(info.mip_dual_bound) + model.constant,
        proven=highs.getModelStatus() == highspy.HighsModelStatus.kOptimal,
    )
