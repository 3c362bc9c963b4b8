"""When counts may change."""

import numpy as np
import pytest

from optimizer import Binding, PlanState, Policy, VariantTable
from optimizer.estimator_state import EstimatorState
from optimizer.stabilization import remember_demand, settle

POLICY = Policy(down_window_s=60.0, down_hysteresis_ratio=0.1, change_price_ratio=0.05)


def table(current, *, ready=None, cost=None, partial=None, blind=None, model=None) -> VariantTable:
    n = len(current)
    ints = lambda x: np.asarray(x, dtype=np.int64)  # noqa: E731
    flags = lambda x: np.asarray(x if x is not None else [False] * n, dtype=np.bool_)  # noqa: E731
    return VariantTable(
        model=ints(model if model is not None else [0] * n),
        cost_per_hour=np.asarray(cost if cost is not None else [1.0] * n),
        power_idle_w=np.zeros(n),
        power_full_w=np.zeros(n),
        min_replicas=ints([0] * n),
        max_replicas=ints([20] * n),
        current_replicas=ints(current),
        ready_replicas=ints(ready if ready is not None else current),
        partial=flags(partial),
        blind=flags(blind),
        paper_law=flags(None),
        trust=ints([3] * n),
        cold_start_s=np.full(n, np.nan),
    )


def run(
    variants, rate, need, peak, *, low=None, high=None, removable=None, start=None, steady=True
):
    n = len(variants)
    return settle(
        variants=variants,
        rate_rps=np.asarray(rate, dtype=np.float64),
        lowest=np.asarray(low if low is not None else [0] * n, dtype=np.int64),
        highest=np.asarray(high if high is not None else [20] * n, dtype=np.int64),
        removable=np.asarray(removable if removable is not None else [99] * n, dtype=np.int64),
        need_rps=np.array([need]),
        peak_rps=np.array([peak]),
        policy=POLICY,
        start_per_hour=None if start is None else np.asarray(start, dtype=np.float64),
        steady=np.array([steady]),
    )


@pytest.mark.parametrize(
    ("current", "need", "peak", "expected", "binding"),
    [
        pytest.param([2], 3.5, 3.5, [2], Binding.STEADY, id="carried-stays"),
        pytest.param([2], 9.0, 9.0, [5], Binding.DEMAND, id="up-in-one-step"),
        pytest.param([5], 2.0, 9.0, [5], Binding.SCALE_DOWN_WINDOW, id="recent-peak-holds"),
        pytest.param([5], 2.0, 4.0, [3], Binding.DEMAND, id="down-to-the-peak-with-margin"),
        pytest.param([3], 4.0, 4.0, [3], Binding.STEADY, id="hysteresis-holds-one-more"),
    ],
)
def test_one_variant(current, need, peak, expected, binding):
    got = run(table(current), [2.0], need, peak)
    assert got.desired.tolist() == expected
    assert got.binding.tolist() == [binding]


def test_starting_replicas_count_on_the_way_up_only():
    """Four asked for, one ready: no fifth for a need of eight, and no removal either."""
    up = run(table([4], ready=[1]), [2.0], 8.0, 8.0)
    assert up.desired.tolist() == [4]
    down = run(table([4], ready=[1]), [2.0], 3.0, 3.0)
    assert down.desired.tolist() == [4]
    assert down.binding.tolist() == [Binding.HANDOVER]


@pytest.mark.parametrize("flag", ["partial", "blind"])
def test_incomplete_readings_never_scale_down(flag):
    got = run(table([5], **{flag: [True]}), [2.0], 1.0, 1.0)
    assert got.desired.tolist() == [5]


def test_no_more_go_than_the_requests_in_flight_can_spare():
    assert run(table([5]), [2.0], 1.0, 1.0, removable=[1]).desired.tolist() == [4]
    assert run(table([5]), [2.0], 1.0, 1.0, removable=[0]).desired.tolist() == [5]


def test_incomplete_readings_may_scale_up():
    got = run(table([1], partial=[True]), [2.0], 5.0, 5.0)
    assert got.desired.tolist() == [3]


def test_a_swap_keeps_the_old_until_the_new_is_ready():
    """Variant b is far cheaper per request: a goes, but only after b is there."""
    first = run(table([2, 0], cost=[10.0, 1.0]), [2.0, 2.0], 3.0, 3.0)
    assert first.desired.tolist() == [2, 2]
    assert first.binding.tolist() == [Binding.HANDOVER, Binding.COST]
    second = run(table([2, 2], ready=[2, 0], cost=[10.0, 1.0]), [2.0, 2.0], 3.0, 3.0)
    assert second.desired.tolist() == [2, 2]
    third = run(table([2, 2], cost=[10.0, 1.0]), [2.0, 2.0], 3.0, 3.0)
    assert third.desired.tolist() == [0, 2]


