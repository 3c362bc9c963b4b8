"""The time-skipping engine against its step-by-step definition, to the last bit.

Every duration and arrival is a multiple of 2^-20 s, so that no order of summation rounds;
arrivals often fall exactly on the end of a step.
"""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator import kernel, state
from simulator.engine import EngineSpec, RequestStatus, check_requests

from .reference_engine import ReferenceEngine

TICK_S = 2.0**-20


@st.composite
def specs(draw):
    max_num_seqs = draw(st.integers(1, 6))
    block_size = draw(st.sampled_from([1, 4, 16]))
    return EngineSpec(
        iteration_base_s=draw(st.integers(1, 4000)) * TICK_S,
        decode_slope_s=draw(st.integers(0, 200)) * TICK_S,
        prefill_slope_s=draw(st.integers(0, 200)) * TICK_S,
        kv_slope_s=draw(st.integers(0, 20)) * TICK_S,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=draw(st.integers(max_num_seqs, max_num_seqs + 40)),
        # at least the longest request below, so often too little for a batch
        num_gpu_blocks=draw(st.none() | st.integers(1 + math.ceil(101 / block_size), 200)),
        block_size=block_size,
        max_queue_size=draw(st.none() | st.integers(0, 5)),
        queue_timeout_s=draw(st.just(math.inf) | st.integers(1, 200000).map(lambda n: n * TICK_S)),
    )


@st.composite
def workloads(draw):
    count = draw(st.integers(0, 25))
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 500, 4000, 30000]) | st.integers(0, 60000),
                st.integers(1, 60),
                st.integers(1, 42),
                st.integers(0, 59),
            ),
            min_size=count,
            max_size=count,
        )
    )
    gaps, prompt, output, cached = zip(*rows, strict=True) if rows else ((), (), (), ())
    return (
        np.cumsum(np.array(gaps, dtype=float)) * TICK_S,
        np.array(prompt, dtype=np.int64),
        np.array(output, dtype=np.int64),
        np.array([min(c, p - 1) for c, p in zip(cached, prompt, strict=True)], dtype=np.int64),
    )


def histogram(values, bounds):
    return np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds) + 1)


def run_kernel(spec, arrival_s, prompt, output, cached):
    check_requests(spec, arrival_s, prompt, output, cached)
    engine = state.new_engine(
        spec.law(),
        state.new_requests(arrival_s, prompt, output, cached),
        free_blocks=spec.usable_blocks,
        start_s=float(arrival_s[0]) if arrival_s.size else 0.0,
    )
    engine = state.as_lists(engine)
    kernel.advance(engine, math.inf, np.random.default_rng(0))
    return engine


def columns(reference):
    return {
        name: np.array([getattr(s, name) for s in reference.all], dtype=float)
        for name in ("scheduled_s", "first_token_s", "finish_s", "preemptions")
    } | {"status": np.array([RequestStatus[s.status.upper()] for s in reference.all], dtype=float)}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs(), workload=workloads())
def test_skipping_time_changes_nothing(spec, workload):
    reference = ReferenceEngine(spec, *workload).run()
    engine = run_kernel(spec, *workload)
    for name, expected in columns(reference).items():
        np.testing.assert_array_equal(getattr(engine.requests, name), expected, err_msg=name)
    counted, meters = reference.counted, engine.meters
    totals = dict(
        zip(
            ("steps", "generated", "prompts", "cached", "queried", "hits", "preemptions"),
            meters.totals,
            strict=False,
        )
    )
    for name in ("steps", "generated", "prompts", "queried", "hits", "preemptions"):
        assert totals[name] == getattr(counted, name), name
    bounds = np.array(state.ITL_BOUNDS_S)
    np.testing.assert_array_equal(meters.itl_counts, histogram(counted.itl_s, bounds))
    np.testing.assert_array_equal(
        meters.iteration_counts, histogram(counted.iteration_tokens, state.ITERATION_BOUNDS)
    )
    assert meters.sums[state.ITL_S] == pytest.approx(sum(counted.itl_s), rel=1e-12, abs=1e-12)
    assert meters.totals[state.ITERATION_TOKENS] == sum(counted.iteration_tokens)
    # everything was given back
    assert engine.n[state.FREE_BLOCKS] == spec.usable_blocks
    assert engine.n[state.CONTEXT] == engine.n[state.ROWS] == sum(engine.batch.growing) == 0
    assert sorted(engine.requests.ended[: engine.n[state.ENDED]]) == list(range(len(workload[0])))
