import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.concurrency import concurrency_limits, mean_context_tokens, slots
from optimizer.occupancy import build_work
from tests.helpers.replicas import numerics, replicas, tables


def limits_of(some):
    found = concurrency_limits(some.workloads, some.limits, build_work(*some))
    return found.limit.tolist(), found.memory_bound.tolist()


@pytest.mark.parametrize(
    ("columns", "limit", "memory_bound"),
    [
        ({"max_batch_size": 64}, 64, False),
        # 512 prompt tokens and, found at random, as many as the mean output of 256.
        ({"max_batch_size": 64, "kv_capacity_tokens": 40.5 * 767.0}, 40, True),
        ({"max_batch_size": 64, "kv_capacity_tokens": 100.0}, 0, True),
        ({"max_batch_size": 64, "kv_capacity_tokens": np.inf}, 64, False),
        # 767 tokens in 256 steps: three per request and step.
        ({"max_batch_size": 300, "max_batched_tokens": 300.0}, 100, False),
        ({"max_batch_size": 1, "max_batched_tokens": 1.0}, 1, False),
    ],
    ids=["batch", "memory", "too-small", "unlimited", "budget", "one"],
)
def test_the_smallest_bound_counts(columns, limit, memory_bound):
    assert limits_of(replicas(**columns)) == ([limit], [memory_bound])


@numerics
@given(prompt=st.integers(1, 200), outputs=st.lists(st.integers(2, 60), min_size=1, max_size=5))
def test_the_mean_context_is_that_of_a_request_found_in_service(prompt, outputs):
    """Walk through every step of every request and average what each holds."""
    outputs = np.array(outputs, dtype=float)
    held = [prompt + age for output in outputs for age in range(int(output))]
    mean = outputs.mean()
    some = replicas(
        prompt_tokens_mean=prompt,
        prompt_shape=1.0,
        output_tokens_mean=mean,
        output_shape=(outputs**2).mean() / mean**2,
    )
    expected = np.mean(held)
    # Ages are whole; the formula's are not: half a token of difference.
    assert mean_context_tokens(some.workloads, build_work(*some))[0] == pytest.approx(
        expected, abs=1.0, rel=0.02
    )


def test_half_the_memory_holds_half_the_requests_give_or_take_more():
    some = replicas(kv_capacity_tokens=np.array([100e3, 50e3]))
    found = slots(some.workloads, some.limits, build_work(*some))
    assert found.memory[0] == pytest.approx(2.0 * found.memory[1])
    relative = found.memory_scale / found.memory
    assert relative[1] == pytest.approx(np.sqrt(2.0) * relative[0])


def test_even_lengths_leave_the_spread_of_ages():
    even = replicas(prompt_shape=1.0, output_shape=1.0, kv_capacity_tokens=1e5)
    wide = replicas(kv_capacity_tokens=1e5)
    scales = [slots(s.workloads, s.limits, build_work(*s)).memory_scale[0] for s in (even, wide)]
    assert 0.0 < scales[0] < scales[1]


@numerics
@given(tables())
def test_limits_are_whole_and_no_more_than_the_batch_allows(some):
    found = concurrency_limits(some.workloads, some.limits, build_work(*some))
    assert np.all(found.limit <= some.limits.max_batch_size)
    assert np.all(found.limit >= 0)
