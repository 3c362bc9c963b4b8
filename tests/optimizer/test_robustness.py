"""How wrong demand and capacity may be, and plans that bear more for little."""

import numpy as np
import pytest

from optimizer import Binding, VariantTable
from optimizer.robustness import sturdier, withstood_ratio
from optimizer.stabilization import Settlement


def variants(cost, here):
    here = np.array(here)
    return VariantTable.of(
        np.zeros(len(here), dtype=np.int64),
        cost_per_hour=np.array(cost, dtype=float),
        min_replicas=np.zeros_like(here),
        max_replicas=np.full_like(here, 50),
        current_replicas=here,
    )


def chosen(*, cost, rate, here, desired, demand, highest=50):
    desired = np.array(desired)
    settled = Settlement(
        desired=desired,
        binding=np.full(len(desired), int(Binding.DEMAND)),
        covered=np.ones(1, dtype=np.bool_),
    )
    return sturdier(
        settled,
        rows=np.zeros(len(desired), dtype=np.int64),
        variants=variants(cost, here),
        rate_rps=np.array(rate, dtype=float),
        highest=np.full(len(desired), highest),
        expected_rps=np.array([float(demand)]),
    )


@pytest.mark.parametrize(
    ("carried", "demand", "expected"),
    [
        pytest.param([10.0, 10.0], 16.0, 0.2, id="two-variants-together"),
        pytest.param([10.0, 0.0], 12.0, -0.2, id="missed-as-it-is"),
        pytest.param([10.0, 10.0], 0.0, 1.0, id="no-demand"),
        pytest.param([0.0, 0.0], 1.0, -np.inf, id="nothing-runs"),
        pytest.param([np.nan, 1.0], 1.0, np.nan, id="capacity-not-known"),
        pytest.param([1.0, 1.0], np.nan, np.nan, id="demand-not-known"),
    ],
)
def test_the_error_that_a_plan_bears(carried, demand, expected):
    found = withstood_ratio(np.zeros(2, dtype=np.int64), np.array(carried), np.full(2, demand))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("error", [0.2, 0.5])
def test_what_is_borne_is_borne_in_demand_and_in_capacity(error):
    carried, demand = 10.0, 10.0 * (1.0 - error)
    found = withstood_ratio(np.zeros(1, dtype=np.int64), np.array([carried]), np.array([demand]))[0]
    assert found == pytest.approx(error)
    assert (1 + error) * demand <= carried
    assert demand <= (1 - error) * carried + 1e-9


def test_a_mix_that_bears_more_for_little_more_is_preferred():
    # One large replica of 12 for 4.1 instead of two of 5 for 4.0.
    found = chosen(cost=[2.0, 4.1], rate=[5.0, 12.0], here=[0, 0], desired=[2, 0], demand=9.0)
    np.testing.assert_array_equal(found.desired, [0, 1])
    assert (found.binding == Binding.STURDY).all()


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"cost": [2.0, 4.2]}, id="dearer-than-three-percent"),
        pytest.param({"here": [2, 0]}, id="nothing-changes-anyhow"),
        pytest.param({"demand": 8.0}, id="it-bears-as-much"),
        pytest.param({"demand": 0.0}, id="nothing-is-asked-for"),
        pytest.param({"rate": [0.0, 0.0]}, id="capacity-is-not-known"),
        pytest.param({"highest": 0}, id="there-may-be-no-more"),
    ],
)
def test_otherwise_counts_stay(changed):
    case = {"cost": [2.0, 4.1], "rate": [5.0, 12.0], "here": [0, 0], "demand": 9.0} | changed
    found = chosen(**case, desired=[2, 0])
    np.testing.assert_array_equal(found.desired, [2, 0])


def test_on_the_way_down_it_is_between_what_is_there_and_what_is_needed():
    # 40 of 41 replicas are needed: the last one costs 2.5 %, and bears the error.
    found = chosen(cost=[1.0], rate=[1.0], here=[41], desired=[40], demand=32.5)
    np.testing.assert_array_equal(found.desired, [41])
    further = chosen(cost=[1.0], rate=[1.0], here=[41], desired=[40], demand=33.5)
    np.testing.assert_array_equal(further.desired, [40])


def test_a_choice_stands_when_demand_moves_a_little():
    first = chosen(cost=[2.0, 4.1], rate=[5.0, 12.0], here=[0, 0], desired=[2, 0], demand=9.0)
    for demand in (8.8, 9.0, 9.2):
        again = chosen(
            cost=[2.0, 4.1],
            rate=[5.0, 12.0],
            here=first.desired,
            desired=first.desired,
            demand=demand,
        )
        np.testing.assert_array_equal(again.desired, first.desired)


def test_the_order_of_variants_does_not_matter():
    one = chosen(cost=[2.0, 4.1], rate=[5.0, 12.0], here=[0, 0], desired=[2, 0], demand=9.0)
    other = chosen(cost=[4.1, 2.0], rate=[12.0, 5.0], here=[0, 0], desired=[0, 2], demand=9.0)
    np.testing.assert_array_equal(other.desired, one.desired[::-1])
