"""Which replicas should go first."""

import numpy as np
import pytest

from optimizer.leaving import leaving_first

UNKNOWN = np.nan


@pytest.mark.parametrize(
    ("in_flight", "hits", "removed", "expected"),
    [
        pytest.param([5, 1, 3], [0, 0, 0], 1, [1], id="the one with the fewest requests"),
        pytest.param([5, 1, 3], [0, 0, 0], 2, [1, 2], id="and the next"),
        pytest.param([2, 2, 2], [0.5, 0.1, 0.9], 1, [1], id="of equals the coldest cache"),
        pytest.param([UNKNOWN, 4], [0, 0], 1, [1], id="one that nobody can read goes last"),
        pytest.param([1, 2], [0, 0], 0, [], id="none is to go"),
        pytest.param([1, 2], [0, 0], -3, [], id="more are to come"),
        pytest.param([2, 1], [0, 0], 5, [0, 1], id="more than there are"),
    ],
)
def test_who_goes_first(in_flight, hits, removed, expected):
    found = leaving_first(
        np.zeros(len(in_flight), dtype=np.int64),
        in_flight_requests=np.array(in_flight, dtype=float),
        prefix_hit_ratio=np.array(hits, dtype=float),
        removed=np.array([removed]),
    )
    assert np.flatnonzero(found).tolist() == expected


def test_variants_lose_their_own():
    found = leaving_first(
        np.array([1, 0, 1, 0]),
        in_flight_requests=np.array([9.0, 1.0, 8.0, 2.0]),
        prefix_hit_ratio=np.zeros(4),
        removed=np.array([0, 1]),
    )
    assert np.flatnonzero(found).tolist() == [2]
