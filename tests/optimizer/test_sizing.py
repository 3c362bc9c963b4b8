import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from optimizer import InvalidInputError
from optimizer.latency import predict
from optimizer.sizing import (
    SizingBound,
    SizingStatus,
    largest_arrival_rate,
    largest_rates,
    replicas_for,
)
from tests.helpers.replicas import numerics, replicas, tables

MARGIN = 0.1
COLUMNS = ("rate_rps", "ttft_rate_rps", "itl_rate_rps", "stable_rps")


def size(some, *, margin=MARGIN, **targets):
    return largest_arrival_rate(*some, some.targets(**targets), stability_margin_ratio=margin)


def at(some, rate, ratio):
    return predict(*some, rate, percentile_ratio=np.full(len(some), ratio))


def status_of(sizing):
    return [SizingStatus(s).name for s in sizing.status]


@st.composite
def targets(draw, ratios=(0.0, 0.9, 0.95)):
    return {
        "ttft_s": draw(st.floats(0.05, 5.0)),
        "itl_s": draw(st.floats(0.01, 0.2)),
        "percentile_ratio": draw(st.sampled_from(ratios)),
    }


class TestTheSizedRate:
    @numerics
    @given(tables(), targets())
    def test_meets_the_targets(self, some, slo):
        sizing = size(some, **slo)
        ok = sizing.status == SizingStatus.OK
        found = at(some, np.where(ok, sizing.rate_rps, 0.0), slo["percentile_ratio"])
        # The percentile of a latency is found to 1e-5, and is steep in the rate.
        assert np.all(found.ttft_s[ok] <= slo["ttft_s"] * (1.0 + 1e-3))
        assert np.all(found.itl_s[ok] <= slo["itl_s"] * (1.0 + 1e-9))

    @numerics
    @given(tables(), targets())
    def test_is_the_largest_that_does(self, some, slo):
        sizing = size(some, **slo)
        limited = np.isin(sizing.bound, (SizingBound.TTFT, SizingBound.ITL))
        above = at(some, np.nan_to_num(sizing.rate_rps) * 1.001, slo["percentile_ratio"])
        missed = (above.ttft_s > slo["ttft_s"]) | (above.itl_s > slo["itl_s"])
        assert np.all(missed[limited])

    @numerics
    @given(tables(), targets())
    def test_is_the_least_of_its_bounds_and_names_it(self, some, slo):
        sizing = size(some, **slo)
        ok = sizing.status == SizingStatus.OK
        least = np.minimum(sizing.ttft_rate_rps, sizing.itl_rate_rps)
        assert np.all(sizing.rate_rps[ok] == np.minimum(least, sizing.stable_rps)[ok])
        by_bound = {
            SizingBound.TTFT: sizing.ttft_rate_rps,
            SizingBound.ITL: sizing.itl_rate_rps,
            SizingBound.STABILITY: sizing.stable_rps,
        }
        for bound, rate in by_bound.items():
            chosen = sizing.bound == bound
            assert np.all(sizing.rate_rps[chosen] == rate[chosen])
        assert np.all((sizing.bound == SizingBound.NONE) == ~ok)

    @numerics
    @given(tables(), targets(), st.floats(1.01, 3.0), st.sampled_from(["ttft_s", "itl_s"]))
    def test_rises_with_a_looser_target(self, some, slo, factor, name):
        strict, loose = size(some, **slo), size(some, **slo | {name: factor * slo[name]})
        assert np.all(loose.rate_rps >= strict.rate_rps * (1.0 - 1e-3))

    @numerics
    @given(tables(), targets(ratios=(0.9,)))
    def test_falls_with_a_higher_percentile(self, some, slo):
        p90, p99 = size(some, **slo), size(some, **slo | {"percentile_ratio": 0.99})
        assert np.all(p99.ttft_rate_rps <= p90.ttft_rate_rps * (1.0 + 1e-3))

    @numerics
    @given(tables(max_size=5), targets(), st.randoms(use_true_random=False))
    def test_doesnt_depend_on_who_else_is_sized(self, some, slo, random):
        order = list(range(len(some)))
        random.shuffle(order)
        straight, mixed = size(some, **slo), size(some.take(np.array(order)), **slo)
        alone = size(some.take(slice(0, 1)), **slo)
        for name in COLUMNS:
            column = getattr(straight, name)
            assert getattr(mixed, name) == pytest.approx(column[order], rel=1e-3)
            assert getattr(alone, name)[0] == pytest.approx(column[0], rel=1e-3)

    @numerics
    @given(tables(max_size=3), targets(), st.sampled_from([1e-3, 60.0]))
    def test_the_unit_of_time_is_nobodys_business(self, some, slo, unit):
        slopes = ("iteration_base_s", "decode_slope_s", "prefill_slope_s", "kv_slope_s")
        scaled = {n: unit * getattr(some.profiles, n) for n in (*slopes, "ttft_constant_s")}
        here = size(some, **slo)
        there = size(
            some.with_columns(**scaled),
            ttft_s=unit * slo["ttft_s"],
            itl_s=unit * slo["itl_s"],
            percentile_ratio=slo["percentile_ratio"],
        )
        assert there.rate_rps * unit == pytest.approx(here.rate_rps, rel=1e-3)


