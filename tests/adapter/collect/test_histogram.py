"""Percentiles as Prometheus computes them; second moments that fit the exact mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect.histogram import percentile, second_moment

LENGTHS = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, np.inf])


def cumulative(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return np.array([[(values <= bound).sum() for bound in bounds]], dtype=float)


@pytest.mark.parametrize(
    ("counts", "ratio", "expected"),
    [
        # The examples of histogram_quantile: linear within the bucket that holds the rank.
        pytest.param([0, 10, 20, 20], 0.5, 2.0, id="on-a-bound"),
        pytest.param([0, 10, 20, 20], 0.75, 3.0, id="within"),
        pytest.param([0, 0, 0, 8], 0.9, 4.0, id="beyond-the-last-bound"),
        pytest.param([10, 10, 10, 10], 0.5, np.nan, id="below-the-first-bound"),
        pytest.param([0, 0, 0, 0], 0.5, np.nan, id="no-mass"),
        pytest.param([4, 8, 8, 8], 0.75, 1.5, id="partly-below-the-first"),
    ],
)
def test_percentile(counts: list[float], ratio: float, expected: float) -> None:
    bounds = np.array([1.0, 2.0, 4.0, np.inf])
    found = percentile(bounds, np.array([counts], dtype=float), ratio)
    np.testing.assert_allclose(found, [expected])


@given(
    values=st.lists(st.floats(1.5, 4999.0), min_size=20, max_size=300),
    ratio=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], ratio: float) -> None:
    data = np.sort(np.array(values))
    found = percentile(LENGTHS, cumulative(data, LENGTHS), ratio)[0]
    true = data[int(np.ceil(ratio * len(data))) - 1]
    at = np.searchsorted(LENGTHS, true)
    assert LENGTHS[at - 1] <= found <= LENGTHS[at]


@pytest.mark.parametrize(
    ("draw", "tolerance"),
    [
        pytest.param(lambda r: r.lognormal(4.5, 0.7, 4000), 0.05, id="lognormal"),
        pytest.param(lambda r: r.lognormal(6.0, 0.5, 4000), 0.05, id="narrow-lognormal"),
        pytest.param(lambda r: r.exponential(300.0, 4000) + 1.0, 0.05, id="exponential"),
        pytest.param(lambda r: r.uniform(100.0, 900.0, 4000), 0.05, id="uniform"),
        pytest.param(lambda r: np.full(4000, 300.0), 0.10, id="constant"),
    ],
)
def test_the_second_moment_of_lengths(draw, tolerance: float) -> None:
    values = np.clip(draw(np.random.default_rng(7)), 1.0, 4999.0)
    found = second_moment(LENGTHS, cumulative(values, LENGTHS), np.array([values.sum()]))[0]
    assert found == pytest.approx(np.mean(values**2), rel=tolerance)


def test_mass_beyond_the_last_bound_has_what_the_sum_leaves_for_it() -> None:
    bounds = np.array([10.0, 50.0, 100.0, 500.0, 1000.0, np.inf])  # Triton's
    values = np.random.default_rng(7).exponential(2000.0, 4000)
    found = second_moment(bounds, cumulative(values, bounds), np.array([values.sum()]))[0]
    assert found == pytest.approx(np.mean(values**2), rel=0.15)


@given(
    counts=st.lists(st.integers(0, 500), min_size=13, max_size=13),
    mean=st.floats(0.5, 6000.0),
)
def test_the_second_moment_is_never_below_the_squared_mean(counts: list[int], mean: float) -> None:
    mass = np.cumsum(np.array([counts], dtype=float), axis=1)
    found = second_moment(LENGTHS, mass, mass[:, -1] * mean)[0]
    if mass[0, -1] == 0:
        assert np.isnan(found)
    else:
        assert np.isfinite(found)
        assert found >= mean**2 * (1 - 1e-12)


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param([np.inf], id="no-finite-bound"),
        pytest.param([100.0, np.inf], id="one"),
        pytest.param([0.0, 100.0, 210.0, np.inf], id="first-bound-is-zero"),
    ],
)
def test_odd_lists_of_bounds(bounds: list[float]) -> None:
    edges = np.array(bounds)
    values = np.array([50.0, 60.0, 150.0])
    found = second_moment(edges, cumulative(values, edges), np.array([values.sum()]))[0]
    assert np.isfinite(found)
    assert found >= values.mean() ** 2
    percentile(edges, cumulative(values, edges), 0.5)
