"""The engine where its answer is known: closed forms, steps by hand, bounds, both builds."""

import importlib.util
import math
import time

import numpy as np
import pytest

from optimizer.errors import InvalidInputError
from simulator.engine import EngineSpec, RequestStatus, simulate

NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not NUMBA, reason="numba (extra [sim]) is not installed")


def poisson(random, rate_rps, count):
    return np.cumsum(random.exponential(1.0 / rate_rps, count))


def erlang_c_wait_s(servers, rate_rps, service_rate_rps):
    load = rate_rps / service_rate_rps
    terms = np.cumprod([1.0, *(load / k for k in range(1, servers + 1))])
    queued = terms[-1] / (1.0 - load / servers)
    return queued / (terms[:-1].sum() + queued) / (servers * service_rate_rps - rate_rps)


# One core-minute of simulation would make these exact; these sizes leave about 1 %.


@needs_numba
@pytest.mark.parametrize("utilization", [0.3, 0.7, 0.85])
def test_one_sequence_of_geometric_length_is_m_m_1(utilization):
    random = np.random.default_rng(11)
    count, mean_tokens, step_s = 400_000, 400.0, 0.001
    service_s = mean_tokens * step_s
    rate_rps = utilization / service_s
    outcome = simulate(
        EngineSpec(iteration_base_s=step_s, max_num_seqs=1),
        poisson(random, rate_rps, count),
        np.ones(count),
        random.geometric(1.0 / mean_tokens, count),
    )
    expected_s = utilization * service_s / (1.0 - utilization)
    assert outcome.queue_s.mean() == pytest.approx(expected_s, rel=0.05)
    # waits are exponential beyond zero: P(W > t) = rho exp(-(mu - lambda) t)
    p95_s = math.log(utilization / 0.05) / (1.0 / service_s - rate_rps)
    assert np.quantile(outcome.queue_s, 0.95) == pytest.approx(p95_s, rel=0.05)


@needs_numba
def test_one_sequence_of_fixed_length_is_m_d_1():
    random = np.random.default_rng(12)
    outcome = simulate(
        EngineSpec(iteration_base_s=0.01, max_num_seqs=1),
        poisson(random, 0.8, 200_000),
        np.ones(200_000),
        np.full(200_000, 100),
    )
    assert outcome.queue_s.mean() == pytest.approx(0.8 / (2.0 * (1.0 - 0.8)), rel=0.04)


@needs_numba
@pytest.mark.parametrize(("slots", "utilization"), [(4, 0.6), (16, 0.85)])
def test_a_batch_without_slopes_is_m_m_c(slots, utilization):
    random = np.random.default_rng(13)
    count, mean_tokens, step_s = 300_000, 500.0, 0.001
    rate_rps = utilization * slots / (mean_tokens * step_s)
    outcome = simulate(
        EngineSpec(iteration_base_s=step_s, max_num_seqs=slots),
        poisson(random, rate_rps, count),
        np.ones(count),
        random.geometric(1.0 / mean_tokens, count),
    )
    expected_s = erlang_c_wait_s(slots, rate_rps, 1.0 / (mean_tokens * step_s))
    # an arrival waits for the running step: half a step more
    assert outcome.queue_s.mean() == pytest.approx(expected_s + step_s / 2.0, rel=0.04)


@needs_numba
def test_a_batch_that_slows_down_is_a_birth_death_chain():
    random = np.random.default_rng(14)
    slots, mean_tokens, base_s, slope_s = 12, 500.0, 0.001, 0.0002
    tokens_per_s = np.arange(1, slots + 1) / (base_s + slope_s * np.arange(1, slots + 1))
    service_rps = tokens_per_s / mean_tokens
    rate_rps = 0.8 * service_rps[-1]
    ratios = rate_rps / np.append(service_rps, np.full(400, service_rps[-1]))
    weights = np.concatenate(([1.0], np.cumprod(ratios)))
    mean_in_system = np.average(np.arange(weights.size), weights=weights)
    count = 300_000
    arrival_s = poisson(random, rate_rps, count)
    outcome = simulate(
        EngineSpec(iteration_base_s=base_s, decode_slope_s=slope_s, max_num_seqs=slots),
        arrival_s,
        np.ones(count),
        random.geometric(1.0 / mean_tokens, count),
    )
    sojourn_s = (outcome.finish_s - arrival_s).mean()
    assert rate_rps * sojourn_s == pytest.approx(mean_in_system, rel=0.03)


