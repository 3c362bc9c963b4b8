import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer import InvalidInputError
from optimizer.latency import Prediction, predict
from simulator.engine import EngineSpec, simulate
from tests.helpers.replicas import CHAT, numerics, replicas, tables

COLUMNS = tuple(Prediction.__dataclass_fields__)
LATENCIES = ("ttft_mean_s", "ttft_s", "itl_mean_s", "itl_s")


def at(some, rate, ratio=0.95):
    rate = np.broadcast_to(np.float64(rate), (len(some),)).copy()
    return predict(*some, rate, percentile_ratio=np.full(len(some), ratio))


def full_rate(some):
    """The service rate of a full batch: where utilization is 1."""
    return 1.0 / at(some, 1.0).utilization


class TestShape:
    @numerics
    @given(tables(), st.floats(0.0, 5.0))
    def test_everything_is_finite_at_any_load(self, some, load):
        found = at(some, load * full_rate(some))
        for name in COLUMNS:
            assert np.all(np.isfinite(getattr(found, name))), name

    @numerics
    @given(tables(), st.floats(0.01, 0.85), st.floats(1.02, 1.1))
    def test_latencies_rise_with_the_rate(self, some, load, factor):
        full = full_rate(some)
        slow, fast = at(some, load * full), at(some, load * factor * full)
        for name in ("ttft_mean_s", "itl_mean_s"):
            assert np.all(getattr(fast, name) >= getattr(slow, name) * (1.0 - 1e-3)), name

    @numerics
    @given(tables(max_size=6), st.floats(0.05, 1.2))
    def test_a_row_alone_gives_the_same(self, some, load):
        rates = load * full_rate(some)
        together = at(some, rates)
        for row in range(len(some)):
            alone = at(some.take(slice(row, row + 1)), rates[row])
            for name in COLUMNS:
                expected = getattr(together, name)[row]
                assert getattr(alone, name)[0] == pytest.approx(expected, rel=1e-4, abs=1e-12)

    @numerics
    @given(tables(max_size=6), st.randoms(use_true_random=False))
    def test_order_doesnt_matter(self, some, random):
        order = list(range(len(some)))
        random.shuffle(order)
        rates = np.linspace(0.2, 0.9, len(some)) * full_rate(some)
        straight, mixed = at(some, rates), at(some.take(np.array(order)), rates[order])
        for name in COLUMNS:
            assert getattr(mixed, name) == pytest.approx(
                getattr(straight, name)[order], rel=1e-6, abs=1e-12
            )

    @numerics
    @given(tables(max_size=3), st.floats(0.1, 1.1), st.sampled_from([1e-3, 60.0]))
    def test_the_unit_of_time_is_nobodys_business(self, some, load, unit):
        slopes = ("iteration_base_s", "decode_slope_s", "prefill_slope_s", "kv_slope_s")
        other = some.with_columns(
            **{n: unit * getattr(some.profiles, n) for n in (*slopes, "ttft_constant_s")}
        )
        rate = load * full_rate(some)
        here, there = at(some, rate), at(other, rate / unit)
        for name in LATENCIES:
            assert getattr(there, name) == pytest.approx(unit * getattr(here, name), rel=1e-4)
        assert there.utilization == pytest.approx(here.utilization)

    def test_percentile_zero_is_the_mean(self):
        found = at(replicas(), 3.0, ratio=0.0)
        assert found.ttft_s == found.ttft_mean_s
        assert found.itl_s == found.itl_mean_s

    @numerics
    @given(tables(max_size=3), st.floats(0.1, 1.1), st.floats(0.5, 0.98))
    def test_percentiles_rise(self, some, load, ratio):
        rate = load * full_rate(some)
        lower, upper = at(some, rate, ratio), at(some, rate, ratio + 0.01)
        assert np.all(upper.ttft_s >= lower.ttft_s)
        assert np.all(upper.itl_s >= lower.itl_s)


