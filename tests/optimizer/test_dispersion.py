import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.dispersion import (
    clustering,
    long_run,
    peers_within,
    queue_variability,
    work_moments,
)
from optimizer.latency import predict
from optimizer.occupancy import build_work
from optimizer.sizing import largest_arrival_rate
from tests.helpers.replicas import numerics, replicas

ONE = np.ones(1)
# Requests whose prompts and contexts cost nothing: pure decoding.
DECODING = {"prefill_slope_s": 0.0, "kv_slope_s": 0.0, "output_tokens_mean": 1000.0}


def test_moments_are_those_of_drawn_requests():
    some = replicas(kv_slope_s=2e-7, prefill_slope_s=5e-5)
    work, share = build_work(*some), 1e-4
    random, sigma2 = np.random.default_rng(1), np.log(2.0)
    z = random.standard_normal((2, 1_000_000))
    prompt = 512.0 * np.exp(np.sqrt(sigma2) * z[0] - sigma2 / 2.0)
    decode = 255.0 * np.exp(
        np.sqrt(np.log(work.decode_shape)) * z[1] - np.log(work.decode_shape) / 2.0
    )
    steps = 2.12e-5 + share + 2e-7 * (prompt + 0.5)
    drawn = (5e-5 + 2e-7) * prompt + share + steps * decode + 2e-7 * decode**2 / 2.0
    found = work_moments(work, np.array([share]))
    assert found.mean[0] == pytest.approx(drawn.mean(), rel=0.01)
    assert found.second[0] == pytest.approx((drawn**2).mean(), rel=0.05)


class TestClustering:
    @pytest.mark.parametrize("shape", [1.0, 2.0, 3.0])
    def test_pure_decoding_comes_as_it_arrives_whatever_its_lengths(self, shape):
        """Processor sharing is insensitive: only prompts and contexts make clusters."""
        work = build_work(*replicas(**DECODING, output_shape=shape))
        assert clustering(work, np.array([5.0]), np.array([64.0]), ONE)[0] == pytest.approx(
            1.0, abs=0.01
        )

    @numerics
    @given(st.floats(0.05, 0.8))
    def test_prompts_cluster_by_their_second_moment(self, share):
        """With decode free but for the base: V = 1/(1-ρ) + λ²E[S²] / 2(1-ρ)²."""
        work = build_work(*replicas(**DECODING | {"prefill_slope_s": 1e-4, "decode_slope_s": 0.0}))
        rate = share / work.prefill_s
        size = clustering(work, rate, np.array([1e9]), ONE)[0]
        second = work.prompt_shape[0] * share**2
        expected = 1.0 / (1.0 - share) + second / (2.0 * (1.0 - share) ** 2)
        assert size == pytest.approx(expected, rel=0.02)

    @numerics
    @given(st.floats(0.01, 0.98))
    def test_grows_with_the_rate_and_is_at_most_a_full_batch(self, share):
        work = build_work(*replicas(prompt_tokens_mean=4096.0))
        rates = share / work.prefill_s
        slow, fast = (clustering(work, r, np.array([32.0]), ONE)[0] for r in (0.9 * rates, rates))
        assert 1.0 <= slow <= fast + 1e-12 <= 32.0 + 1e-9


class TestVariability:
    def test_even_work_halves_the_wait(self):
        work = build_work(*replicas(**DECODING, output_shape=1.0))
        assert queue_variability(work, ONE * 64, ONE)[0] == pytest.approx(0.5, abs=0.01)

    def test_work_that_varies_like_an_exponential_leaves_it(self):
        work = build_work(*replicas(**DECODING, output_shape=2.0))
        assert queue_variability(work, ONE * 64, ONE)[0] == pytest.approx(1.0, abs=0.01)

    def test_contexts_that_cost_make_long_outputs_worse(self):
        cheap, dear = (
            build_work(*replicas(output_tokens_mean=1000.0, kv_slope_s=s)) for s in (0.0, 1e-6)
        )
        assert (
            queue_variability(dear, ONE * 64, ONE)[0]
            > 2.0 * queue_variability(cheap, ONE * 64, ONE)[0]
        )


class TestClusteredArrivals:
    @pytest.mark.parametrize("cv2", [2.0, 4.0, 16.0])
    @pytest.mark.parametrize("intervals", [0.05, 0.15, 0.5, 3.0])
    def test_followers_within_a_time_are_those_of_gamma_intervals(self, cv2, intervals):
        random = np.random.default_rng(4)
        arrivals = np.cumsum(random.gamma(1.0 / cv2, cv2, 200_000))
        last = np.searchsorted(arrivals, arrivals + intervals, side="right")
        counted = (last - np.arange(1, len(arrivals) + 1)).mean() - intervals
        found = peers_within(np.array([cv2]), np.array([intervals]))[0]
        assert found == pytest.approx(counted, rel=0.25)

    def test_poisson_arrivals_have_no_more_followers_than_usual(self):
        assert peers_within(ONE, ONE)[0] == 0.0

    def test_waits_are_longer_the_more_arrivals_cluster(self):
        busy = replicas(max_batch_size=np.full(4, 64))
        scattered = np.array([1.0, 2.0, 4.0, 16.0])
        found = predict(
            *busy, np.full(4, 15.0), percentile_ratio=np.full(4, 0.95), dispersion=scattered
        )
        assert np.all(np.diff(found.ttft_s) > 0)
        assert np.all(np.diff(found.mean_queue_length) > 0)
        sized = largest_arrival_rate(
            *busy, busy.targets(ttft_s=0.3), stability_margin_ratio=0.1, dispersion=scattered
        )
        assert np.all(np.diff(sized.rate_rps) < 0)


class TestLongRun:
    @pytest.mark.parametrize("cv2", [2.0, 4.0, 16.0])
    @pytest.mark.parametrize("intervals", [8.0, 16.0, 64.0])
    def test_a_short_count_tells_of_gamma_intervals_over_a_long_one(self, cv2, intervals):
        random = np.random.default_rng(4)
        arrivals = np.cumsum(random.gamma(1.0 / cv2, cv2, 1_000_000))
        counts = np.histogram(arrivals, np.arange(0.0, arrivals[-1], intervals))[0]
        found = long_run(np.array([counts.var() / counts.mean()]), np.array([intervals]))[0]
        assert found == pytest.approx(cv2, rel=0.08)

    def test_poisson_arrivals_stay_so_however_few(self):
        assert long_run(np.ones(3), np.array([0.0, 1.0, 50.0])) == pytest.approx(1.0)

    @numerics
    @given(st.floats(1.0, 100.0), st.floats(0.0, 1e6))
    def test_is_at_least_what_was_counted_and_at_most_twice_that(self, counted, intervals):
        found = long_run(np.array([counted]), np.array([intervals]))[0]
        assert counted <= found <= 2.0 * counted * (1.0 + 1e-12)
