import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.rootfind import RootStatus, find_roots

SHAPES = {
    "line": lambda u: u,
    "cubic": lambda u: u**3,
    "knee": lambda u: np.where(u > 0.0, np.expm1(np.minimum(50.0 * u, 300.0)), u),
    "cliff": lambda u: np.tanh(1e4 * u),
    "flat": np.cbrt,
}


def solve(function, low, high, **settings):
    low, high = np.atleast_1d(low).astype(float), np.atleast_1d(high).astype(float)
    rows = np.arange(len(low))
    seen = []

    def watched(x, at):
        seen.append((x, at))
        return function(x, at)

    roots = find_roots(
        watched,
        low=low,
        high=high,
        low_value=function(low, rows),
        high_value=function(high, rows),
        **{"x_tolerance": 1e-9} | settings,
    )
    return roots, seen


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@given(root=st.floats(0.1, 10.0), below=st.floats(0.01, 1.0), above=st.floats(1.01, 50.0))
def test_the_root_is_met_from_below_inside_the_bracket(shape, root, below, above):
    low, high = below * root, above * root
    found, seen = solve(lambda x, _: shape(x / root - 1.0), low, high)
    assert found.status[0] == RootStatus.CONVERGED
    assert root * (1.0 - 1e-8) <= found.x[0] <= root
    assert all(low <= x[0] <= high for x, _ in seen)


def test_smooth_functions_take_few_evaluations():
    roots = np.linspace(0.2, 9.8, 50)
    found, seen = solve(
        lambda x, rows: np.log(x / roots[rows]),
        np.full(50, 0.1),
        np.full(50, 10.0),
        x_tolerance=1e-6,
    )
    assert found.x == pytest.approx(roots, rel=2e-6)
    assert len(seen) <= 12


def test_each_element_has_a_status_of_its_own():
    levels = np.array([0.5, -1.0, 2.0, np.nan])
    found, seen = solve(lambda x, rows: x - levels[rows], np.zeros(4), np.ones(4))
    expected = [RootStatus.CONVERGED, RootStatus.BELOW, RootStatus.ABOVE, RootStatus.NOT_FINITE]
    assert found.status.tolist() == expected
    assert found.x[:3] == pytest.approx([0.5, 0.0, 1.0])
    assert np.isnan(found.x[3])
    assert all(set(rows) <= {0} for _, rows in seen), "only the open element is evaluated"


def test_infinite_values_at_the_ends_are_bisected_away():
    def function(x, _):
        return np.where(x < 0.2, -np.inf, np.where(x > 0.7, np.inf, x - 0.4))

    found, _ = solve(function, [0.0], [1.0])
    assert found.x[0] == pytest.approx(0.4)


def test_a_tolerated_value_ends_the_search_at_a_point_that_is_not_above_zero():
    found, seen = solve(lambda x, _: 1e-3 * (x - 5.0), [0.0], [100.0], value_tolerance=1e-3)
    assert 4.0 <= found.x[0] <= 5.0
    assert len(seen) <= 2


def test_an_element_solved_alone_is_solved_alike():
    levels = np.linspace(0.1, 0.9, 7)

    def function(x, rows):
        return np.expm1(8.0 * (x - levels[rows]))

    together, _ = solve(function, np.zeros(7), np.ones(7))
    for row in range(7):
        alone, _ = solve(lambda x, _, row=row: np.expm1(8.0 * (x - levels[row])), [0.0], [1.0])
        assert alone.x[0] == together.x[row]


def test_a_root_at_zero_is_found():
    found, _ = solve(lambda x, _: x, [0.0], [1.0])
    assert (found.x[0], found.status[0]) == (0.0, RootStatus.CONVERGED)