@needs_numba
def test_compiled_and_plain_agree_to_the_last_bit():
    random = np.random.default_rng(15)
    count = 3000
    spec = EngineSpec(
        iteration_base_s=0.0065,
        decode_slope_s=2e-5,
        prefill_slope_s=2e-5,
        kv_slope_s=5e-8,
        max_num_seqs=16,
        max_num_batched_tokens=512,
        num_gpu_blocks=600,
        max_queue_size=40,
        queue_timeout_s=3.0,
    )
    prompt = random.integers(1, 900, count)
    requests = (poisson(random, 30.0, count), prompt, random.integers(1, 400, count))
    cached = prompt // 3
    compiled, plain = (
        simulate(spec, *requests, cached_tokens=cached, compiled=build) for build in (True, False)
    )
    for name in ("scheduled_s", "first_token_s", "finish_s", "status", "preemptions"):
        np.testing.assert_array_equal(getattr(compiled, name), getattr(plain, name))
    assert compiled.totals == plain.totals
    assert compiled.totals.preemptions > 0
    assert set(np.unique(compiled.status)) == {
        RequestStatus.FINISHED,
        RequestStatus.REJECTED,
        RequestStatus.TIMED_OUT,
    }


@needs_numba
def test_noise_is_the_same_in_both_builds_and_has_mean_one():
    spec = EngineSpec(iteration_base_s=0.01, max_num_seqs=1, step_noise_cv=0.3)
    requests = ([0.0, 1.0], [1, 1], [2000, 2000])
    compiled, plain = (simulate(spec, *requests, seed=4, compiled=b) for b in (True, False))
    np.testing.assert_array_equal(compiled.finish_s, plain.finish_s)
    assert not np.array_equal(compiled.finish_s, simulate(spec, *requests, seed=5).finish_s)
    assert compiled.totals.busy_s == pytest.approx(4000 * 0.01, rel=0.02)


@needs_numba
def test_a_hundred_thousand_requests_take_less_than_a_core_second():
    """At a batch of 64 and 200 tokens of output; three times faster where it was written."""
    random = np.random.default_rng(16)
    count = 100_000
    spec = EngineSpec(
        iteration_base_s=0.0065,
        decode_slope_s=2e-5,
        prefill_slope_s=2e-5,
        kv_slope_s=5e-8,
        max_num_seqs=64,
    )
    requests = (
        poisson(random, 60.0, count),
        random.integers(1, 800, count),
        random.geometric(1.0 / 200.0, count),
    )
    simulate(spec, *(column[:10] for column in requests))  # compile
    started_s = time.process_time()
    outcome = simulate(spec, *requests)
    assert time.process_time() - started_s < 1.0
    assert outcome.totals.generated_tokens / outcome.totals.steps > 63.0


def plainly(spec, *requests, **more):
    return simulate(spec, *requests, compiled=False, **more)


def test_step_time_by_hand():
    spec = EngineSpec(
        iteration_base_s=1.0,
        decode_slope_s=0.1,
        prefill_slope_s=0.01,
        kv_slope_s=0.001,
        ttft_constant_s=0.5,
    )
    # 10 prompt tokens: 1 + 0.10 + 0.010; then a decode at 11 tokens of context, and at 12
    outcome = plainly(spec, [0.0], [10], [3])
    assert outcome.first_token_s[0] == pytest.approx(1.11 + 0.5)
    assert outcome.finish_s[0] == pytest.approx(1.11 + 1.111 + 1.112 + 0.5)
    assert outcome.itl_s[0] == pytest.approx(1.1115)


def test_a_prompt_longer_than_the_budget_is_chunked_after_the_decodes():
    spec = EngineSpec(
        iteration_base_s=1.0, prefill_slope_s=0.01, max_num_seqs=2, max_num_batched_tokens=8
    )
    # second prompt: a step starts at 1.01 with one decode, so 7 tokens, 7, then 6
    outcome = plainly(spec, [0.0, 0.5], [1, 20], [9, 1])
    assert outcome.scheduled_s[1] == pytest.approx(1.01)
    assert outcome.first_token_s[1] == pytest.approx(1.01 + 1.07 + 1.07 + 1.06)


