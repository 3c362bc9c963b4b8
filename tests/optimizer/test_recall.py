"""What is recalled is what would be computed, and only what changed is computed."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from optimizer import plan
from optimizer.domain import Columns, FloatArray
from optimizer.recall import Recalled, inputs_of, recalled
from tests.helpers.closed_loop import ClosedLoop


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Doubled(Columns):
    twice: FloatArray


class Computer:
    """Doubles its inputs, and remembers which rows it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, before, names, values):
        inputs = inputs_of(np.asarray(values, float), 1.0)

        def compute(rows):
            self.asked = [names[row] for row in rows]
            return Doubled(twice=2.0 * inputs[rows, 0])

        self.asked = []
        result, kept = recalled(before, tuple(names), inputs, compute)
        return result.twice.tolist(), kept


@pytest.fixture
def first():
    computer = Computer()
    _, kept = computer(Recalled(), "abc", [1.0, np.nan, 3.0])
    assert computer.asked == ["a", "b", "c"]
    return kept


@pytest.mark.parametrize(
    ("names", "values", "expected", "asked"),
    [
        pytest.param("abc", [1, np.nan, 3], [2, np.nan, 6], [], id="nothing-new"),
        pytest.param("abc", [1, np.nan, 4], [2, np.nan, 8], ["c"], id="one-changed"),
        pytest.param("cab", [3, 1, np.nan], [6, 2, np.nan], [], id="another-order"),
        pytest.param("cad", [3, 1, 5], [6, 2, 10], ["d"], id="one-new-one-gone"),
        pytest.param("de", [1, 3], [2, 6], ["d", "e"], id="all-new"),
        pytest.param("", [], [], [], id="none-left"),
    ],
)
def test_only_rows_with_new_inputs_are_computed(first, names, values, expected, asked):
    computer = Computer()
    found, kept = computer(first, names, values)
    np.testing.assert_array_equal(found, expected)
    assert computer.asked == asked
    again, _ = computer(kept, names, values)
    assert computer.asked == []
    np.testing.assert_array_equal(again, expected)


def test_another_set_of_inputs_recalls_nothing(first):
    asked = []

    def compute(rows):
        asked.extend(rows)
        return Doubled(twice=np.zeros(len(rows)))

    recalled(first, ("a", "b", "c"), np.ones((3, 5)), compute)
    assert asked == [0, 1, 2]


def test_leaving_the_memory_out_changes_no_decision():
    loop = ClosedLoop(models=6, dearer=True).run(np.arange(6) * 4.0, seconds=300)
    request = loop.request()
    alone, helped = plan(request), plan(replace(request, recall=loop.last.recall))
    for ours, theirs, whole in (
        (helped, alone, {"state", "recall", "profiles"}),
        (helped.profiles, alone.profiles, set()),
    ):
        for column in fields(theirs):
            if column.name not in whole:
                np.testing.assert_allclose(
                    getattr(ours, column.name),
                    getattr(theirs, column.name),
                    rtol=1e-4,
                    err_msg=column.name,
                )
    np.testing.assert_array_equal(helped.desired, alone.desired)
