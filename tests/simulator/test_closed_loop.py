import numpy as np
import pytest

from simulator.closed_loop import play
from simulator.measures import _spells_s, interval, measure
from simulator.policies.clairvoyant import _ahead, _bridged
from simulator.policies.schedule import Fleet, cheapest_counts
from simulator.policies.scrapes import Scrapes
from simulator.policies.table import BASELINES, BOUNDS, GRIDS
from simulator.summary import summarize
from simulator.world import World

from .replays import scenario, variant


def figures(run):
    return measure(run)


@pytest.mark.parametrize("name", BASELINES)
def test_every_policy_serves_the_small_world(name):
    run = play(scenario(), name, BASELINES[name].factory, seed=2, compiled=False)
    found = figures(run)
    assert found["attainment"] > 0.9
    assert found["cost"] > 0.0
    assert found["replicas_mean"] >= 1.0


def test_a_run_is_decided_by_its_seed():
    factory = BASELINES["hpa-kv"].factory
    once, again, other = (
        figures(play(scenario(), "hpa-kv", factory, seed=seed, compiled=False))
        for seed in (1, 1, 2)
    )
    np.testing.assert_equal(once, again)
    assert once["offered"] != other["offered"] or once["ttft_p50_s"] != other["ttft_p50_s"]


def test_every_request_is_accounted_for():
    run = play(scenario(), "static", BASELINES["static"].factory, seed=1, compiled=False)
    assert (run.outcomes[0].arrival_s < 60.0).all()
    assert figures(run)["offered"] == len(run.outcomes[0].status)
    assert run.outcomes[0].finished.all()


def test_static_holds_every_replica_all_the_time():
    run = play(scenario(), "static", BASELINES["static"].factory, seed=1, compiled=False)
    assert figures(run)["replicas_mean"] == pytest.approx(8.0)
    assert figures(run)["cost"] == pytest.approx((4 * 1.0 + 4 * 4.0) * 60.0 / 3600.0)


def test_the_clairvoyant_is_cheapest_where_one_replica_is_enough():
    run = play(scenario(), "clairvoyant", BOUNDS["clairvoyant"][1](0.0), seed=1, compiled=False)
    assert figures(run)["replicas_mean"] == pytest.approx(1.0)


def test_a_summary_has_a_point_per_sample_and_minute():
    one = summarize(play(scenario(), "static", BASELINES["static"].factory, seed=1, compiled=False))
    assert len(one.at_s) == len(one.wanted[0]) == len(one.ready[1]) == 7
    assert len(one.ttft_p95_s[0]) == 1
    assert sum(one.rate_rps[0]) * 60.0 == one.figures["offered"]


@pytest.mark.parametrize(
    ("rate_rps", "expected"),
    [
        pytest.param(0.0, (0, 0), id="nothing"),
        pytest.param(1.0, (1, 0), id="the cheaper one"),
        pytest.param(9.0, (0, 1), id="one that is large"),
        pytest.param(11.0, (1, 1), id="both"),
        pytest.param(99.0, (4, 4), id="more than there is"),
    ],
)
def test_the_cheapest_counts_carry_the_rate(rate_rps, expected):
    fleet = Fleet(model=0, rows=(0, 1), least=(0, 0), most=(4, 4), cost_per_hour=(1.0, 3.0))
    assert tuple(cheapest_counts(fleet, [2.0, 9.0], rate_rps)) == expected


def test_a_schedule_starts_early_and_bridges_short_gaps():
    needed = np.array([1, 1, 1, 3, 3, 1, 1, 3, 1])
    assert _ahead(needed, 2).tolist() == [1, 3, 3, 3, 3, 3, 3, 3, 1]
    assert _bridged(np.array([2, 1, 1, 2, 1, 1, 1, 2]), 3).tolist() == [2, 2, 2, 2, 1, 1, 1, 2]


def test_grids_are_of_policies_that_exist():
    assert set(GRIDS) <= set(BASELINES)
    assert set(BASELINES) - set(GRIDS) == {"static", "keda-slo-mean"}


@pytest.mark.parametrize("policy", GRIDS)
def test_every_row_of_a_grid_is_a_setting_of_its_own(policy):
    rows = {repr((row.func, row.args, row.keywords)) for row in GRIDS[policy].values()}
    assert len(rows) == len(GRIDS[policy]) > 1


@pytest.mark.parametrize(
    ("values", "mean", "half_width"),
    [
        pytest.param([1.0, 2.0, 3.0], 2.0, 4.30 / 3**0.5, id="three"),
        pytest.param([5.0], 5.0, np.nan, id="one"),
        pytest.param([np.nan, 2.0], 2.0, np.nan, id="one that is known"),
    ],
)
def test_an_interval_is_students(values, mean, half_width):
    got = interval(np.array(values))
    np.testing.assert_allclose([got.mean, got.half_width], [mean, half_width], rtol=1e-6)


def test_nothing_of_a_lead_in_is_judged_or_paid_for():
    alone = figures(play(scenario(), "static", BASELINES["static"].factory, seed=1, compiled=False))
    led = scenario(lead_in_s=120.0)
    run = play(led, "static", BASELINES["static"].factory, seed=1, compiled=False)
    found = figures(run)
    assert found["cost"] == pytest.approx(alone["cost"])
    assert found["replicas_mean"] == pytest.approx(8.0)
    assert found["offered"] == len(run.demand[0].requests.arrival_s) == pytest.approx(120, rel=0.3)
    assert run.outcomes[0].arrival_s.min() >= 0.0
    assert run.samples[0].at_s >= 0.0
    assert run.samples[-1].at_s <= 60.0


def test_who_was_led_in_starts_from_what_it_had_come_to():
    names = ("hpa-kv", "hpa-queue")
    for name in names:
        led = scenario(lead_in_s=600.0, variants=[variant("small-a", "A", initial_replicas=4)])
        run = play(led, name, BASELINES[name].factory, seed=1, compiled=False)
        assert run.samples[0].wanted[0] < 4


def test_the_oracle_asks_for_what_the_present_needs_and_waits_for_it_like_everybody():
    stepped = scenario()
    run = play(stepped, "oracle", BOUNDS["oracle"][1](0.0), seed=1, compiled=False)
    wanted = np.array([sample.wanted for sample in run.samples])
    assert wanted.min() >= stepped.variants[0].min_replicas
    clairvoyant = play(stepped, "c", BOUNDS["clairvoyant"][1](0.0), seed=1, compiled=False)
    assert run.usage[0].wanted_s <= clairvoyant.usage[0].wanted_s + 1e-6


def test_late_metrics_show_what_was():
    seen = {}
    for late_s in (0.0, 15.0):
        world = World(scenario(), seed=1, compiled=False)
        world.delay_metrics(late_s)
        scrapes = Scrapes(600.0)
        for at_s in range(5, 65, 5):
            world.advance(float(at_s))
            scrapes.take(world)
        seen[late_s] = [reading.finished for reading in scrapes._readings if reading.pod == 0]
    assert seen[15.0] == seen[0.0][: len(seen[15.0])]
    assert len(seen[0.0]) - len(seen[15.0]) == 3
    assert seen[0.0][-1] > seen[15.0][-1]


def test_the_time_to_cover_a_demand_is_that_of_the_spells_in_which_it_was_not():
    at_s = np.arange(0.0, 100.0, 10.0)
    short = np.array([0, 1, 1, 0, 0, 1, 0, 0, 1, 1], dtype=bool)
    assert _spells_s(at_s, short) == [20.0, 10.0, 10.0]
    assert _spells_s(at_s, np.zeros(10, dtype=bool)) == []