def test_what_is_cached_is_not_computed_but_held():
    spec = EngineSpec(iteration_base_s=1.0, prefill_slope_s=0.01, num_gpu_blocks=4, block_size=16)
    outcome = plainly(spec, [0.0, 0.0], [32, 32], [1, 1], cached_tokens=[31, 31])
    assert outcome.first_token_s[0] == pytest.approx(1.01)
    assert outcome.scheduled_s[1] == pytest.approx(1.01)  # 3 blocks: no room for two prompts of 2


def test_the_youngest_is_preempted_and_computed_anew():
    # 2 usable blocks of 4 tokens: both fit, until one needs a second block
    spec = EngineSpec(
        iteration_base_s=1.0, prefill_slope_s=0.125, num_gpu_blocks=3, block_size=4, max_num_seqs=2
    )
    outcome = plainly(spec, [0.0, 0.0], [3, 3], [4, 3])
    assert outcome.preemptions.tolist() == [0, 1]
    # together: prefill of 6 tokens, a decode to 4 tokens each; then the first alone, twice
    assert outcome.finish_s[0] == pytest.approx(1.75 + 1.0 + 1.0 + 1.0)
    # the second had 2 tokens: recompute 5, which makes its third
    assert outcome.finish_s[1] == pytest.approx(4.75 + 1.0 + 5 * 0.125)


def test_rejections_and_timeouts_count_from_the_arrival():
    spec = EngineSpec(iteration_base_s=1.0, max_num_seqs=1, max_queue_size=1, queue_timeout_s=2.5)
    outcome = plainly(spec, [0.0, 0.1, 0.2, 2.7], [1] * 4, [5] * 4)
    assert [RequestStatus(s).name for s in outcome.status] == [
        "FINISHED",
        "TIMED_OUT",
        "REJECTED",
        "FINISHED",
    ]
    assert outcome.finish_s.tolist() == pytest.approx([5.0, 2.6, 0.2, 10.0])
    assert np.isnan(outcome.first_token_s[[1, 2]]).all()
    assert np.isnan(outcome.itl_s[[1, 2]]).all()


def test_no_requests():
    outcome = plainly(EngineSpec(iteration_base_s=1.0), [], [], [])
    assert outcome.finish_s.size == outcome.totals.steps == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"iteration_base_s": 0.0}, "iteration_base_s is 0.0", id="base"),
        pytest.param({"kv_slope_s": -1.0}, "kv_slope_s is -1.0", id="slope"),
        pytest.param({"kv_slope_s": math.inf}, "kv_slope_s is inf", id="infinite"),
        pytest.param({"decode_slope_s": math.nan}, "decode_slope_s is nan", id="nan"),
        pytest.param({"max_num_seqs": 0}, "max_num_seqs is 0", id="seqs"),
        pytest.param({"max_num_batched_tokens": 100}, "max_num_seqs = 256", id="budget"),
        pytest.param({"num_gpu_blocks": 1}, "num_gpu_blocks is 1", id="blocks"),
        pytest.param({"queue_timeout_s": 0.0}, "queue_timeout_s is 0.0", id="timeout"),
        pytest.param({"max_queue_size": -1}, "max_queue_size is -1", id="queue"),
    ],
)
def test_an_engine_that_cannot_run(change, said):
    with pytest.raises(InvalidInputError, match=said):
        EngineSpec(**{"iteration_base_s": 0.01, **change})


@pytest.mark.parametrize(
    ("requests", "cached", "said"),
    [
        pytest.param(([1.0, 0.5], [1, 1], [1, 1]), 0, r"arrival_s\[1\] = 0.5", id="unsorted"),
        pytest.param(([-1.0], [1], [1]), 0, "arrival_s", id="negative"),
        pytest.param(([math.nan], [1], [1]), 0, "arrival_s", id="nan"),
        pytest.param(([0.0], [0], [1]), 0, "prompt_tokens is 0", id="prompt"),
        pytest.param(([0.0], [1], [0]), 0, "output_tokens is 0", id="output"),
        pytest.param(([0.0], [5], [1]), 5, "cached_tokens is 5", id="all-cached"),
        pytest.param(([0.0], [100], [30]), 0, "holds 128 tokens", id="too-long"),
    ],
)
def test_requests_out_of_bounds(requests, cached, said):
    spec = EngineSpec(iteration_base_s=0.01, num_gpu_blocks=9)
    with pytest.raises(InvalidInputError, match=said):
        plainly(spec, *requests, cached_tokens=cached)
