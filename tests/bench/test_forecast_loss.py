"""The forecast against the last value: the bench's own measure, on short series."""

import numpy as np
import pytest

from bench.forecast_loss import COPIES, JUDGED, TICK_S, Series, losses

SECONDS = 5400.0


def rate_of(shape):
    at_s = np.arange(int(SECONDS / TICK_S)) * TICK_S
    steady = np.full(len(at_s), 10.0)
    return {
        "steady": steady,
        "slow": 0.05 * steady,
        "ramps": np.interp(at_s % 3600.0, [0, 1200, 2400, 3600], [4, 4, 40, 4]),
        "bursts": np.where(at_s % 1800.0 < 120.0, 40.0, 8.0),
    }[shape]


@pytest.mark.parametrize("shape", ["steady", "slow", "ramps", "bursts"])
def test_no_quantile_is_more_than_a_twentieth_worse_than_the_last_value(shape):
    rate = rate_of(shape)
    counts = np.random.default_rng(5).poisson(rate[:, None] * TICK_S, (len(rate), COPIES))
    ours, last = losses(Series(name=shape, counts=counts.astype(float)), 120.0)
    assert ours.shape == (len(JUDGED),)
    assert np.all(ours <= 1.05 * last)
