"""Demand a cold start from now: not worse than the last value, and with honest quantiles."""

import numpy as np
import pytest

from optimizer.forecast import observe, outlook
from optimizer.forecast_state import ForecastState

WINDOW_S, TICK_S = 20.0, 5.0
MONDAY_S = 4.0 * 86400.0
EVERY_MINUTE = {"horizon_s": 900.0, "window_s": 60.0, "tick_s": 60.0}


def run(rates, *, horizon_s=120.0, window_s=WINDOW_S, tick_s=TICK_S, unix_s=MONDAY_S, upper=0.9):
    """Feed rates, shape (ticks, models), and yield (state, outlook) after each tick."""
    models = rates.shape[1]
    names = tuple(f"m{i}" for i in range(models))
    state, horizon = ForecastState.empty(names), np.full(models, horizon_s)
    for tick, rate in enumerate(rates):
        now_s = tick * tick_s
        clock = {"now_s": now_s, "now_unix_s": unix_s + now_s, "window_s": window_s}
        state = observe(
            state,
            names=names,
            rate_rps=rate,
            horizon_s=horizon,
            steady=np.ones(models, dtype=np.bool_),
            **clock,
        )
        yield (
            state,
            outlook(
                state,
                horizon_s=horizon,
                upper_ratio=np.full(models, upper),
                surely_ratio=np.full(models, (1.0 + upper) / 2.0),
                **clock,
            ),
        )


def poisson_rates(rate_rps, *, models=20, seed=3):
    counts = np.random.default_rng(seed).poisson(
        np.asarray(rate_rps)[:, None] * TICK_S, (len(rate_rps), models)
    )
    totals = np.cumsum(np.concatenate([np.zeros((4, models)), counts]), axis=0)
    return (totals[4:] - totals[:-4])[3:] / WINDOW_S


def last(items):
    *_, final = items
    return final


def test_a_steady_load_is_forecast_to_stay_within_its_own_standard_error():
    _, seen = last(run(poisson_rates(np.full(720, 10.0))))
    assert seen.expected_rps == pytest.approx(np.full(20, 10.0), rel=0.05)
    # Counting noise is the queueing model's business: only what the level isn't sure of is left.
    assert np.median(seen.upper_rps / seen.level_rps) < 1.03


def test_a_ramp_is_seen_to_go_on():
    ramp = np.concatenate([np.full(240, 10.0), np.linspace(10.0, 50.0, 240)])
    slope_rps_per_s = 40.0 / (240 * TICK_S)
    _, seen = last(run(poisson_rates(ramp), horizon_s=120.0))
    ahead = 50.0 + 120.0 * slope_rps_per_s
    assert np.median(seen.upper_rps) > 50.0
    assert np.median(seen.upper_rps) == pytest.approx(ahead, rel=0.12)


def test_the_second_day_knows_what_the_first_was_like():
    """Load doubles at nine every day; at ten to nine on the third, 15 minutes ahead, it shows."""
    hours = np.arange(0.0, 57.0 - 1.0 / 6.0, 1.0 / 60.0)
    rate = np.interp(hours % 24, [8.5, 9.5, 16.5, 17.5], [10.0, 20.0, 20.0, 10.0])
    _, first_day = last(run(rate[: 9 * 60 - 10, None], **EVERY_MINUTE))
    _, third_day = last(run(rate[:, None], **EVERY_MINUTE))
    assert third_day.level_rps == pytest.approx(first_day.level_rps)
    assert third_day.upper_rps[0] > 1.15 * third_day.level_rps[0]
    assert third_day.upper_rps[0] > 1.1 * first_day.upper_rps[0]


def test_upper_quantiles_hold_as_often_as_they_say():
    """Of a load that steps at random, the rate a horizon later is below the upper quantile."""
    random = np.random.default_rng(5)
    truth = np.repeat(random.uniform(5.0, 20.0, 40), 60)
    steps = int(120.0 / TICK_S)
    uppers = np.array([seen.upper_rps for _, seen in run(poisson_rates(truth), upper=0.9)])
    later = truth[3:][steps:]
    held = uppers[:-steps][600:] >= later[600:, None] * 0.98
    # A little less often: what is put down to counting is taken off.
    assert held.mean() == pytest.approx(0.87, abs=0.08)


def test_uncertainty_fades_when_the_load_has_been_steady_for_long():
    bursts = np.where(np.arange(720) % 120 < 20, 40.0, 8.0)
    calm = np.full(2160, 8.0)
    ratios = [
        float(np.median(seen.upper_rps / seen.level_rps))
        for _, seen in run(poisson_rates(np.concatenate([bursts, calm])))
    ]
    assert ratios[700] > 1.5
    assert ratios[-1] < 1.25


def test_nothing_read_gives_nothing():
    _, seen = last(run(np.full((10, 2), np.nan)))
    assert np.isnan(seen.upper_rps).all()


def test_models_are_matched_by_name():
    state, _ = last(run(np.tile([5.0, 50.0], (200, 1))))
    turned = state.aligned(("m1", "new"))
    assert turned.level.last_rps[0] == 50.0
    assert np.isnan(turned.level.last_rps[1])
    assert turned.turn == state.turn
    assert turned.said_rps.shape == state.said_rps.shape


@pytest.mark.parametrize("gap_s", [5.0, 90.0, 4000.0])
def test_a_gap_in_the_readings_is_survived(gap_s):
    rates = np.full((200, 1), 7.0)
    state, _ = last(run(rates))
    names, one = state.names, np.ones(1)
    now_s = 199 * TICK_S + gap_s
    clock = {"now_s": now_s, "now_unix_s": MONDAY_S + now_s, "window_s": WINDOW_S}
    state = observe(
        state, names=names, rate_rps=7.0 * one, horizon_s=60.0 * one, steady=one > 0, **clock
    )
    seen = outlook(
        state, horizon_s=60.0 * one, upper_ratio=0.9 * one, surely_ratio=0.95 * one, **clock
    )
    assert seen.expected_rps[0] == pytest.approx(7.0, rel=0.01)
