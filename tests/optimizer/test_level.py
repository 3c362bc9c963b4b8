"""The rate now: still while the load is, there at once when it moves."""

import numpy as np
import pytest

from optimizer.level import LevelState, follow, level_now

WINDOW_S, TICK_S = 20.0, 5.0


def watched(counts, *, state=None, start_s=0.0):
    """Feed counts per tick, shape (ticks, models); return the state and the levels seen."""
    state = state or LevelState.empty(counts.shape[1])
    steady, seen = np.ones(counts.shape[1], dtype=np.bool_), []
    for tick in range(4, len(counts) + 1):
        now_s = start_s + tick * TICK_S
        state = follow(
            state,
            counts[tick - 4 : tick].sum(axis=0) / WINDOW_S,
            now_s=now_s,
            elapsed_s=TICK_S,
            window_s=WINDOW_S,
            steady=steady,
        )
        seen.append(level_now(state, now_s=now_s, window_s=WINDOW_S))
    return state, seen


def poisson(rate_rps, *, ticks, models=200, seed=1):
    return np.random.default_rng(seed).poisson(rate_rps * TICK_S, (ticks, models)).astype(float)


@pytest.mark.parametrize("rate_rps", [0.5, 2.0, 10.0, 50.0])
def test_a_steady_load_is_known_better_than_one_window_knows_it(rate_rps):
    _, seen = watched(poisson(rate_rps, ticks=500))
    errors = seen[-1].rate_rps - rate_rps
    assert errors.std() < 0.2 * np.sqrt(rate_rps / WINDOW_S)
    assert (errors / seen[-1].error_rps).std() == pytest.approx(1.0, abs=0.2)


def test_an_hour_of_steady_load_moves_the_level_by_a_few_per_cent():
    _, seen = watched(poisson(10.0, ticks=960))
    rates = np.array([level.rate_rps for level in seen[240:]])
    moved = (rates.max(axis=0) - rates.min(axis=0)) / 10.0
    assert np.quantile(moved, 0.99) < 0.06


@pytest.mark.parametrize(
    ("factor", "within_s"),
    [pytest.param(2.0, 30.0, id="doubled"), pytest.param(1.5, 60.0, id="half-more"),
     pytest.param(0.5, 40.0, id="halved"), pytest.param(1.2, 200.0, id="a-fifth-more")],
)  # fmt: skip
def test_a_step_is_followed_once_it_stands_clear_of_the_noise(factor, within_s):
    before, after = poisson(20.0, ticks=300), poisson(20.0 * factor, ticks=80, seed=2)
    _, seen = watched(np.concatenate([before, after]))
    late = np.array([level.rate_rps for level in seen])[300 - 4 + int(within_s / TICK_S)]
    assert np.median(late) == pytest.approx(20.0 * factor, rel=0.1)


def test_arrivals_in_clusters_are_told_from_poisson_ones():
    single = poisson(10.0, ticks=400)
    clusters = 8.0 * poisson(10.0 / 8.0, ticks=400)
    assert watched(single)[0].dispersion.mean() == pytest.approx(1.0, abs=0.15)
    assert watched(clusters)[0].dispersion.mean() == pytest.approx(8.0, rel=0.25)


def test_clusters_are_told_by_windows_that_do_not_overlap_as_well():
    counts = 8.0 * poisson(10.0 / 8.0, ticks=400)
    windows = counts.reshape(100, 4, -1).sum(axis=1) / WINDOW_S
    state, steady = LevelState.empty(counts.shape[1]), np.ones(counts.shape[1], dtype=np.bool_)
    for place, rate_rps in enumerate(windows):
        state = follow(
            state,
            rate_rps,
            now_s=(place + 1) * WINDOW_S,
            elapsed_s=WINDOW_S if place else np.inf,
            window_s=WINDOW_S,
            steady=steady,
        )
    assert state.dispersion.mean() == pytest.approx(8.0, rel=0.25)


def test_a_poisson_load_is_rarely_taken_for_a_clustered_one():
    state, _ = watched(poisson(10.0, ticks=720, seed=3))
    assert (state.dispersion > 1.4).mean() < 0.01


def test_arrivals_that_begin_to_cluster_are_known_for_it_within_ten_minutes():
    before, after = poisson(10.0, ticks=720), 8.0 * poisson(10.0 / 8.0, ticks=120, seed=2)
    state, _ = watched(np.concatenate([before, after]))
    assert np.median(state.dispersion) > 3.0


def test_a_step_is_not_taken_for_dispersion():
    before, after = poisson(20.0, ticks=300), poisson(80.0, ticks=60, seed=2)
    state, _ = watched(np.concatenate([before, after]))
    assert state.dispersion.max() < 2.5


def test_unknown_readings_change_nothing_but_time():
    state, seen = watched(poisson(10.0, ticks=200))
    later = follow(
        state,
        np.full(200, np.nan),
        now_s=1005.0,
        elapsed_s=5.0,
        window_s=WINDOW_S,
        steady=np.ones(200, dtype=np.bool_),
    )
    level = level_now(later, now_s=1005.0, window_s=WINDOW_S)
    assert np.allclose(level.rate_rps, seen[-1].rate_rps, rtol=0.02)
    assert np.all(later.dispersion == state.dispersion)


def test_nothing_read_is_not_zero():
    level = level_now(LevelState.empty(2), now_s=0.0, window_s=WINDOW_S)
    assert np.isnan(level.rate_rps).all()


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param(4.0, 6.0, id="4-to-6"), pytest.param(6.0, 8.0, id="6-to-8"),
     pytest.param(10.0, 15.0, id="10-to-15"), pytest.param(2.0, 4.0, id="2-to-4")],
)  # fmt: skip
def test_what_is_bought_follows_a_rise_within_a_minute(before, after):
    """The largest of the last minute, which a settling load is held at, reaches the new rate."""
    counts = [poisson(before, ticks=360), poisson(after, ticks=12, seed=2)]
    _, seen = watched(np.concatenate(counts))
    bought = np.array([level.risen_rps + 1.28 * level.error_rps for level in seen[-12:]])
    assert (bought.max(axis=0) >= after).mean() > 0.8
    assert np.median(bought.max(axis=0)) < 1.3 * after
    # At best a minute of counting: half of all errors stay within twice its standard error.
    assert np.median(np.abs(seen[-1].rate_rps / after - 1.0)) < 2.0 / np.sqrt(60.0 * after)


def test_a_steady_load_has_no_rise():
    _, seen = watched(poisson(10.0, ticks=960))
    lifted = [(level.risen_rps > 1.1 * level.rate_rps).mean() for level in seen[120:]]
    assert np.mean(lifted) < 0.001


@pytest.mark.parametrize(
    ("rise", "after"),
    [pytest.param(10.0, 4.0, id="10-to-4"), pytest.param(40.0, 12.0, id="40-to-12")],
)
def test_a_rise_that_has_fallen_again_is_over(rise, after):
    """Long means still lie above longer ones; the newest say that nothing of it is left."""
    hour = [poisson(2.0, ticks=360), poisson(rise, ticks=120, seed=2)]
    _, seen = watched(np.concatenate([*hour, poisson(after, ticks=36, seed=3)]))
    bought = np.array([level.risen_rps for level in seen[-24:]])
    assert (bought.max(axis=0) < 0.5 * (rise + after)).all()
    assert np.median(bought[-1]) < 1.2 * after
