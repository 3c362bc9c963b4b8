import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.service import (
    computed_prompt_tokens,
    decode_time_s,
    iteration_time_s,
    prefill_steps,
    prefill_time_s,
    request_work,
    service_rate_rps,
    service_time_s,
)
from tests.helpers.replicas import numerics, replicas, tables


def work_of(some, batch=1.0):
    steps = prefill_steps(some.workloads, some.limits, np.full(len(some), batch))
    return request_work(some.profiles, some.workloads, steps)


def steps_by_counting(prompt, decode, batch, budget):
    """The least number of chunks for which a chunk fits beside the batch's mean load."""
    for chunks in range(1, max(int(np.ceil(prompt)), 1) + 1):
        if batch * (prompt + decode) / (chunks + decode) + prompt / chunks <= budget + 1e-9:
            return chunks
    return max(int(np.ceil(prompt)), 1)


class TestPrefillSteps:
    @numerics
    @given(
        prompt=st.integers(1, 3000),
        output=st.integers(2, 500),
        batch=st.integers(1, 300),
        budget=st.sampled_from([128, 512, 2048, 8192]),
    )
    def test_is_the_least_that_fits(self, prompt, output, batch, budget):
        some = replicas(
            prompt_tokens_mean=prompt, output_tokens_mean=output, max_batched_tokens=float(budget)
        )
        steps = prefill_steps(some.workloads, some.limits, np.array([float(batch)]))
        assert steps[0] == steps_by_counting(prompt, output - 1.0, batch, budget)

    def test_without_a_budget_one_is_enough(self):
        some = replicas(max_batched_tokens=np.inf, prompt_tokens_mean=1e6)
        assert prefill_steps(some.workloads, some.limits, np.array([500.0])) == [1.0]

    def test_outputs_of_one_token_have_a_prefill_all_the_same(self):
        some = replicas(output_tokens_mean=1.0, output_shape=1.0)
        assert prefill_steps(some.workloads, some.limits, np.array([2.0])) == [1.0]


class TestWork:
    @pytest.mark.parametrize("chunks", [1, 2, 4])
    @pytest.mark.parametrize("hit", [0.0, 0.5])
    def test_adds_up_what_each_iteration_costs(self, chunks, hit):
        """A request of 100 prompt and 12 output tokens, iteration by iteration."""
        slopes = {"decode_slope_s": 3e-4, "prefill_slope_s": 2e-5, "kv_slope_s": 1e-6}
        some = replicas(
            prompt_tokens_mean=100.0,
            prompt_shape=1.0,
            output_tokens_mean=12.0,
            output_shape=1.0,
            prefix_hit_ratio=hit,
            **slopes,
        )
        computed, cached = 100.0 * (1.0 - hit), 100.0 * hit
        prefill = sum(
            computed / chunks * 2e-5 + (cached + computed * k / chunks) * 1e-6
            for k in range(1, chunks + 1)
        )
        decode = sum(3e-4 + (100.0 + k) * 1e-6 for k in range(1, 12))
        work = request_work(some.profiles, some.workloads, np.array([float(chunks)]))
        assert work.prefill_s[0] == pytest.approx(prefill)
        assert work.decode_s[0] == pytest.approx(decode)
        assert work.decode_steps[0] == 11.0

    def test_averages_over_lengths_by_two_moments(self):
        """Half the requests have 11 output tokens, half 31: contexts grow with the square."""
        outputs = np.array([11.0, 31.0])
        each = replicas(output_tokens_mean=outputs, output_shape=1.0, kv_slope_s=1e-6)
        mean, second = outputs.mean(), (outputs**2).mean()
        mixed = replicas(output_tokens_mean=mean, output_shape=second / mean**2, kv_slope_s=1e-6)
        assert work_of(mixed).decode_s[0] == pytest.approx(work_of(each).decode_s.mean())

    def test_a_second_moment_below_the_squared_mean_counts_as_no_spread(self):
        some = replicas(output_shape=0.5, prompt_shape=0.9)
        even = replicas(output_shape=1.0, prompt_shape=1.0)
        for name in ("decode_s", "decode_shape", "prompt_shape"):
            assert getattr(work_of(some), name)[0] == getattr(work_of(even), name)[0]

    @pytest.mark.parametrize(
        ("prompt", "hit", "computed"), [(100, 1.0, 1), (0, 0.0, 0), (80, 0.25, 60)]
    )
    def test_of_a_cached_prompt_one_token_is_computed(self, prompt, hit, computed):
        some = replicas(prompt_tokens_mean=prompt, prefix_hit_ratio=hit)
        assert computed_prompt_tokens(some.workloads)[0] == computed


class TestTimes:
    @numerics
    @given(tables(max_size=3))
    def test_rise_with_the_batch(self, some):
        work, sizes = work_of(some), np.arange(1.0, 100.0)[None, :]
        for function in (iteration_time_s, prefill_time_s, decode_time_s, service_time_s):
            times = function(work, sizes)
            assert times.shape == (len(some), 99)
            assert np.all(times > 0.0)
            assert np.all(np.diff(times, axis=1) >= -1e-12)

    @numerics
    @given(tables(max_size=3))
    def test_service_is_all_iterations_and_the_rate_its_inverse(self, some):
        work, batch = work_of(some), np.full(len(some), 7.0)
        whole = (work.prefill_steps + work.decode_steps) * iteration_time_s(work, batch)
        assert service_time_s(work, batch) == pytest.approx(whole)
        assert service_rate_rps(work, batch) == pytest.approx(7.0 / whole)

    def test_own_work_is_counted_once(self):
        """Prefill and decode alone take the iterations' base and the request's own work."""
        some = replicas(prompt_shape=1.0, output_shape=1.0)
        work, one = work_of(some), np.ones(1)
        base = some.profiles.iteration_base_s
        assert prefill_time_s(work, one) == pytest.approx(base + work.prefill_s)
        assert decode_time_s(work, one) == pytest.approx(base + work.decode_s / work.decode_steps)

    def test_a_request_of_one_token_has_no_decode_time(self):
        some = replicas(output_tokens_mean=1.0, output_shape=1.0)
        assert decode_time_s(work_of(some), np.ones(1)) == [0.0]

    def test_a_column_and_a_matrix_of_batch_sizes_agree(self):
        some = replicas(iteration_base_s=np.array([5e-3, 9e-3]))
        work, sizes = work_of(some), np.array([3.0, 8.0])
        matrix = service_time_s(work, sizes[None, :] * np.ones((2, 1)))
        assert service_time_s(work, sizes) == pytest.approx(np.diag(matrix))
