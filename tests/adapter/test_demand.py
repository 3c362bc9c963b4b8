"""Offered demand: the order of preference, and what becomes of missing parts."""

import numpy as np
import pytest

from adapter.demand import replica_offered_rate_rps
from adapter.records import Missing, Readings, Reason

NAN = np.nan
ABSENT = Readings.missing(1, Reason.NOT_EXPORTED)


def one(value: float | Reason) -> Readings:
    if isinstance(value, Reason):
        return Readings.missing(1, value)
    return Readings.of(np.array([value]))


@pytest.mark.parametrize(
    ("arrivals", "completions", "slope", "rejections", "expected"),
    [
        pytest.param(7.0, 3.0, 1.0, 1.0, 7.0, id="its-own-counter-first"),
        pytest.param(Reason.NOT_EXPORTED, 3.0, 1.0, 2.0, 6.0, id="the-balance"),
        pytest.param(Reason.NOT_EXPORTED, 3.0, -1.0, 0.0, 2.0, id="a-queue-that-drains"),
        pytest.param(Reason.NOT_EXPORTED, 1.0, -5.0, 0.0, 0.0, id="never-below-zero"),
        pytest.param(
            Reason.NOT_EXPORTED, 3.0, 1.0, Reason.NOT_EXPORTED, 4.0, id="rejects-nothing-it-counts"
        ),
        pytest.param(
            Reason.NOT_EXPORTED, 3.0, Reason.NOT_EXPORTED, 1.0, 4.0, id="without-what-is-in-flight"
        ),
        pytest.param(
            Reason.NOT_EXPORTED, Reason.ONE_SCRAPE, 1.0, 1.0, Missing(Reason.ONE_SCRAPE), id="once"
        ),
        pytest.param(
            Reason.TIMEOUT, Reason.TIMEOUT, NAN, NAN, Missing(Reason.TIMEOUT), id="not-read"
        ),
    ],
)
def test_what_was_offered_to_a_replica(
    arrivals: float | Reason,
    completions: float | Reason,
    slope: float | Reason,
    rejections: float | Reason,
    expected: float | Missing,
) -> None:
    found = replica_offered_rate_rps(
        arrivals=one(arrivals),
        completions=one(completions),
        inflight_slope=one(slope),
        rejections=one(rejections),
    )
    if isinstance(expected, Missing):
        assert found[0] == expected
    else:
        assert found[0] == pytest.approx(expected)
