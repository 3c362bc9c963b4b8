import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.tails import (
    HERMITE_NODES,
    HERMITE_WEIGHTS,
    CutExponential,
    ShiftedLognormal,
    normal_quantile,
    normal_survival,
)


def column(value):
    return np.array([value], dtype=float)


class TestNormal:
    @given(st.floats(-36.0, 36.0))
    def test_survival_agrees_with_the_error_function(self, x):
        exact = 0.5 * math.erfc(x / math.sqrt(2.0))
        assert normal_survival(column(x))[0] == pytest.approx(exact, rel=1e-12)

    def test_survival_of_infinities(self):
        assert normal_survival(np.array([-np.inf, np.inf])) == pytest.approx([1.0, 0.0])

    def test_quantile_is_worked_out_per_distinct_probability_and_keeps_the_order(self):
        p = np.array([0.95, 0.5, 0.99, 0.95, 0.0, 1.0])
        expected = [NormalDist().inv_cdf(x) for x in (0.95, 0.5, 0.99, 0.95)]
        assert normal_quantile(p) == pytest.approx([*expected, -np.inf, np.inf])

    @pytest.mark.parametrize("power", range(12))
    def test_the_hermite_rule_integrates_moments(self, power):
        exact = 0.0 if power % 2 else math.prod(range(power - 1, 0, -2))
        total = np.dot(HERMITE_WEIGHTS, np.array(HERMITE_NODES) ** power)
        assert total == pytest.approx(exact, rel=1e-9, abs=1e-9)


class TestShiftedLognormal:
    @given(
        mean=st.floats(-5.0, 5.0), deviation=st.floats(1e-3, 10.0), skewness=st.floats(0.01, 5.0)
    )
    def test_it_has_the_cumulants_it_was_made_from(self, mean, deviation, skewness):
        made = ShiftedLognormal.from_cumulants(
            column(mean), column(deviation**2), column(skewness * deviation**3)
        )
        shift, scale, w = made.shift[0], made.scale[0], math.exp(made.sigma[0] ** 2)
        assert shift + scale * math.sqrt(w) == pytest.approx(mean, rel=1e-6, abs=1e-6 * deviation)
        assert scale**2 * w * (w - 1.0) == pytest.approx(deviation**2, rel=1e-6)
        assert (w + 2.0) * math.sqrt(w - 1.0) == pytest.approx(skewness, rel=1e-6)

    def test_without_skewness_it_is_a_normal(self):
        made = ShiftedLognormal.from_cumulants(column(3.0), column(4.0), column(-1.0))
        p = column(0.95)
        assert made.quantile(p)[0] == pytest.approx(
            3.0 + 2.0 * NormalDist().inv_cdf(0.95), rel=1e-3
        )

    @given(st.floats(0.01, 0.99), st.floats(0.1, 4.0))
    def test_survival_inverts_the_quantile(self, p, skewness):
        made = ShiftedLognormal.from_cumulants(column(1.0), column(0.25), column(skewness * 0.125))
        assert made.survival(made.quantile(column(p)))[0] == pytest.approx(1.0 - p, rel=1e-9)

    @given(st.floats(0.5, 4.0), st.floats(0.1, 3.0))
    def test_mean_above_is_the_integral_of_the_survival(self, t, skewness):
        made = ShiftedLognormal.from_cumulants(column(1.0), column(0.25), column(skewness * 0.125))
        grid = np.linspace(t, t + 60.0, 60_001)
        integral = np.trapezoid(made.survival(grid), grid)
        assert made.mean_above(column(t))[0] == pytest.approx(integral, rel=1e-3, abs=1e-6)

    def test_below_its_least_value_everything_survives(self):
        made = ShiftedLognormal.from_cumulants(column(1.0), column(0.01), column(0.01))
        least = made.shift - 1.0
        assert made.survival(least)[0] == 1.0
        assert made.mean_above(least)[0] == pytest.approx(1.0 - least[0])


class TestCutExponential:
    @given(st.floats(-300.0, 300.0), st.floats(0.1, 10.0))
    def test_its_mean_is_the_integral_of_the_survival(self, slope, mean):
        made = CutExponential(mean=column(mean), slope=column(slope))
        end = made.quantile(column(1.0))[0]
        grid = np.linspace(0.0, end, 200_001)
        assert np.trapezoid(made.survival(grid), grid) == pytest.approx(mean, rel=1e-3)

    @given(st.floats(-300.0, 300.0), st.floats(0.001, 0.999))
    def test_survival_inverts_the_quantile(self, slope, p):
        made = CutExponential(mean=column(2.0), slope=column(slope))
        x = made.quantile(column(p))
        assert made.survival(x)[0] == pytest.approx(1.0 - p, rel=1e-6, abs=1e-9)

    def test_a_long_stable_queue_is_exponential(self):
        made = CutExponential(mean=column(2.0), slope=column(-2000.0))
        assert made.survival(column(5.0))[0] == pytest.approx(math.exp(-2.5), rel=1e-9)

    def test_as_much_coming_as_going_is_uniform(self):
        made = CutExponential(mean=column(2.0), slope=column(0.0))
        assert made.survival(np.array([1.0, 3.0, 5.0])) == pytest.approx(
            [0.75, 0.25, 0.0], abs=1e-4
        )

    def test_overload_is_close_to_its_end(self):
        made = CutExponential(mean=column(10.0), slope=column(1000.0))
        assert made.quantile(np.array([0.01, 0.99])) == pytest.approx([10.0, 10.0], rel=0.01)

    def test_nothing_waits_less_than_nothing(self):
        made = CutExponential(mean=column(2.0), slope=column(-3.0))
        assert made.survival(np.array([-1.0, 0.0])) == pytest.approx([1.0, 1.0])
