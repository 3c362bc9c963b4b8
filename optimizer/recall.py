"""What was computed for a row stands for as long as its inputs do. Pure.

Sizing a replica is the dearest step of a decision, and from one tick to the next few rows
change. A result is kept with the very numbers that it came from; a row whose numbers are the
same to the last bit gets it again, so leaving the memory out costs time and changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Generic, TypeVar

import numpy as np

from .domain import Columns, FloatArray, IntArray, rows_of
from .latency import Prediction
from .sizing import Sizing

__all__ = ["Recall", "Recalled", "inputs_of", "recalled"]

T = TypeVar("T", bound=Columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recalled(Generic[T]):
    """Results by name, and the inputs that each came from, shape (rows, inputs)."""

    names: tuple[str, ...] = ()
    inputs: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    result: T | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recall:
    """What one plan spares the next; an empty one is always right.

    `resource_price` is where the search for the next shared plan begins, by `resource_names`;
    it doesn't move by more than the search's tolerance what is found. [currency/h]
    """

    sizing: Recalled[Sizing] = field(default_factory=Recalled)
    prediction: Recalled[Prediction] = field(default_factory=Recalled)
    resource_names: tuple[str, ...] = ()
    resource_price: FloatArray = field(default_factory=lambda: np.empty(0))


def inputs_of(*records: Columns | FloatArray | float) -> FloatArray:
    """Return all numbers of some records, columns and scalars side by side, (rows, inputs)."""
    columns: list[FloatArray] = []
    scalars: list[float] = []
    for record in records:
        if isinstance(record, Columns):
            columns.extend(getattr(record, f.name) for f in fields(record))
        elif isinstance(record, np.ndarray):
            columns.append(record)
        else:
            scalars.append(float(record))
    rows = len(columns[0])
    columns.extend(np.full(rows, value) for value in scalars)
    return np.stack(columns, axis=1, dtype=np.float64)


def recalled(
    before: Recalled[T],
    names: tuple[str, ...],
    inputs: FloatArray,
    compute: Callable[[IntArray], T],
) -> tuple[T, Recalled[T]]:
    """Return the results of all rows, computing those whose inputs are new, to be kept.

    Parameters
    ----------
    before : Recalled
        Of the last time; rows are matched by name.
    names : tuple of str, length V
    inputs : array, shape (V, K)
        All that the result of a row depends on; NaN equals itself.
    compute : callable
        Takes the rows to compute, returns their results in that order.

    Returns
    -------
    result : Columns, V rows
    Recalled
        For the next time.
    """
    rows = rows_of(names, before.names)
    old = before.result
    if old is None or inputs.shape[1] != before.inputs.shape[1] or not (rows >= 0).any():
        result = compute(np.arange(len(names)))
        return result, Recalled(names=names, inputs=inputs, result=result)
    # The bits, since NaN doesn't equal itself.
    same = (inputs.view(np.int64) == before.inputs.view(np.int64)[rows]).all(axis=1) & (rows >= 0)
    fresh = np.flatnonzero(~same)
    result = old.take(rows)
    if len(fresh):
        result = result.replaced(fresh, compute(fresh))
    return result, Recalled(names=names, inputs=inputs, result=result)