class TestMeaning:
    def test_the_constant_is_in_the_ttft_alone(self):
        plain, late = at(replicas(), 3.0), at(replicas(ttft_constant_s=0.5), 3.0)
        assert late.ttft_mean_s == pytest.approx(plain.ttft_mean_s + 0.5)
        assert late.ttft_s == pytest.approx(plain.ttft_s + 0.5)
        assert late.itl_s == pytest.approx(plain.itl_s)

    def test_no_arrivals_leave_an_idle_replica(self):
        found = at(replicas(), 0.0)
        assert (found.throughput_rps[0], found.utilization[0]) == (0.0, 0.0)
        # One request at a time: a step with its own token over its own context.
        own = 2.12e-5 + 5.83e-8 * (512 + 256)
        assert found.itl_mean_s[0] == pytest.approx(6.36e-3 + own, rel=1e-3)
        assert not found.overloaded[0]

    def test_overload_is_an_answer(self):
        some = replicas(max_queue_size=100)
        full = full_rate(some)
        found = at(some, 2.0 * full)
        assert found.overloaded[0]
        assert found.throughput_rps == pytest.approx(full)
        assert found.blocking_ratio[0] == pytest.approx(0.5, rel=0.01)
        assert found.mean_queue_length[0] == pytest.approx(100.0, rel=0.05)
        assert found.ttft_mean_s == pytest.approx(100.0 / full, rel=0.1)

    def test_memory_in_use_is_what_the_requests_in_service_hold(self):
        some = replicas(kv_capacity_tokens=200e3)
        found = at(some, 3.0)
        assert found.kv_usage_ratio[0] == pytest.approx(
            found.mean_in_service[0] * 767.0 / 200e3, rel=0.01
        )
        assert at(replicas(), 3.0).kv_usage_ratio[0] == 0.0

    def test_cached_prompts_cost_little(self):
        cold, warm = (replicas(prompt_tokens_mean=4096.0, prefix_hit_ratio=h) for h in (0.0, 0.9))
        assert at(warm, 2.0).ttft_s[0] < 0.5 * at(cold, 2.0).ttft_s[0]
        assert full_rate(warm) > full_rate(cold)

    def test_outputs_of_one_token_have_no_gaps(self):
        found = at(replicas(output_tokens_mean=1.0, output_shape=1.0), 5.0)
        assert (found.itl_s[0], found.itl_mean_s[0]) == (0.0, 0.0)
        assert found.ttft_s[0] > 0.0

    def test_near_saturation_no_gap_is_longer_than_a_step_with_its_whole_budget(self):
        some = replicas(
            prompt_tokens_mean=2048.0,
            output_tokens_mean=32.0,
            max_batch_size=128,
            max_batched_tokens=8192.0,
        )
        longest = 6.36e-3 + 128 * (2.12e-5 + 5.83e-8 * 4500) + 8192 * 2.12e-5
        busy = [at(some, load * full_rate(some)) for load in (0.6, 0.9, 0.95, 1.5)]
        assert busy[0].itl_s[0] < 0.4 * longest
        assert all(found.itl_s[0] <= longest for found in busy)
        assert busy[2].itl_s[0] == pytest.approx(longest, rel=0.15)
        means = [found.itl_mean_s[0] for found in busy]
        assert means == sorted(means)


class TestUnknown:
    def test_an_unknown_number_makes_its_row_unknown_and_no_other(self):
        some = replicas(iteration_base_s=np.array([5e-3, np.nan, 7e-3]))
        found = at(some, np.array([1.0, 1.0, np.nan]))
        for name in COLUMNS[:-1]:
            assert np.isnan(getattr(found, name)).tolist() == [False, True, True], name
        assert found.overloaded.tolist() == [False, False, False]

    def test_no_variants_give_no_rows(self):
        none = replicas().take(np.array([], dtype=np.int64))
        assert len(at(none, 1.0)) == 0

    @pytest.mark.parametrize("rate", [-1.0, np.inf])
    def test_a_rate_out_of_bounds_is_refused(self, rate):
        with pytest.raises(InvalidInputError, match="arrival_rate_rps"):
            at(replicas(), rate)

    @pytest.mark.parametrize("ratio", [-0.1, 1.0])
    def test_a_percentile_out_of_bounds_is_refused(self, ratio):
        with pytest.raises(InvalidInputError, match="percentile_ratio"):
            at(replicas(), 1.0, ratio)


@pytest.mark.parametrize(
    ("columns", "load"),
    [
        ({}, 0.5),
        ({"max_batch_size": 256}, 0.8),
        ({"prompt_tokens_mean": 2048.0, "output_tokens_mean": 64.0}, 0.6),
        ({"max_batch_size": 256, "kv_capacity_tokens": 48 * 2048.0}, 0.7),
    ],
    ids=["chat", "wide", "prompts", "memory"],
)
def test_the_engine_agrees(columns, load):
    """A short run of the simulator's engine; bench.accuracy_engine is the long one."""
    some = replicas(**columns)
    given_ = CHAT | columns
    rate = load * full_rate(some)[0]
    random, count = np.random.default_rng(3), 30_000
    sigma = np.sqrt(np.log(2.0))

    def lengths(mean):
        drawn = random.lognormal(np.log(mean) - sigma**2 / 2.0, sigma, count)
        return np.clip(np.rint(drawn), 1, 20_000).astype(np.int64)

    blocks = None if np.isinf(given_["kv_capacity_tokens"]) else given_["kv_capacity_tokens"] / 16
    outcome = simulate(
        EngineSpec(
            iteration_base_s=given_["iteration_base_s"],
            decode_slope_s=given_["decode_slope_s"],
            prefill_slope_s=given_["prefill_slope_s"],
            kv_slope_s=given_["kv_slope_s"],
            max_num_seqs=given_["max_batch_size"],
            num_gpu_blocks=None if blocks is None else int(blocks) + 1,
        ),
        np.cumsum(random.exponential(1.0 / rate, count)),
        lengths(given_["prompt_tokens_mean"]),
        lengths(given_["output_tokens_mean"]),
    )
    found, several = at(some, rate), outcome.output_tokens > 1
    assert found.itl_mean_s[0] == pytest.approx(outcome.itl_s[several].mean(), rel=0.05)
    assert found.ttft_mean_s[0] == pytest.approx(outcome.ttft_s.mean(), rel=0.10)
    assert found.ttft_s[0] == pytest.approx(np.quantile(outcome.ttft_s, 0.95), rel=0.15)
    assert found.itl_s[0] == pytest.approx(np.quantile(outcome.itl_s[several], 0.95), rel=0.25)
