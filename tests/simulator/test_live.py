"""The live engine gives what the offline one gives, however it is driven."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import InvalidInputError
from simulator import live, state
from simulator.engine import EngineSpec, RequestStatus, simulate
from simulator.live import LiveEngine

from .reference_engine import ReferenceEngine
from .test_engine_exact import TICK_S, histogram, specs, workloads


def drive(engine, workload, moments_s):
    """Submit each request when its time has come, advancing at `moments_s` in between."""
    arrival_s, prompt, output, cached = (column.tolist() for column in workload)
    moments_s = sorted(set(moments_s) | set(arrival_s))
    ended = []
    upcoming = list(range(len(arrival_s)))
    for moment_s in moments_s:
        ended += engine.advance(moment_s)
        while upcoming and arrival_s[upcoming[0]] <= moment_s:
            key = upcoming.pop(0)
            engine.submit(
                key,
                arrival_s=arrival_s[key],
                prompt_tokens=prompt[key],
                output_tokens=output[key],
                cached_tokens=cached[key],
            )
    return ended + engine.advance(math.inf)


@settings(max_examples=150, deadline=None)
@given(spec=specs(), workload=workloads(), pauses=st.lists(st.integers(0, 2_000_000), max_size=30))
def test_how_often_it_is_advanced_changes_nothing(spec, workload, pauses):
    offline = simulate(spec, *workload[:3], cached_tokens=workload[3], compiled=False)
    engine = LiveEngine(spec, start_s=float(workload[0][0]) if workload[0].size else 0.0)
    ended = drive(engine, workload, [pause * TICK_S for pause in pauses])
    assert sorted(request.key for request in ended) == list(range(workload[0].size))
    for request in ended:
        assert request.status == offline.status[request.key]
        assert request.preemptions == offline.preemptions[request.key]
        for name in ("scheduled_s", "first_token_s", "finish_s"):
            np.testing.assert_equal(getattr(request, name), getattr(offline, name)[request.key])
    assert engine.in_flight == engine.running == engine.waiting == 0
    assert engine.kv_cache_usage_ratio == 0.0
    counted = ReferenceEngine(spec, *workload).run().counted
    bounds = np.array(state.ITL_BOUNDS_S)
    np.testing.assert_array_equal(engine.meters.itl_counts, histogram(counted.itl_s, bounds))
    assert engine.meters.totals[state.STEPS] == counted.steps


@settings(max_examples=60, deadline=None)
@given(spec=specs(), workload=workloads(), pauses=st.lists(st.integers(0, 2_000_000), max_size=30))
def test_forgetting_ended_requests_changes_nothing(spec, workload, pauses):
    forgetful = pytest.MonkeyPatch()
    with forgetful.context() as patch:
        patch.setattr(live, "FORGET_AFTER", 1)
        start_s = float(workload[0][0]) if workload[0].size else 0.0
        ended = drive(
            LiveEngine(spec, start_s=start_s), workload, [pause * TICK_S for pause in pauses]
        )
    reference = ReferenceEngine(spec, *workload).run()
    assert sorted(r.key for r in ended) == list(range(workload[0].size))
    for request in ended:
        expected = reference.all[request.key]
        assert request.status == RequestStatus[expected.status.upper()]
        np.testing.assert_equal(request.first_token_s, expected.first_token_s)
        np.testing.assert_equal(request.finish_s, expected.finish_s)


def test_noise_is_drawn_per_step_however_it_is_advanced():
    spec = EngineSpec(iteration_base_s=0.01, max_num_seqs=4, step_noise_cv=0.5)
    random = np.random.default_rng(3)
    ones = np.ones(60, dtype=np.int64)
    workload = (np.cumsum(random.exponential(0.05, 60)), ones, ones * 9, ones * 0)
    offline = simulate(spec, *workload[:3], seed=8, compiled=False)
    start_s = float(workload[0][0])
    pauses = random.uniform(0.0, 4.0, 300).tolist()
    for moments_s in ([], pauses):
        ended = drive(LiveEngine(spec, start_s=start_s, seed=8), workload, moments_s)
        finish_s = {request.key: request.finish_s for request in ended}
        assert [finish_s[key] for key in range(60)] == offline.finish_s.tolist()


def test_what_is_not_over_yet_is_not_told():
    spec = EngineSpec(iteration_base_s=0.5, ttft_constant_s=0.125)
    engine = LiveEngine(spec, start_s=10.0)
    engine.submit(7, arrival_s=10.0, prompt_tokens=3, output_tokens=3)
    engine.submit(8, arrival_s=10.25, prompt_tokens=3, output_tokens=1)
    assert engine.in_flight == 2
    assert engine.advance(11.0) == []  # the second step ends at 11.0, not before it
    assert (engine.running, engine.waiting) == (2, 0)
    (first, second) = engine.advance(11.75)
    assert (first.key, first.finish_s) == (8, 11.125)
    assert (second.key, second.first_token_s, second.finish_s) == (7, 10.625, 11.625)


def test_an_arrival_in_the_past_is_refused():
    engine = LiveEngine(EngineSpec(iteration_base_s=0.5), start_s=0.0)
    engine.advance(5.0)
    with pytest.raises(InvalidInputError, match=r"run to 5\.0: submit requests in order"):
        engine.submit(1, arrival_s=4.0, prompt_tokens=1, output_tokens=1)


def test_columns_stay_short_over_a_long_life():
    engine = LiveEngine(EngineSpec(iteration_base_s=0.001, max_num_seqs=4), start_s=0.0)
    for key in range(5000):
        engine.submit(key, arrival_s=key * 0.01, prompt_tokens=5, output_tokens=4)
        engine.advance(key * 0.01 + 0.009)
    assert engine.in_flight == 0
    assert len(engine._engine.requests.arrival_s) <= live.FORGET_AFTER
