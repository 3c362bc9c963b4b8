"""The comparison with the independent engine simulator, where its environment is there."""

import numpy as np
import pytest

from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import Adapter
from bench.referee import BOUNDS, FOLDER, POINTS, compare
from bench.referee_loop import closed_loop
from bench.referee_world import RefereeWorld
from simulator.pod import PodState
from simulator.scenario import load_scenario

there = (FOLDER / "bin" / "python").exists()
NAMES = ("chat, busy", "64 slots, full", "long prompts, half")


@pytest.mark.skipif(not there, reason="no referee: python -m bench.referee --install")
def test_the_engine_is_like_one_that_somebody_else_wrote():
    points = [point for point in POINTS if point.name in NAMES]
    for row in compare(points):
        assert abs(row.value) <= BOUNDS[row.name.rpartition(": ")[2]], row.name


def test_points_are_many_and_different():
    assert len({point.name for point in POINTS}) == len(POINTS) >= 12
    shapes = {(point.prompt, point.output) for point in POINTS}
    assert len(shapes) >= 5
    assert np.ptp([point.rate_rps for point in POINTS]) > 10


TOLD = {
    "active": 2,
    "workers": {
        "0": {
            "steps": [(0.02, 4, 0), (0.03, 5, 512), (0.02, 6, 0)],
            "running": 6,
            "waiting": 3,
            "kv_tokens": 27_600,
        }
    },
    "ended": [
        {
            "at_s": 4.0,
            "requests": 2,
            "prompt_tokens": 4000.0,
            "output_tokens": 101.0,
            "ttft_s": 0.5,
            "itl_s": 0.02,
        }
    ],
}


@pytest.fixture
def world(monkeypatch):
    """Return the ramp as served by a referee that says the same every time."""
    world = RefereeWorld(load_scenario("public-ramp").led_in(), seed=1)
    world._created(3)
    monkeypatch.setattr(world, "_asked", lambda command: {} if "scale" in command else TOLD)
    return world


def test_wva_reads_the_referees_workers_as_it_reads_vllm(world):
    adapter = Adapter.of(replay_settings(load_scenario("public-ramp")), world)
    for until_s in (5.0, 10.0, 15.0):
        world.advance(until_s)
        snapshot = adapter.snapshot(world)
    seen = {
        name: snapshot.replica[name].values.tolist()
        for name in ("running_requests", "waiting_requests", "kv_usage_ratio", "itl_mean_s")
    }
    assert seen["running_requests"][:2] == [6.0, 0.0]
    assert seen["waiting_requests"][:2] == [3.0, 0.0]
    assert seen["kv_usage_ratio"][0] == pytest.approx(0.1)
    assert seen["itl_mean_s"][0] == pytest.approx((4 * 0.02 + 5 * 0.03 + 6 * 0.02) / 15)
    assert snapshot.ready_replicas.tolist() == [2]
    rate_rps = np.nansum(snapshot.replica["completion_rate_rps"].values)
    assert rate_rps == pytest.approx(2 / 5.0)


def test_the_newest_workers_go_first_and_new_ones_get_new_numbers(world):
    world.advance(5.0)
    world.scale(0, 5)
    world.scale(0, 4)
    world.scale(0, 6)
    assert [pod.number for pod in world.pods] == [0, 1, 2, 3, 5, 6]
    assert world.count(0, PodState.READY) == 2
    assert [(a.before, a.after) for a in world.actions] == [(3, 5), (5, 4), (4, 6)]


def test_a_request_that_ended_has_its_times_back(world):
    world.advance(5.0)
    first = world.ended[0]
    constant_s = 0.015  # which the referee doesn't have
    assert first.finish_s - first.first_token_s == pytest.approx(100 * 0.02)
    assert first.first_token_s - first.arrival_s == pytest.approx(0.5 + constant_s)
    assert first.finish_s == pytest.approx(4.0 + constant_s)


@pytest.mark.skipif(not there, reason="no referee: python -m bench.referee --install")
def test_the_referee_obeys_and_serves_what_ours_serves():
    ramp = load_scenario("public-ramp")
    short = ramp.model_copy(update={"duration_s": 240.0, "lead_in_s": 0.0, "drain_s": 120.0})
    found = closed_loop(short, "hpa-kv", seed=1)
    assert found.attainment > 0.95
    assert 3.0 <= found.replicas_mean <= 4.0
