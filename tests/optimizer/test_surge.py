"""A rise that is clear of noise is planned for at once; noise and falls aren't."""

import numpy as np
import pytest

from optimizer.surge import surging_rate_rps


def surging(rate, before, *, elapsed_s=5.0, window_s=20.0) -> float:
    return float(
        surging_rate_rps(
            np.array([rate]), np.array([before]), elapsed_s=elapsed_s, window_s=window_s
        )[0]
    )


@pytest.mark.parametrize(
    ("rate", "before", "expected"),
    [
        pytest.param(20.0, 20.0, 20.0, id="steady"),
        pytest.param(27.5, 20.0, 50.0, id="step-from-20-to-50"),
        pytest.param(21.0, 20.0, 21.0, id="noise"),
        pytest.param(12.5, 20.0, 12.5, id="a-fall-is-not-hurried"),
        pytest.param(1.0, 0.0, 4.0, id="from-nothing"),
        pytest.param(np.nan, 20.0, np.nan, id="unknown-now"),
        pytest.param(27.5, np.nan, 27.5, id="unknown-before"),
    ],
)
def test_surging_rate(rate, before, expected):
    assert surging(rate, before) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("elapsed_s", [0.0, -1.0, 20.0, np.inf])
def test_without_two_overlapping_windows_nothing_is_read(elapsed_s):
    assert surging(50.0, 20.0, elapsed_s=elapsed_s) == 50.0


def test_a_steady_poisson_stream_hardly_ever_surges():
    rng = np.random.default_rng(5)
    counts = rng.poisson(10.0 * 5.0, size=(4000, 5))
    before, rate = counts[:, :4].sum(1) / 20.0, counts[:, 1:].sum(1) / 20.0
    lifted = surging_rate_rps(rate, before, elapsed_s=5.0, window_s=20.0) > rate
    assert lifted.mean() < 0.005


def test_a_fourfold_burst_is_seen_in_one_tick():
    rng = np.random.default_rng(6)
    old, new = rng.poisson(50.0, size=(1000, 4)), rng.poisson(200.0, size=1000)
    before = old.sum(1) / 20.0
    rate = (old[:, 1:].sum(1) + new) / 20.0
    seen = surging_rate_rps(rate, before, elapsed_s=5.0, window_s=20.0)
    assert (seen > 30.0).mean() > 0.99
    assert seen.mean() == pytest.approx(40.0, rel=0.05)
