"""What HPA's tolerance swallows: a needed scale-up is raised past it, the rest is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.records import Circumstances
from adapter.tolerance import left_alone, nudged


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


def told(published, current, *, up=np.nan, down=np.nan, followed=True) -> str:
    around = Circumstances(
        reachable_replicas=np.array([-1]),
        rolling=np.array([False]),
        tolerance_ratio=np.array([up]),
        texts={},
        followed=np.array([followed]),
        tolerance_down_ratio=np.array([down]),
    )
    return left_alone(np.array([published]), np.array([current]), around, 0.1)[0]


@pytest.mark.parametrize(
    ("published", "current", "options", "words"),
    [
        pytest.param(11, 12, {}, "within 10% of what is there; behavior.scaleDown", id="down"),
        pytest.param(9, 10, {}, "behavior.scaleDown.tolerance", id="down by exactly a tenth"),
        pytest.param(13, 12, {}, "behavior.scaleUp.tolerance", id="up that could not be raised"),
        pytest.param(12, 16, {"down": 0.3}, "within 30%", id="the HPA's own tolerance"),
        pytest.param(11, 12, {"down": 0.0}, "", id="our manifests set zero"),
        pytest.param(
            11, 12, {"up": 0.0}, "behavior.scaleDown", id="zero upwards says nothing down"
        ),
        pytest.param(10, 12, {}, "", id="outside"),
        pytest.param(12, 12, {}, "", id="no change"),
        pytest.param(1, 0, {}, "", id="from zero"),
        pytest.param(11, 12, {"followed": False}, "", id="no HPA is known"),
    ],
)
def test_what_the_tolerance_swallows_is_told(published, current, options, words):
    text = told(published, current, **options)
    assert words in text if words else text == ""
    assert text == "" or text.startswith("WithinTolerance: ")
