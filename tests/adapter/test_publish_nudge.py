"""A needed scale-up inside HPA's tolerance is published as the count HPA acts on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.publish import nudged


def nudge(desired, current, *, most=99, needed=True, tolerance=0.1, max_nudge=2) -> int:
    one = lambda x: np.array([x])  # noqa: E731
    return int(
        nudged(
            one(desired),
            one(current),
            most=one(most),
            needed=one(needed),
            tolerance_ratio=tolerance,
            max_nudge=max_nudge,
        )[0]
    )


@pytest.mark.parametrize(
    ("desired", "current", "options", "expected"),
    [
        pytest.param(13, 12, {}, 1, id="twelve-to-thirteen-publishes-fourteen"),
        pytest.param(11, 10, {}, 1, id="exactly-on-the-tolerance-is-inside"),
        pytest.param(14, 12, {}, 0, id="outside-already"),
        pytest.param(13, 12, {"tolerance": 0.0}, 0, id="our-manifests-set-zero"),
        pytest.param(11, 12, {}, 0, id="scale-down-is-left-alone"),
        pytest.param(13, 12, {"needed": False}, 0, id="only-for-a-predicted-miss"),
        pytest.param(13, 12, {"most": 13}, 1, id="the-need-is-max-so-past-it"),
        pytest.param(31, 30, {"max_nudge": 2}, 0, id="dearer-than-allowed"),
        pytest.param(1, 0, {}, 0, id="from-zero-there-is-no-tolerance"),
    ],
)
def test_nudge(desired, current, options, expected):
    assert nudge(desired, current, **options) == expected


@given(st.integers(1, 500), st.integers(1, 20), st.sampled_from([0.0, 0.05, 0.1, 0.2]))
def test_hpa_acts_on_whatever_is_nudged(current, more, tolerance):
    desired = current + more
    published = desired + nudge(desired, current, most=10**6, tolerance=tolerance, max_nudge=10**6)
    assert published / current > 1 + tolerance
    assert published == desired or (published - 1) / current <= 1 + tolerance + 1e-9
