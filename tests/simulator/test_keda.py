"""The stand-in for KEDA against the table of its scale executor and of its fallback."""

import pytest

from simulator.closed_loop import play
from simulator.keda import Fallback, KedaState, ScaledObject, request_scale, served
from simulator.policies.keda_queue import QueueSettings, keda_queue
from simulator.scenario import load_scenario

NEVER, LATELY = KedaState(), KedaState(last_active_s=900.0)
ZERO, TWO = ScaledObject(), ScaledObject(min_replicas=2)
SAFE = ScaledObject(fallback=Fallback(replicas=4))
RECKLESS = ScaledObject(fallback=Fallback(replicas=0))


@pytest.mark.parametrize(
    ("spec", "state", "replicas", "active", "expected"),
    [
        pytest.param(ZERO, NEVER, 0, True, 1, id="woken to one"),
        pytest.param(TWO, NEVER, 0, True, 2, id="woken to the minimum"),
        pytest.param(ZERO, LATELY, 7, True, 7, id="active: the HPA's business"),
        pytest.param(ZERO, LATELY, 7, False, 7, id="cooling down"),
        pytest.param(ZERO, KedaState(last_active_s=699.0), 7, False, 0, id="cooled down"),
        pytest.param(ZERO, NEVER, 7, False, 0, id="never active: no cooldown"),
        pytest.param(ZERO, NEVER, 0, False, 0, id="asleep"),
        pytest.param(TWO, NEVER, 1, False, 2, id="below the minimum"),
        pytest.param(TWO, NEVER, 5, False, 5, id="above it"),
        pytest.param(ZERO, NEVER, 7, None, 7, id="failed: nothing changes"),
        pytest.param(SAFE, NEVER, 7, None, 7, id="failed: the fallback acts through the HPA"),
        pytest.param(RECKLESS, NEVER, 7, None, 0, id="failed, fallback of 0: asleep"),
    ],
)
def test_a_poll_moves_between_zero_and_one_only(spec, state, replicas, active, expected):
    count, after = request_scale(state, spec, replicas=replicas, active=active, now_s=1000.0)
    assert count == expected
    assert after.last_active_s == (1000.0 if active else state.last_active_s)


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        ("static", 4.0),
        ("currentReplicas", 6.0),
        ("currentReplicasIfHigher", 6.0),
        ("currentReplicasIfLower", 4.0),
    ],
)
def test_after_too_many_failures_the_fallback_is_served(behavior, expected):
    spec = ScaledObject(fallback=Fallback(failure_threshold=2, replicas=4, behavior=behavior))
    state, seen = NEVER, []
    for value in (3.0, None, None, None, None, 3.0, None):
        given, state = served(state, spec, value=value, replicas=6)
        seen.append(given)
    assert seen == [3.0, None, None, expected, expected, 3.0, None]


def test_without_a_fallback_a_failure_stays_an_error():
    state = NEVER
    for _ in range(10):
        given, state = served(state, ZERO, value=None, replicas=6)
        assert given is None


def test_a_queue_wakes_what_sleeps_and_the_cooldown_lets_it_sleep_again():
    scenario = load_scenario("scale-to-zero").model_copy(
        update={"duration_s": 3000.0, "lead_in_s": 0.0}
    )
    run = play(
        scenario,
        "keda-queue",
        lambda world: keda_queue(world, QueueSettings()),
        seed=1,
        compiled=False,
    )
    counts = [(action.before, action.after) for action in run.actions]
    assert counts[0] == (0, 1)
    assert counts[-1][1] == 0
    woken_s, asleep_s = run.actions[0].at_s, run.actions[-1].at_s
    assert 600.0 <= woken_s <= 660.0
    assert asleep_s >= 720.0 + QueueSettings().cooldown_s - 120.0
    assert (run.outcomes[0].finished).all()