class TestMargin:
    @pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
    def test_without_targets_the_margin_decides(self, margin):
        some = replicas()
        full = 1.0 / at(some, np.ones(1), 0.5).utilization
        sizing = size(some, margin=margin)
        assert sizing.rate_rps == pytest.approx((1.0 - margin) * full)
        assert sizing.bound[0] == SizingBound.STABILITY

    @pytest.mark.parametrize("margin", [-0.1, 1.0, np.nan])
    def test_is_a_share(self, margin):
        with pytest.raises(InvalidInputError, match="stability_margin_ratio"):
            size(replicas(), margin=margin)


class TestStatus:
    @pytest.mark.parametrize(
        ("columns", "slo", "status"),
        [
            ({}, {"ttft_s": 1.0, "itl_s": 0.1}, "OK"),
            ({}, {"ttft_s": 0.012}, "INFEASIBLE_TTFT"),
            ({"ttft_constant_s": 0.5}, {"ttft_s": 0.4}, "INFEASIBLE_TTFT"),
            ({}, {"itl_s": 0.006}, "INFEASIBLE_ITL"),
            ({"kv_capacity_tokens": 500.0}, {}, "INFEASIBLE_MEMORY"),
            ({}, {"throughput_tps": 1e6}, "INFEASIBLE_THROUGHPUT"),
            ({}, {"throughput_tps": 100.0}, "OK"),
            ({"iteration_base_s": np.nan}, {"ttft_s": 1.0}, "UNKNOWN"),
            ({}, {"ttft_s": np.nan}, "UNKNOWN"),
        ],
    )
    def test_says_why(self, columns, slo, status):
        sizing = size(replicas(**columns), **slo)
        assert status_of(sizing) == [status]
        if status == "UNKNOWN":
            assert np.isnan(sizing.rate_rps[0])
        else:
            assert (sizing.rate_rps[0] > 0.0) == (status == "OK")
            assert sizing.stable_rps[0] > 0.0 or status == "INFEASIBLE_MEMORY"

    def test_one_infeasible_row_is_no_harm_to_the_others(self):
        some = replicas(iteration_base_s=np.array([6e-3, np.nan, 90e-3, 6e-3]))
        sizing = size(some, itl_s=0.03, ttft_s=1.0)
        assert status_of(sizing) == ["OK", "UNKNOWN", "INFEASIBLE_ITL", "OK"]
        assert sizing.rate_rps[0] == sizing.rate_rps[3] > 0.0

    def test_requests_of_one_token_meet_any_itl(self):
        sizing = size(replicas(output_tokens_mean=1.0, output_shape=1.0), itl_s=1e-4)
        assert status_of(sizing) == ["OK"]

    def test_tells_whether_memory_binds(self):
        some = replicas(kv_capacity_tokens=np.array([20e3, 2e6]))
        assert size(some).memory_bound.tolist() == [True, False]

    def test_no_variants_give_no_rows(self):
        assert len(size(replicas().take(np.array([], dtype=np.int64)))) == 0


def test_any_rising_columns_can_be_sized():
    """The search knows nothing of queues: here, two parabolas."""
    limits = np.array([[4.0, 9.0, 1e4], [16.0, 1.0, -1.0]])

    def excess(rate, rows):
        return tuple(rate**2 - limit[rows] for limit in limits)

    first, second = largest_rates(excess, np.full(3, 10.0), tolerance=1e-8)
    assert first == pytest.approx([2.0, 3.0, 10.0])
    assert second == pytest.approx([4.0, 1.0, 0.0])


class TestReplicas:
    @pytest.mark.parametrize(
        ("demand", "rate", "replicas_needed"),
        [
            (0.0, 2.0, 0.0),
            (1e-6, 2.0, 1.0),
            (2.0, 2.0, 1.0),
            (2.1, 2.0, 2.0),
            (0.3, 0.1, 3.0),  # 0.3 / 0.1 is a little more than 3 in floating point
            (5.0, 0.0, np.inf),
            (0.0, 0.0, 0.0),
            (np.nan, 2.0, np.nan),
            (2.0, np.nan, np.nan),
            (0.0, np.nan, np.nan),
        ],
    )
    def test_carry_the_demand(self, demand, rate, replicas_needed):
        needed = replicas_for(np.array([demand]), np.array([rate]))
        assert needed == pytest.approx([replicas_needed], nan_ok=True)

    @numerics
    @given(st.floats(0.0, 1e6), st.floats(1e-3, 1e3))
    def test_are_just_enough(self, demand, rate):
        assume(demand == 0.0 or demand > 1e-9)
        needed = replicas_for(np.array([demand]), np.array([rate]))[0]
        assert needed * rate >= demand * (1.0 - 1e-9)
        assert max(needed - 1.0, 0.0) * rate <= demand

    def test_a_negative_demand_is_refused(self):
        with pytest.raises(InvalidInputError, match="demand_rps"):
            replicas_for(np.array([-1.0]), np.array([1.0]))
