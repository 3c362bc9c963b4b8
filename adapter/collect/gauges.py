"""The value of a gauge, from the series that its terms were bound to. Pure.

A gauge has alternatives in order of preference: the first that the page holds gives the value. It
is NaN where that isn't a number, and None where no alternative is there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dialect_table import Term
from .grammar import Series
from .selectors import canonical

__all__ = ["BoundFact", "BoundGauge", "BoundSeries", "BoundTerm", "combine"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_COMBINE: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
}


def combine(over: str, values: FloatArray) -> float:
    """Return the one number that several series of a pod become."""
    return float(values[0]) if len(values) == 1 else float(_COMBINE[over](values))


@dataclass(frozen=True, slots=True)
class BoundSeries:
    """A term that is one series and nothing else, as most are: no array operation is worth it."""

    place: int
    scale: float

    def value(self, values: FloatArray, facts: Sequence[Series]) -> float | None:
        del facts
        return float(values.item(self.place)) * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class BoundTerm:
    """A term and the places of its series."""

    term: Term
    main: IntArray
    plus: IntArray
    minus: IntArray
    times: IntArray
    divide_by: IntArray

    def value(self, values: FloatArray, facts: Sequence[Series]) -> float | None:
        del facts
        result = combine(self.term.over, values[self.main])
        if self.plus.size:
            result += float(values[self.plus].sum())
        if self.minus.size:
            result -= float(values[self.minus].sum())
        if self.times.size:
            result *= float(values[self.times].max())
        if self.divide_by.size:
            divisor = float(values[self.divide_by].max())
            result = result / divisor if divisor > 0 else math.nan
        return result * self.term.scale


@dataclass(frozen=True, slots=True)
class BoundFact:
    """A term whose value stands in labels; facts are few and read each time."""

    term: Term

    def value(self, values: FloatArray, facts: Sequence[Series]) -> float | None:
        del values
        wanted = self.term.series
        found = [
            number
            for fact in facts
            if canonical(fact.name) == canonical(wanted.name) and wanted.matches(fact)
            for number in [self._number(fact)]
            if number is not None
        ]
        return combine(self.term.over, np.array(found)) * self.term.scale if found else None

    def _number(self, fact: Series) -> float | None:
        """Return the product of the labels; None where one says that it isn't set ("None")."""
        try:
            return math.prod(float(fact.label(name)) for name in self.term.label_values)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class BoundGauge:
    """A gauge's column and its alternatives that the page may hold."""

    column: int
    ways: tuple[BoundSeries | BoundTerm | BoundFact, ...]

    def value(self, values: FloatArray, facts: Sequence[Series]) -> float | None:
        """Return the gauge's value on a page."""
        for way in self.ways:
            value = way.value(values, facts)
            if value is not None:
                return value
        return None
