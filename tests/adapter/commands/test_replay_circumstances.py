import numpy as np
import pytest

from adapter.commands.replay_circumstances import circumstances_of
from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import wva_policy
from simulator.closed_loop import play
from simulator.policies.hpa_loop import HpaLoop, hpa_specs
from simulator.scenario import Event, NodeSpec
from simulator.world import World

from ...simulator.replays import model, scenario, variant


def of(one, *, asked, until_s):
    world = World(one, seed=1, compiled=False)
    world.scale(0, asked)
    world.advance(until_s)
    return circumstances_of(world, replay_settings(one))


def test_pods_that_find_no_node_bound_what_can_be_had():
    one = scenario(nodes=[NodeSpec(accelerator="A", accelerators=2).model_dump()])
    found = of(one, asked=4, until_s=30.0)
    assert found.reachable_replicas.tolist() == [3, -1]
    assert found.texts["stuck"][0].startswith("stockout: small-a-")
    assert found.texts["stuck"][1] == ""


def test_pods_that_start_bound_nothing():
    assert of(scenario(), asked=4, until_s=1.0).reachable_replicas.tolist() == [-1, -1]


def test_starts_are_shown_by_pods_that_started_and_not_by_those_there_before():
    before, after = (of(scenario(), asked=2, until_s=t).cold_start_s for t in (5.0, 30.0))
    assert np.isnan(before).all()
    assert after[0] == pytest.approx(10.0)
    assert np.isnan(after[1])


def test_a_rollout_is_told_while_it_lasts():
    update = Event(at_s=5.0, kind="rolling-update", variant="small-a").model_dump()
    one = scenario(events=[update])
    assert of(one, asked=1, until_s=6.0).rolling.tolist() == [True, False]
    assert not of(one, asked=1, until_s=50.0).rolling.any()


def test_nodes_are_declared_as_a_count_and_nothing_where_nodes_may_be_added():
    nodes = [NodeSpec(accelerator="A", accelerators=2, count=3).model_dump()]
    accelerators = replay_settings(scenario(nodes=nodes)).accelerators
    assert accelerators["A"].count == 6
    assert accelerators["B"].count is None


def rare():
    asleep = [variant("small-a", "A", initial_replicas=0)]
    loaded = model(ttft_s=60.0)
    loaded["workload"] = loaded["workload"] | {"rate": {"points": [[0, 0.0], [60, 2.0]]}}
    return scenario(duration_s=180.0, models=[loaded], variants=asleep)


@pytest.mark.parametrize("keda", [False, True], ids=["hpa", "keda"])
def test_a_request_wakes_what_sleeps(keda):
    one = rare()
    settings = replay_settings(one)
    run = play(one, "wva", lambda world: wva_policy(world, settings, keda=keda), seed=1)
    woken = next(action for action in run.actions if action.after > 0)
    assert woken.before == 0
    assert 60.0 <= woken.at_s <= 90.0


def test_an_hpa_with_a_minimum_above_zero_starts_with_it_and_reads_nothing_at_zero():
    world = World(rare(), seed=1, compiled=False)
    loop = HpaLoop(specs=hpa_specs(world, None), signal=lambda _: [3.0])
    loop.sync(world)
    assert int(world.wanted[0]) == 1
