"""Requests that no replica's window holds: those of replicas that went, or have just come."""

import numpy as np
import pytest

from adapter.analyze import Memory, analyze
from adapter.moved_demand import Moved, moved_rps
from adapter.records import Reason, ReplicaState
from optimizer import Policy
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

WINDOW_S = 20.0


@pytest.fixture
def catalog():
    return catalog_of("variants: [{name: a, model: m, accelerator: H100}]")


def look(catalog, replicas, memory=None, *, now_s, first_pages=()):
    """Return the analysis of one look, in which some replicas have been read once only."""
    snapshot = snapshot_of(catalog, replicas, taken_s=now_s)
    for row in first_pages:
        for signal in ("completion_rate_rps", "inflight_slope_rps", "arrival_rate_rps"):
            snapshot.replica[signal].reasons[row] = Reason.ONE_SCRAPE
            snapshot.replica[signal].values[row] = np.nan
    policy = Policy(observation_window_s=WINDOW_S)
    return analyze(snapshot, catalog, memory or Memory.empty(), policy=policy)


def demand(analysis) -> float:
    return float(analysis.request.models.arrival_rate_rps[0])


def test_what_a_replica_took_that_has_gone_leaves_the_window_evenly(catalog):
    both = look(catalog, [replica(0, "a0"), replica(0, "a1")], now_s=100.0)
    seen, memory = [], both.memory
    for now_s in (105.0, 110.0, 115.0, 120.0, 125.0, 130.0):
        got = look(catalog, [replica(0, "a0")], memory, now_s=now_s)
        seen.append(demand(got))
        memory = got.memory
    np.testing.assert_allclose(seen, [2.0, 1.75, 1.5, 1.25, 1.0, 1.0])


def test_what_a_new_replica_has_in_flight_came_within_the_window(catalog):
    before = look(
        catalog,
        [replica(0, "a0"), replica(0, "a1", state=ReplicaState.STARTING, age_s=None)],
        now_s=100.0,
    )
    both = [replica(0, "a0"), replica(0, "a1", running_requests=30.0, waiting_requests=10.0)]
    first = look(catalog, both, before.memory, now_s=105.0, first_pages=[1])
    assert demand(first) == pytest.approx(1.0 + 40.0 / WINDOW_S)
    second = look(catalog, both, first.memory, now_s=110.0)
    assert demand(second) == pytest.approx(2.0 + 40.0 / WINDOW_S)
    later = look(catalog, both, second.memory, now_s=125.0)
    assert demand(later) == pytest.approx(2.0)


def test_a_first_look_takes_nothing_for_new(catalog):
    replicas = [replica(0, "a0"), replica(0, "a1", running_requests=30.0)]
    assert demand(look(catalog, replicas, now_s=100.0, first_pages=[1])) == pytest.approx(1.0)


def test_a_replica_that_goes_on_after_one_bad_scrape_isn_t_new(catalog):
    replicas = [replica(0, "a0"), replica(0, "a1", running_requests=30.0)]
    known = look(catalog, replicas, now_s=100.0)
    again = look(catalog, replicas, known.memory, now_s=105.0, first_pages=[1])
    assert demand(again) == pytest.approx(2.0)


def test_who_went_while_nobody_looked_adds_nothing(catalog):
    both = look(catalog, [replica(0, "a0"), replica(0, "a1")], now_s=100.0)
    late = look(catalog, [replica(0, "a0")], both.memory, now_s=100.0 + WINDOW_S)
    assert demand(late) == pytest.approx(1.0)


def test_models_that_are_forgotten_take_their_requests_with_them():
    moved = Moved.nothing().left(("old", "m"), np.array([3.0, 2.0]), now_s=0.0)
    got = moved_rps(moved, ("m", "new"), now_s=10.0, window_s=WINDOW_S)
    np.testing.assert_allclose(got, [1.0, 0.0])


def test_what_is_older_than_the_window_is_let_go():
    moved = Moved.nothing().left(("m",), np.array([3.0]), now_s=0.0)
    moved = moved.joined(("m",), np.array([1.0]), now_s=15.0)
    assert moved.within(25.0, WINDOW_S).rate_rps.tolist() == [1.0]
