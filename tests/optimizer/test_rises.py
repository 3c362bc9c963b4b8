"""A rise that is clear of noise is seen at once; noise and falls aren't; clusters go on."""

import numpy as np
import pytest

from optimizer.rises import (
    RiseState,
    observe_rises,
    risen_to_rps,
    rises_expected_rps,
    still_expected,
)
from optimizer.tails import normal_quantile

WINDOW_S, TICK_S = 20.0, 5.0


class Watcher:
    """One model's rises, read every five seconds from counts that are what is expected."""

    def __init__(self):
        self.state, self.now_s = RiseState.empty(("m",)), 0.0
        self.counts, self.level_rps = [0.0] * 4, np.nan

    def read(self, rate_rps, *, seconds, believed=True, dispersion=1.0):
        """Let a rate be read for so long; return what the newest seconds had risen to."""
        seen = []
        for _ in range(int(seconds / TICK_S)):
            self.now_s += TICK_S
            self.counts = [*self.counts[1:], rate_rps * TICK_S]
            mean = np.array([sum(self.counts) / WINDOW_S])
            risen = risen_to_rps(
                self.state,
                mean,
                now_s=self.now_s,
                window_s=WINDOW_S,
                dispersion=np.array([dispersion]),
            )
            self.level_rps = mean if self.now_s >= WINDOW_S else np.array([np.nan])
            self.state = observe_rises(
                self.state,
                mean,
                level_rps=self.level_rps,
                risen_rps=np.fmax(self.level_rps, risen),
                believed=np.array([believed]),
                now_s=self.now_s,
                window_s=WINDOW_S,
                answer_s=np.array([60.0]),
            )
            seen.append(float(risen[0]))
        return seen

    def expected(self, *, answer_s=60.0, after_rises=2, upper_ratio=0.9):
        return float(
            rises_expected_rps(
                self.state,
                self.level_rps,
                now_s=self.now_s,
                answer_s=np.array([answer_s]),
                after_rises=after_rises,
                upper_ratio=upper_ratio,
            )[0]
        )


def settled(rate_rps):
    watcher = Watcher()
    watcher.read(rate_rps, seconds=120.0)
    watcher.state = RiseState.empty(("m",))
    watcher.read(rate_rps, seconds=120.0)
    return watcher


@pytest.mark.parametrize(
    ("before", "after", "within_ticks"),
    [
        pytest.param(20.0, 50.0, 1, id="large-in-one"),
        pytest.param(20.0, 32.0, 2, id="smaller-in-two"),
        pytest.param(20.0, 30.0, 3, id="small-in-three"),
        pytest.param(200.0, 240.0, 3, id="smaller-shares-of-more"),
    ],
)
def test_a_rise_is_seen_at_its_full_height_within_ticks(before, after, within_ticks):
    seen = settled(before).read(after, seconds=15.0)
    first = next(i for i, rate in enumerate(seen) if np.isfinite(rate))
    assert first < within_ticks
    assert seen[first] == pytest.approx(after)


@pytest.mark.parametrize("after", [20.0, 22.0, 10.0, 0.0], ids=["steady", "noise", "fall", "end"])
def test_what_is_no_clear_rise_is_none(after):
    assert np.isnan(settled(20.0).read(after, seconds=60.0)).all()


def test_clusters_of_arrivals_ask_for_more_than_poisson_ones():
    assert np.isfinite(settled(20.0).read(50.0, seconds=5.0)).any()
    assert np.isnan(settled(20.0).read(50.0, seconds=5.0, dispersion=6.0)).all()


def test_a_steady_poisson_stream_hardly_ever_rises():
    random = np.random.default_rng(5)
    models, ticks = 400, 500
    names = tuple(str(i) for i in range(models))
    counts = random.poisson(10.0 * TICK_S, size=(ticks, models)).astype(float)
    state, seen = RiseState.empty(names), 0
    for tick in range(4, ticks):
        mean = counts[tick - 3 : tick + 1].sum(axis=0) / WINDOW_S
        now_s = tick * TICK_S
        ones = np.ones(models)
        risen = risen_to_rps(state, mean, now_s=now_s, window_s=WINDOW_S, dispersion=ones)
        seen += int(np.isfinite(risen).sum())
        state = observe_rises(
            state,
            mean,
            level_rps=10.0 * ones,
            risen_rps=10.0 * ones,
            believed=ones > 0,
            now_s=now_s,
            window_s=WINDOW_S,
            answer_s=60.0 * ones,
        )
    assert seen <= 2


def stairs(*rates_rps, lasting_s=90.0):
    watcher = settled(rates_rps[0])
    for rate in rates_rps[1:]:
        watcher.read(rate, seconds=lasting_s)
    return watcher


