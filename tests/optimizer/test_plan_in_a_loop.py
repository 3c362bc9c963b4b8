"""The whole plan in a closed loop: still at a steady load, one move and a correction per step.

Models don't know of each other, so that one loop serves many cases: a fixture runs it once.
"""

import numpy as np
import pytest

from tests.helpers.closed_loop import ClosedLoop, capacity_rps, reversals

HOUR_S = 3600.0
WARM_UP_S = 5400.0
MODELS = 24
STEP_AT_S = 1800.0
FACTORS = (0.5, 1.3, 2.0, 3.0)
# Rows of the steady loop: 1, 3 and 8 replicas, a dearer second variant, clusters.
STEADY = {1: slice(0, 24), 3: slice(24, 48), 8: slice(48, 72)}
DEARER, CLUSTERED = slice(72, 84), slice(84, 100)


@pytest.fixture(scope="module")
def capacity():
    return capacity_rps()


@pytest.fixture(scope="module")
def steady(capacity):
    """Return the loop after an hour of steady loads, past the warm-up, and the loads."""
    utilization = np.linspace(0.3, 0.99, MODELS)
    loads = [utilization if n == 1 else n - 1 + utilization for n in STEADY]
    loads += [np.linspace(3.1, 5.9, 12), np.linspace(1.3, 6.2, 16)]
    rate = np.concatenate(loads) * capacity
    row = np.arange(len(rate))
    loop = ClosedLoop(
        models=len(rate),
        start=np.repeat([*STEADY, 3, 4], [MODELS, MODELS, MODELS, 12, 16]),
        dearer=(row >= DEARER.start) & (row < DEARER.stop),
        max_replicas=np.where((row >= DEARER.start) & (row < DEARER.stop), 3, 50),
        dispersion=np.where(row >= CLUSTERED.start, 4.0, 1.0),
        seed=1,
        tick_s=20.0,
    )
    return loop.run(rate, seconds=WARM_UP_S + HOUR_S), rate


@pytest.mark.parametrize("replicas", STEADY)
def test_an_hour_of_steady_poisson_load_changes_nothing_at_any_utilization(
    steady, replicas, capacity
):
    loop, rate = steady
    rows = STEADY[replicas]
    assert loop.changes(since_s=WARM_UP_S)[rows].tolist() == [0] * MODELS
    assert np.all(loop.totals()[-1][rows] * capacity >= rate[rows])
    assert np.all(loop.totals()[-1][rows] <= np.ceil(rate[rows] / capacity) + 1)


def test_a_dearer_variant_is_not_called_in_and_out(steady):
    """The cheap variant is at its maximum; the dear one takes the rest, and stays."""
    loop, _ = steady
    assert loop.changes(since_s=WARM_UP_S)[DEARER].tolist() == [0] * 12


def test_clustered_arrivals_of_a_steady_rate_settle_too(steady):
    loop, _ = steady
    changes = loop.changes(since_s=WARM_UP_S)[CLUSTERED]
    assert changes.max() <= 2
    assert np.count_nonzero(changes) <= 2


@pytest.fixture(scope="module")
def stepped(capacity):
    """Return the loop after a step of each factor on 24 loads, and rates before and after."""
    before = np.tile(np.linspace(0.5, 6.0, MODELS) * capacity, len(FACTORS))
    after = before * np.repeat(FACTORS, MODELS)
    loop = ClosedLoop(models=len(before), start=2, seed=7).run(before, seconds=STEP_AT_S)
    return loop.run(after, seconds=2400.0), after


@pytest.mark.parametrize("factor", FACTORS)
def test_a_step_of_the_load_is_answered_with_at_most_one_reversal(stepped, factor, capacity):
    loop, rate = stepped
    rows = slice(MODELS * FACTORS.index(factor), MODELS * (FACTORS.index(factor) + 1))
    before = loop.totals()[int(STEP_AT_S / loop.tick_s) - 1][rows]
    after = loop.totals(since_s=STEP_AT_S)[:, rows]
    assert reversals(after).max() <= 1
    needed = np.ceil(rate[rows] / capacity)
    assert np.all(after[-1] * capacity >= rate[rows])
    assert np.all(after[-1] <= needed + 1)
    # Up within the first minute, in one step or two; down no sooner than a restart costs.
    up = needed > before
    assert np.all(after[6][up] >= needed[up])
    assert np.all(after[: int(60.0 / loop.tick_s)].min(axis=0) >= np.minimum(before, needed))


def test_another_seed_stays_still_for_an_hour_and_reverses_once_at_most_after_a_step(capacity):
    """What was measured with more of them, ticks of 10 and 20 s and 0.2 to 5.95 capacities.

    No change in 384 model-hours over that range (seeds 1 to 4). At 2.8 capacities, the load
    that was looked for as the worst, 6 in 72 model-hours; in the 144 others nearby one.
    """
    before = np.concatenate([n + np.linspace(0.2, 0.95, 6) for n in (0, 2)]) * capacity
    loop = ClosedLoop(
        models=len(before), start=np.ceil(before / capacity).astype(int), seed=2, tick_s=20.0
    )
    loop.run(before, seconds=WARM_UP_S + HOUR_S)
    assert loop.changes(since_s=WARM_UP_S).tolist() == [0] * len(before)
    loop.run(before * np.tile([0.4, 1.5, 2.5], 4), seconds=1800.0)
    assert reversals(loop.totals(since_s=WARM_UP_S + HOUR_S - loop.tick_s)).max() <= 1


def test_a_fall_is_carried_for_as_long_as_a_restart_costs(capacity):
    """Half of the load is gone for less than a restart takes, and back: nothing was removed."""
    loop = ClosedLoop(models=4, start=8, cold_start_s=180.0, seed=3)
    loop.run(6.5 * capacity, seconds=1200.0)
    before = loop.totals()[-1]
    loop.run(3.0 * capacity, seconds=120.0).run(6.5 * capacity, seconds=600.0)
    assert loop.totals(since_s=1200.0).min(axis=0).tolist() == before.tolist()


def test_a_staircase_down_is_followed_though_it_never_settles(capacity):
    """Each step is shorter than a load takes to settle: what wasn't needed goes all the same."""
    loop = ClosedLoop(models=8, start=12, cold_start_s=60.0, seed=9)
    loop.run(11.2 * capacity, seconds=1800.0)
    for replicas in (9.2, 7.2, 5.2, 3.2):
        loop.run(replicas * capacity, seconds=100.0)
    assert np.median(loop.totals()[-1]) <= 7
    assert np.all(loop.totals()[-1] >= 4)


def test_what_rises_unseen_for_a_cold_start_is_carried_by_what_is_there(capacity):
    """A step that no count can tell from noise before a replica would be ready."""
    rate = np.linspace(1.6, 6.0, 12) * capacity
    unseen = 2.0 * np.sqrt(rate / 120.0)
    loop = ClosedLoop(models=12, start=3, cold_start_s=120.0, seed=4, tick_s=20.0)
    loop.run(rate, seconds=1800.0)
    assert (loop.totals()[-1] * capacity >= rate + 0.9 * unseen).mean() > 0.9
    assert np.all(loop.totals()[-1] <= np.ceil((rate + unseen) / capacity) + 1)
