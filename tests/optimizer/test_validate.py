import numpy as np
import pytest

from optimizer import InvalidInputError
from optimizer.validate import check_bounds, check_percentile, check_rate, known_rows
from tests.helpers.replicas import replicas


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("iteration_base_s", 0.0),
        ("iteration_base_s", -1e-3),
        ("decode_slope_s", -1e-9),
        ("prefill_slope_s", np.inf),
        ("kv_slope_s", -1e-12),
        ("ttft_constant_s", -0.1),
        ("prompt_tokens_mean", -1.0),
        ("output_tokens_mean", 0.5),
        ("prefix_hit_ratio", 1.1),
        ("prefix_hit_ratio", -0.1),
        ("max_batch_size", 0),
        ("max_queue_size", -1),
        ("kv_capacity_tokens", 0.0),
        ("max_batched_tokens", 0.0),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_name(column, value):
    some = replicas(iteration_base_s=np.full(3, 5e-3))
    column_of = np.array(getattr(_record(some, column), column))
    column_of[1] = value
    with pytest.raises(InvalidInputError, match=rf"{column}\[1\] is {value}"):
        check_bounds(*some.with_columns(**{column: column_of}))


@pytest.mark.parametrize(
    ("column", "value"),
    [("ttft_s", 0.0), ("itl_s", -1.0), ("percentile_ratio", 1.0), ("throughput_tps", -1.0)],
)
def test_so_is_a_target(column, value):
    with pytest.raises(InvalidInputError, match=column):
        check_bounds(replicas().targets(**{column: value}))


def test_no_limit_and_no_target_are_in_bounds():
    some = replicas(kv_capacity_tokens=np.inf, max_batched_tokens=np.inf)
    check_bounds(*some, some.targets(ttft_s=np.inf, itl_s=np.inf))


def test_unknown_is_in_bounds_and_makes_its_row_unknown():
    some = replicas(kv_slope_s=np.array([1e-8, np.nan, 1e-8]))
    targets = some.targets(ttft_s=np.array([1.0, 1.0, np.nan]))
    check_bounds(*some, targets)
    assert known_rows(*some, targets).tolist() == [True, False, False]


def test_records_of_different_length_are_refused():
    two, three = replicas(iteration_base_s=np.ones(2)), replicas(iteration_base_s=np.ones(3))
    with pytest.raises(InvalidInputError, match="one row per variant"):
        check_bounds(two.profiles, three.workloads)


def test_a_column_of_the_wrong_length_is_refused():
    with pytest.raises(InvalidInputError, match="shape"):
        check_rate("arrival_rate_rps", np.zeros(3), 2)
    with pytest.raises(InvalidInputError, match="shape"):
        check_percentile(np.zeros(3), 2)


def _record(some, column):
    return next(record for record in some if hasattr(record, column))
