import numpy as np
import pytest

from optimizer.errors import InvalidInputError
from simulator.pod import PodState
from simulator.world import World

from .replays import scenario, variant


def world(**changes):
    return World(scenario(**changes), seed=1, compiled=False)


def test_a_replica_is_ready_a_cold_start_after_it_was_asked_for():
    one = world()
    one.advance(5.0)
    one.scale(0, 2)
    one.advance(14.9)
    assert one.count(0, PodState.READY) == 1
    one.advance(15.1)
    assert one.count(0, PodState.READY) == 2


def test_starting_replicas_go_before_ready_ones():
    one = world()
    one.scale(0, 3)
    one.scale(0, 1)
    assert one.count(0, PodState.STARTING) == 0
    assert one.count(0, PodState.READY) == 1


def test_a_pod_that_is_let_go_finishes_what_it_has():
    one = world(variants=[variant("small-a", "A", initial_replicas=2)])
    one.advance(20.0)
    one.scale(0, 1)
    one.advance(60.0)
    assert len(one.pods) == 1
    assert (one.services[0].outcomes().status != 6).all()


def test_a_pod_that_may_not_finish_loses_requests():
    busy = {"points": [[0, 20.0]]}
    loaded = scenario().models[0].model_dump()
    loaded["workload"]["rate"] = busy
    one = world(
        models=[loaded], variants=[variant("small-a", "A", initial_replicas=2, grace_s=0.0)]
    )
    one.advance(20.0)
    one.scale(0, 1)
    one.advance(25.0)
    assert (one.services[0].outcomes().status == 6).any()


def test_what_fits_no_node_waits_for_one():
    one = world(nodes=[{"accelerator": "A", "accelerators": 2, "count": 1}])
    one.scale(0, 3)
    one.advance(30.0)
    assert one.count(0, PodState.READY) == 2
    assert one.count(0, PodState.PENDING) == 1
    one.scale(0, 2)
    assert one.count(0, PodState.PENDING) == 0


def test_a_lost_node_takes_its_pods_and_others_follow():
    nodes = [{"accelerator": "A", "accelerators": 2, "count": 2}]
    one = world(
        nodes=nodes,
        variants=[variant("small-a", "A", initial_replicas=2)],
        events=[{"at_s": 20.0, "kind": "node-loss", "accelerator": "A", "until_s": 50.0}],
    )
    one.advance(21.0)
    assert one.count(0, PodState.READY) == 0
    assert one.count(0, PodState.STARTING) == 2
    one.advance(31.0)
    assert one.count(0, PodState.READY) == 2


def test_nothing_starts_while_a_type_is_sold_out():
    one = world(events=[{"at_s": 5.0, "kind": "stock-out", "accelerator": "A", "until_s": 30.0}])
    one.advance(6.0)
    one.scale(0, 2)
    one.advance(29.0)
    assert one.count(0, PodState.PENDING) == 1
    one.advance(41.0)
    assert one.count(0, PodState.READY) == 2


def test_spot_pods_go_after_their_notice():
    one = world(
        variants=[variant("small-a", "A", initial_replicas=4)],
        events=[{"at_s": 10.0, "kind": "spot-loss", "variant": "small-a", "share": 0.5}],
    )
    one.advance(11.0)
    assert one.count(0, PodState.READY) == 2
    assert one.count(0, PodState.STARTING) == 2


def test_a_rolling_update_replaces_every_pod_and_never_has_fewer():
    one = world(
        variants=[variant("small-a", "A", initial_replicas=3)],
        events=[{"at_s": 5.0, "kind": "rolling-update", "variant": "small-a"}],
    )
    least = 3
    for at_s in np.arange(1.0, 60.0):
        one.advance(float(at_s))
        least = min(least, one.count(0, PodState.READY))
    assert least == 3
    assert [pod.generation for pod in one.pods] == [1, 1, 1]


def test_counts_beyond_the_bounds_are_refused():
    with pytest.raises(InvalidInputError, match="5 replicas of small-a; must be 0 to 4"):
        world().scale(0, 5)


def test_usage_counts_what_is_held():
    one = world()
    one.advance(10.0)
    one.scale(0, 2)
    one.advance(30.0)
    assert one.usage[0].wanted_s == pytest.approx(50.0)
    assert one.usage[0].held_s == pytest.approx(50.0)
    assert one.usage[0].most == 2
