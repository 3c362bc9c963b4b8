"""Clients that react, held against conservation and Little's law."""

import numpy as np
import pytest

from optimizer.errors import InvalidInputError
from simulator import state
from simulator.demand_spec import ClientSpec
from simulator.scenario import parse_scenario
from simulator.world import World

from .replays import model, scenario, variant


def world(clients, *, rate=None, timeout_s=300.0, replicas=1, duration_s=600.0, **profile):
    workload = model()["workload"]
    workload.pop("rate")
    workload |= {"clients": clients} | ({"rate": {"points": [[0, rate]]}} if rate else {})
    one = variant("small-a", "A", initial_replicas=replicas)
    one["profile"] = one["profile"] | profile
    return World(
        scenario(
            duration_s=duration_s,
            models=[model(workload=workload, timeout_s=timeout_s)],
            variants=[one],
        ),
        seed=3,
    )


@pytest.mark.parametrize("users", [1, 8, 20])
def test_users_who_wait_are_as_many_as_there_are(users):
    found = world({"users": [[0, users]], "think_s": 2.0})
    most = 0
    for at_s in range(1, 300):
        found.advance(float(at_s))
        service = found.services[0]
        most = max(most, service.in_flight + service.queued)
    assert 0 < most <= users


@pytest.mark.parametrize(
    ("users", "think_s"),
    [pytest.param(5, 4.0, id="idle"), pytest.param(40, 2.0, id="saturated")],
)
def test_their_throughput_is_littles(users, think_s):
    found = world({"users": [[0, users]], "think_s": think_s}, duration_s=1200.0)
    found.advance(1200.0)
    outcomes = found.services[0].outcomes()
    done = outcomes.finished
    late = outcomes.arrival_s >= 200.0
    response_s = (outcomes.finish_s - outcomes.arrival_s)[done & late].mean()
    throughput_rps = (done & late).sum() / 1000.0
    assert throughput_rps == pytest.approx(users / (think_s + response_s), rel=0.06)


def test_users_come_and_go_with_their_number():
    found = world({"users": [[0, 2], [200, 20], [400, 0]], "think_s": 1.0})
    found.advance(600.0)
    arrived = found.services[0].outcomes().arrival_s
    rate = [np.sum((arrived >= a) & (arrived < b)) / (b - a) for a, b in ((50, 200), (250, 400))]
    assert rate[1] > 4.0 * rate[0]
    assert not np.any(arrived > 420.0)


def test_who_is_refused_asks_again_but_not_for_ever():
    limits = {"max_batch_size": 4, "max_queue_size": 0}
    plain = world({}, rate=4.0, **limits)
    asking = world({"retries": 2, "retry_after_s": 3.0}, rate=4.0, **limits)
    for one in (plain, asking):
        one.advance(700.0)
    first, all_of_them = plain.services[0].outcomes(), asking.services[0].outcomes()
    refused = np.sum(first.status == state.REJECTED)
    assert refused > 100
    fresh = asking.services[0].ledger.origin[: asking.services[0].arrived] == 0
    assert fresh.sum() == len(first.arrival_s)
    again = len(all_of_them.arrival_s) - len(first.arrival_s)
    assert refused < again <= 2 * len(first.arrival_s)
    origin = asking.services[0].ledger.origin[: asking.services[0].arrived]
    assert set(np.unique(origin)) == {0, 1, 2}
    assert np.all(np.diff(all_of_them.arrival_s) >= 0.0)


def test_without_failures_nobody_asks_again():
    plain, asking = world({}, rate=1.0), world({"retries": 3}, rate=1.0)
    for one in (plain, asking):
        one.advance(600.0)
    found = [one.services[0].outcomes() for one in (plain, asking)]
    assert np.array_equal(found[0].arrival_s, found[1].arrival_s)


def test_the_same_seed_gives_the_same_requests():
    found = []
    for _ in range(2):
        one = world({"users": [[0, 10]], "think_s": 2.0}, duration_s=200.0)
        one.advance(200.0)
        found.append(one.services[0].outcomes())
    assert np.array_equal(found[0].arrival_s, found[1].arrival_s)
    assert np.array_equal(found[0].output_tokens, found[1].output_tokens)


def test_users_and_a_rate_are_one_too_many():
    text = scenario().model_copy().model_dump_json()
    broken = text.replace('"users":[]', '"users":[[0,5]]')
    with pytest.raises(InvalidInputError, match=r"one of rate, trace and clients\.users"):
        parse_scenario(broken, origin="x")


def test_users_are_there_through_a_lead_in():
    spec = (
        scenario()
        .models[0]
        .workload.model_copy(
            update={"rate": None, "clients": ClientSpec(users=((0.0, 3), (10.0, 9)))}
        )
    )
    assert spec.later(100.0).clients.users == ((0.0, 3), (100.0, 3), (110.0, 9))
