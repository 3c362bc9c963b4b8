"""Cheapest mixes, against brute force and against the LP bound."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.allocation import Mix, cheapest_mix
from optimizer.errors import InvalidInputError


def solve(rate, cost, low, high, demand) -> Mix:
    """Solve one model."""
    return cheapest_mix(
        model=np.zeros(len(rate), dtype=np.int64),
        rate_rps=np.asarray(rate, dtype=np.float64),
        cost_per_hour=np.asarray(cost, dtype=np.float64),
        lowest=np.asarray(low, dtype=np.int64),
        highest=np.asarray(high, dtype=np.int64),
        demand_rps=np.array([demand], dtype=np.float64),
    )


def cheapest_by_brute_force(rate, cost, low, high, demand) -> float | None:
    counts = product(*[range(a, b + 1) for a, b in zip(low, high, strict=True)])
    costs = [np.dot(n, cost) for n in counts if np.dot(n, rate) >= demand * (1 - 1e-9)]
    return min(costs, default=None)


@pytest.mark.parametrize(
    ("rate", "cost", "low", "high", "demand", "expected", "covered"),
    [
        pytest.param([2.0], [1.0], [0], [9], 7.0, [4], True, id="one-variant-rounds-up"),
        pytest.param([2.0], [1.0], [1], [9], 0.0, [1], True, id="no-demand-keeps-the-minimum"),
        pytest.param([2.0], [1.0], [0], [3], 7.0, [3], False, id="capped-takes-all-there-is"),
        pytest.param([2.0], [1.0], [0], [9], 8.0, [4], True, id="exact-fit-is-enough"),
        pytest.param([4.0, 1.0], [4.1, 1.2], [0, 0], [9, 9], 8.5, [2, 1], True, id="tail-on-small"),
        pytest.param([4.0, 1.0], [4.1, 1.2], [0, 0], [1, 9], 8.5, [1, 5], True, id="spills-over"),
        pytest.param(
            [4.0, 0.0], [4.1, 0.1], [0, 2], [9, 9], 7.0, [2, 2], True, id="unusable-stays"
        ),
        pytest.param([0.0], [1.0], [1], [9], 1.0, [1], False, id="nothing-usable"),
        pytest.param([2.0], [1.0], [0], [9], 5e-324, [1], True, id="smallest-demand-is-demand"),
        pytest.param([1.0, 1.0], [1.0, 1.0], [0, 0], [9, 9], 3.0, [3, 0], True, id="tie-to-first"),
    ],
)
def test_cheapest_mix(rate, cost, low, high, demand, expected, covered):
    mix = solve(rate, cost, low, high, demand)
    assert mix.replicas.tolist() == expected
    assert mix.covered.tolist() == [covered]


instances = st.integers(1, 4).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(0.3, 6.0), min_size=k, max_size=k),
        st.lists(st.floats(0.5, 8.0), min_size=k, max_size=k),
        st.lists(st.integers(0, 1), min_size=k, max_size=k),
        st.lists(st.integers(0, 5), min_size=k, max_size=k),
        st.floats(0.0, 30.0),
    )
)


@given(instances)
@settings(max_examples=150, deadline=None)
def test_never_dearer_than_two_percent_over_brute_force(instance):
    rate, cost, low, extra, demand = instance
    high = [a + b for a, b in zip(low, extra, strict=True)]
    mix = solve(rate, cost, low, high, demand)
    best = cheapest_by_brute_force(rate, cost, low, high, demand)
    if best is None:
        assert not mix.covered[0]
        assert mix.replicas.tolist() == high
    else:
        assert mix.covered[0]
        assert np.dot(mix.replicas, cost) <= best * 1.02 + 1e-9


def test_brute_force_is_nearly_always_met():
    """The neighborhood is a heuristic: it may miss, but rarely and by little."""
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(400):
        k = int(rng.integers(2, 5))
        rate, cost = rng.uniform(0.3, 6, k), rng.uniform(0.5, 8, k)
        low = rng.integers(0, 2, k)
        high, demand = low + rng.integers(0, 6, k), rng.uniform(0, 30)
        best = cheapest_by_brute_force(rate, cost, low, high, demand)
        mix = solve(rate, cost, low, high, demand)
        missed += best is not None and np.dot(mix.replicas, cost) > best + 1e-6
    assert missed <= 4


def test_models_do_not_disturb_each_other():
    """Solving many models at once gives what solving each alone gives."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 6, 40)
    model = np.repeat(np.arange(40), sizes)
    shuffled = rng.permutation(len(model))
    columns = {
        "rate_rps": rng.uniform(0.3, 6, len(model)),
        "cost_per_hour": rng.uniform(0.5, 8, len(model)),
        "lowest": rng.integers(0, 2, len(model)),
    }
    columns["highest"] = columns["lowest"] + rng.integers(0, 9, len(model))
    demand = rng.uniform(0, 40, 40)
    together = cheapest_mix(
        model=model[shuffled], demand_rps=demand, **{k: v[shuffled] for k, v in columns.items()}
    )
    for row in range(40):
        mine = shuffled[np.sort(np.flatnonzero(model[shuffled] == row))]
        alone = cheapest_mix(
            model=np.zeros(len(mine), dtype=np.int64),
            demand_rps=demand[row : row + 1],
            **{k: v[mine] for k, v in columns.items()},
        )
        here = np.flatnonzero(model[shuffled] == row)
        assert together.replicas[here].tolist() == alone.replicas.tolist()
        assert together.covered[row] == alone.covered[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param("rate", [np.nan], id="nan-rate"),
        pytest.param("cost", [-1.0], id="negative-cost"),
        pytest.param("demand", np.inf, id="infinite-demand"),
    ],
)
def test_refuses_numbers_out_of_bounds(column, value):
    arguments = {"rate": [1.0], "cost": [1.0], "low": [0], "high": [1], "demand": 1.0}
    arguments[column] = value
    with pytest.raises(InvalidInputError, match=column):
        solve(**arguments)


def test_refuses_reversed_bounds():
    with pytest.raises(InvalidInputError, match="lowest <= highest"):
        solve([1.0], [1.0], [2], [1], 1.0)
