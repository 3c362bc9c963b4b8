import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.latency import blocks, latencies
from tests.helpers.replicas import numerics, replicas, tables


def block_of(some):
    (block,) = blocks(*some, np.ones(len(some), dtype=bool))
    return block


def ttft_at(some, load):
    block = block_of(some)
    found = latencies(block, load * block.states.replica.full_rate_rps)
    return found.ttft, block


@numerics
@given(tables(max_size=3), st.floats(0.05, 1.5), st.floats(0.05, 0.995))
def test_survival_inverts_the_quantile(some, load, probability):
    ttft, _ = ttft_at(some, load)
    p = np.full(len(ttft.mean_s), probability)
    assert ttft.survival(ttft.quantile(p)) == pytest.approx(1.0 - p, abs=5e-3)


@numerics
@given(tables(max_size=3), st.floats(0.05, 1.5))
def test_survival_falls_from_one_to_nothing(some, load):
    ttft, _ = ttft_at(some, load)
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e7, 60)])
    survival = np.stack([ttft.survival(np.full(len(ttft.mean_s), t)) for t in times])
    assert np.all(np.diff(survival, axis=0) <= 1e-12)
    assert np.all(survival[0] == 1.0)
    assert np.all(survival[-1] < 1e-6)


@numerics
@given(tables(max_size=3), st.floats(0.05, 0.9))
def test_the_mean_is_the_integral_of_the_survival(some, load):
    ttft, _ = ttft_at(some, load)
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1e6, 500)])
    survival = np.stack([ttft.survival(np.full(len(ttft.mean_s), t)) for t in grid])
    integral = np.trapezoid(survival, grid, axis=0)
    assert ttft.mean_s == pytest.approx(integral, rel=0.05)


def test_an_idle_replica_takes_half_a_step_a_step_and_the_prompt():
    """Whoever arrives finds a step of its own length running, by half on average."""
    some = replicas(prompt_shape=1.0)
    ttft, block = ttft_at(some, 1e-6)
    base, prompt = 6.36e-3, block.states.work.prefill_s[0]
    assert ttft.mean_s[0] == pytest.approx(1.5 * base + prompt, rel=1e-3)
    early, late = (ttft.quantile(np.array([p]))[0] - prompt for p in (0.1, 0.9))
    assert (early, late) == pytest.approx((1.1 * base, 1.9 * base), rel=0.05)


def test_long_prompts_stretch_their_own_tail():
    even, wide = (replicas(prompt_tokens_mean=4096.0, prompt_shape=s) for s in (1.0, 3.0))
    p = np.array([0.95])
    assert ttft_at(wide, 0.2)[0].quantile(p)[0] > 2.0 * ttft_at(even, 0.2)[0].quantile(p)[0]


def test_prompts_beyond_the_token_budget_take_more_steps():
    """40,000 tokens at 1,000 per step: forty steps of base time, not one."""
    columns = {"prompt_tokens_mean": 40_000.0, "prompt_shape": 1.0, "kv_slope_s": 0.0}
    small, large = (replicas(**columns, max_batched_tokens=m) for m in (1_000.0, np.inf))
    extra = ttft_at(small, 1e-6)[0].mean_s[0] - ttft_at(large, 1e-6)[0].mean_s[0]
    assert extra == pytest.approx(40 * 6.36e-3, rel=0.03)


def test_a_full_batch_adds_the_wait_for_a_slot():
    block = block_of(replicas(max_batch_size=8))
    found = latencies(block, 0.95 * block.states.replica.full_rate_rps)
    waiting, mean = found.stationary.waiting_ratio[0], found.stationary.mean_wait_s[0]
    assert waiting > 0.5
    assert mean < found.ttft.mean_s[0] < mean + 0.2
    # The wait is exponential, so the 99th percentile is its mean times log(P(wait) / 1 %).
    late = found.ttft.quantile(np.array([0.99]))[0]
    assert late == pytest.approx(mean / waiting * np.log(waiting / 0.01), rel=0.05)
