"""Cold starts are learned from counts that were asked for and counts that got ready."""

import numpy as np
import pytest

from optimizer.cold_start import ColdStartState, cold_start_s, observe_starts


def seen(*looks):
    """Feed (now_s, current, ready) of one variant."""
    state = ColdStartState.empty()
    for now_s, current, ready in looks:
        state = observe_starts(
            state,
            names=("v",),
            current=np.array([current]),
            ready=np.array([ready]),
            now_s=now_s,
        )
    return state


def planned(state, declared=np.nan):
    return float(cold_start_s(state, np.array([declared]), default_s=120.0)[0])


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, 1, 1), (5, 3, 1), (50, 3, 2), (95, 3, 3)], 90.0, id="until-all-are-ready"),
        pytest.param([(0, 1, 1), (5, 3, 1), (20, 5, 1), (65, 5, 3)], 60.0, id="more-on-top-doesnt-move-it"),
        pytest.param([(0, 1, 1), (5, 3, 1), (20, 1, 1), (65, 1, 1)], 120.0, id="called-off"),
        pytest.param([(0, 3, 1), (65, 3, 3)], 120.0, id="a-start-of-unknown-beginning"),
        pytest.param([(0, 2, 2), (5, 1, 1), (10, 1, 1)], 120.0, id="down-is-no-start"),
    ],
)  # fmt: skip
def test_a_start_is_timed(looks, expected):
    assert planned(seen(*looks)) == expected


def test_slow_starts_count_more_than_fast_ones():
    looks, now_s = [(0.0, 1, 1)], 0.0
    for took_s in (30.0, 40.0, 30.0, 200.0, 30.0, 40.0):
        looks += [(now_s + 10, 2, 1), (now_s + 10 + took_s, 2, 2), (now_s + 20 + took_s, 1, 1)]
        now_s += 30.0 + took_s
    assert planned(seen(*looks)) == 200.0


@pytest.mark.parametrize(
    ("declared_s", "planned_s"),
    [
        pytest.param(120.0, 120.0, id="what-is-declared-covers-what-was-seen"),
        pytest.param(45.0, 90.0, id="starts-take-longer-than-declared"),
        pytest.param(20.0, 60.0, id="no-more-than-three-times-as-long"),
    ],
)
def test_a_declared_start_holds_until_most_take_longer(declared_s, planned_s):
    took_90_s = seen((0, 1, 1), (5, 3, 1), (95, 3, 3))
    assert planned(took_90_s, declared=declared_s) == planned_s


def test_one_start_among_others_that_found_no_node_says_nothing():
    usual = seen(
        (0, 1, 1), (5, 2, 1), (50, 2, 2), (60, 3, 2), (105, 3, 3), (110, 4, 3), (410, 4, 4)
    )
    assert planned(usual, declared=40.0) == 45.0


def test_starts_follow_names():
    state = seen((0, 1, 1), (5, 3, 1), (95, 3, 3)).aligned(("new", "v"))
    got = cold_start_s(state, np.full(2, np.nan), default_s=120.0)
    assert got.tolist() == [120.0, 90.0]