def test_one_rise_is_no_cluster():
    assert np.isnan(stairs(10.0, 20.0).expected())


def test_a_staircase_goes_on_by_what_its_steps_were():
    expected = stairs(10.0, 20.0, 40.0).expected(upper_ratio=0.5)
    assert expected == pytest.approx(80.0, rel=0.02)


def test_unlike_steps_are_planned_for_above_their_middle():
    stair = stairs(10.0, 25.0, 35.0)
    middle, upper = stair.expected(upper_ratio=0.5), stair.expected(upper_ratio=0.9)
    assert middle == pytest.approx(35.0 * np.sqrt(2.5 * 1.4), rel=0.03)
    assert upper > 1.1 * middle


def test_what_comes_next_is_weighed_by_whether_it_comes():
    """Two rises in three answers: the next one comes within the next answer at 1 - exp(-2/3)."""
    within = 1.0 - 0.1 / -np.expm1(-2.0 / 3.0)
    ratio = 2.0 * np.exp(float(normal_quantile(np.asarray(within))) * 0.35 / np.sqrt(3.0))
    assert stairs(10.0, 20.0, 40.0).expected() == pytest.approx(40.0 * ratio, rel=0.02)


def test_a_rise_came_to_what_a_whole_window_shows_not_a_few_seconds():
    """The next step is expected on top of a rise though its first seconds seemed to say more."""
    stair = stairs(10.0, 20.0)
    assert np.nanmax(stair.read(60.0, seconds=5.0)) > 50.0
    stair.read(32.0, seconds=60.0)
    assert stair.state.to_rps[0, -1] == pytest.approx(32.0, rel=0.02)
    assert stair.expected() > 45.0


def test_what_was_expected_stands_while_nothing_falls():
    def still(state, coming_rps, rate_rps, *, later_s):
        return still_expected(
            state,
            np.array([coming_rps]),
            np.array([rate_rps]),
            now_s=now_s + later_s,
            window_s=WINDOW_S,
            patience_s=np.array([45.0]),
        )

    stair = stairs(10.0, 20.0, 40.0)
    now_s = stair.now_s
    state, coming = still(stair.state, 90.0, 40.0, later_s=0.0)
    state, lower = still(state, 70.0, 40.0, later_s=20.0)
    _, late = still(state, 70.0, 40.0, later_s=50.0)
    _, fell = still(state, np.nan, 20.0, later_s=20.0)
    assert (coming[0], lower[0], late[0]) == (90.0, 90.0, 70.0)
    assert np.isnan(fell[0])


def test_a_load_that_falls_and_rises_comes_back_and_not_beyond():
    up_and_down = stairs(10.0, 40.0, 10.0, 40.0, lasting_s=40.0)
    assert up_and_down.expected() == pytest.approx(40.0, rel=0.02)
    up_and_down.read(10.0, seconds=40.0)
    assert up_and_down.expected() == pytest.approx(40.0, rel=0.02)


def test_a_load_that_climbs_back_to_where_it_was_is_not_expected_beyond():
    back = stairs(80.0, 10.0, 40.0, 80.0, lasting_s=60.0)
    assert back.expected() == pytest.approx(80.0, rel=0.02)
    long_ago = settled(80.0)
    for rate, seconds in ((10.0, 600.0), (40.0, 60.0), (80.0, 60.0)):
        long_ago.read(rate, seconds=seconds)
    assert long_ago.expected() > 150.0


def test_a_climb_in_two_rises_is_not_expected_again_once_it_fell():
    crowd = stairs(10.0, 40.0, 80.0, lasting_s=60.0)
    crowd.read(10.0, seconds=60.0)
    assert not crowd.expected(answer_s=120.0) > 40.0


def test_rises_are_forgotten_after_three_times_what_an_answer_takes():
    stair = stairs(10.0, 20.0, 40.0)
    stair.read(40.0, seconds=40.0)
    assert np.isfinite(stair.expected(answer_s=75.0))
    assert np.isnan(stair.expected(answer_s=40.0))


def test_nothing_is_expected_where_that_is_switched_off():
    assert np.isnan(stairs(10.0, 20.0, 40.0).expected(after_rises=0))


def test_no_rise_is_read_into_what_silent_replicas_move():
    watcher = settled(10.0)
    watcher.read(40.0, seconds=60.0, believed=False)
    assert np.isnan(watcher.state.begun_s).all()


def test_models_are_matched_by_name():
    state = stairs(10.0, 20.0).state
    both = state.for_models(("new", "m"))
    assert np.isnan(both.begun_s[0]).all()
    np.testing.assert_array_equal(both.begun_s[1], state.begun_s[0])
    assert both.for_models(("new", "m")) is both