def test_a_swap_keeps_of_the_old_only_what_carries_the_peak_until_then():
    waiting = run(table([4, 0], cost=[2.0, 1.0]), [10.0, 10.0], 15.0, 15.0)
    assert waiting.desired.tolist() == [2, 2]
    assert waiting.binding.tolist() == [Binding.HANDOVER, Binding.COST]
    unready = table([4, 0], ready=[1, 0], cost=[2.0, 1.0])
    assert run(unready, [10.0, 10.0], 15.0, 15.0).desired.tolist() == [4, 2]


def test_while_a_load_moves_nothing_is_started_for_a_saving_alone():
    """A replica that goes is another matter: that saves at once."""
    dear = table([4, 0], cost=[2.0, 1.0])
    assert run(dear, [10.0, 10.0], 15.0, 15.0, steady=False).desired.tolist() == [2, 0]
    assert run(dear, [10.0, 10.0], 15.0, 15.0, steady=True).desired.tolist() == [2, 2]


def test_a_swap_that_saves_little_is_left_alone():
    got = run(table([2, 0], cost=[1.0, 0.97]), [2.0, 2.0], 3.5, 3.5)
    assert got.desired.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param([0.0, 0.0], [2, 2], id="free"),
        pytest.param([0.1, 0.1], [2, 2], id="pays off"),
        pytest.param([0.4, 0.4], [2, 0], id="costs more than it saves"),
    ],
)
def test_a_swap_saves_more_than_its_change_costs_while_it_lasts(start, expected):
    """A saving of 0.6 per hour against two starts and two stops."""
    got = run(table([2, 0], cost=[1.0, 0.7]), [2.0, 2.0], 3.5, 3.5, start=start)
    assert got.desired.tolist() == expected


def test_the_way_back_is_not_worth_its_price_so_nothing_goes_to_and_fro():
    start = [0.2, 0.2]
    for cheaper in (0.8, 0.9, 1.0, 1.1, 1.2):
        got = run(table([0, 2], cost=[1.0, cheaper]), [2.0, 2.0], 3.5, 3.5, start=start)
        assert got.desired.tolist() == [0, 2]


def test_what_starts_slowly_is_dear_to_add():
    fast_start, slow_start = [0.1, 0.1], [0.1, 0.9]
    args = (table([1, 0], cost=[1.0, 0.8]), [2.0, 2.0], 7.5, 7.5)
    assert run(*args, start=fast_start).desired.tolist() == [1, 3]
    assert run(*args, start=slow_start).desired.tolist() == [4, 0]


def test_maximum_leaves_the_model_short_and_says_so():
    got = run(table([2]), [2.0], 9.0, 9.0, high=[3])
    assert got.desired.tolist() == [3]
    assert got.covered.tolist() == [False]


def remember(state, demand, now_s, names=("m",)):
    memory = remember_demand(
        state,
        model_names=names,
        demand_rps=np.asarray(demand, dtype=np.float64),
        now_s=now_s,
        policy=POLICY,
    )
    return memory, PlanState(
        model_names=names,
        bucket_start_s=memory.bucket_start_s,
        peaks_rps=memory.peaks_rps,
        seen_demand_s=memory.seen_demand_s,
        offered_rps=np.full(len(names), np.nan),
        planned_s=now_s,
        variant_names=(),
        desired=np.empty(0, dtype=np.int64),
        estimator=EstimatorState.empty(),
    )


def test_a_peak_is_remembered_for_the_window_and_then_forgotten():
    memory, state = remember(PlanState.empty(), [9.0], 1000.0)
    assert memory.peak_rps.tolist() == [9.0]
    for now_s in np.arange(1005.0, 1056.0, 5.0):
        memory, state = remember(state, [2.0], float(now_s))
        assert memory.peak_rps.tolist() == [9.0]
    for now_s in np.arange(1056.0, 1071.0, 5.0):
        memory, state = remember(state, [2.0], float(now_s))
    assert memory.peak_rps.tolist() == [2.0]


def test_unknown_demand_is_not_zero_demand():
    _, state = remember(PlanState.empty(), [9.0], 1000.0)
    memory, _ = remember(state, [np.nan], 1005.0)
    assert memory.peak_rps.tolist() == [9.0]
    assert memory.seen_demand_s.tolist() == [1000.0]


def test_history_follows_names_not_rows():
    _, state = remember(PlanState.empty(), [9.0, 1.0], 1000.0, ("a", "b"))
    memory, _ = remember(state, [0.5, 0.5, 0.5], 1005.0, ("b", "new", "a"))
    assert memory.peak_rps.tolist() == [1.0, 0.5, 9.0]


def test_a_long_gap_forgets_everything():
    _, state = remember(PlanState.empty(), [9.0], 1000.0)
    memory, _ = remember(state, [2.0], 5000.0)
    assert memory.peak_rps.tolist() == [2.0]


def test_no_models_is_no_error():
    memory, _ = remember(PlanState.empty(), [], 1000.0, ())
    assert memory.peak_rps.shape == (0,)
