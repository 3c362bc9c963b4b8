"""The brakes: each rule, its bound, and the order in which they act."""

import numpy as np
import pytest

from adapter.catalog import build_catalog
from adapter.config import parse_settings
from adapter.guard import Brake, GuardState, guard


def catalog(brakes: str, count: int = 1, cost: float = 2.0, namespaces=("default",)):
    variants = "\n".join(
        f"  - {{name: v{i}, namespace: {namespaces[i % len(namespaces)]}, model: m, "
        f"accelerator: X, cost_per_hour: {cost}, max_replicas: 99, cold_start_s: 100}}"
        for i in range(count)
    )
    return build_catalog(parse_settings(f"brakes: {{{brakes}}}\nvariants:\n{variants}\n"))


def step(state, desired, current, now_s, cat, *, complete=True, cold_start_s=None):
    return guard(
        state,
        desired=np.asarray(desired, dtype=np.int64),
        current=np.asarray(current, dtype=np.int64),
        complete=np.full(len(desired), complete),
        cold_start_s=cat.cold_start_s
        if cold_start_s is None
        else np.full(len(desired), cold_start_s),
        catalog=cat,
        now_s=now_s,
    )


def test_nothing_falls_during_warm_up_and_may_rise():
    cat = catalog("warm_up_s: 600")
    first = step(GuardState.empty(), [1], [4], 0.0, cat)
    assert (first.desired.tolist(), first.brake.tolist()) == ([4], [Brake.WARM_UP])
    later = step(first.state, [1], [4], 599.0, cat)
    assert later.desired.tolist() == [4]
    warm = step(later.state, [1], [4], 600.0, cat)
    assert warm.desired.tolist() == [3]
    assert step(GuardState.empty(), [6], [4], 0.0, cat).desired.tolist() == [6]


def test_seconds_of_incomplete_readings_do_not_warm_up_nor_undo_it():
    cat = catalog("warm_up_s: 300")
    state = step(GuardState.empty(), [4], [4], 0.0, cat).state
    state = step(state, [4], [4], 200.0, cat).state
    state = step(state, [4], [4], 400.0, cat, complete=False).state
    assert step(state, [1], [4], 450.0, cat).brake.tolist() == [Brake.WARM_UP]
    assert step(state, [1], [4], 500.0, cat).brake.tolist() == [Brake.DOWN_RATE]


def test_warm_up_covers_two_cold_starts_at_least():
    cat = catalog("warm_up_s: 60")  # the variant's cold start is 100 s
    state = step(GuardState.empty(), [4], [4], 0.0, cat).state
    assert step(state, [1], [4], 199.0, cat).brake.tolist() == [Brake.WARM_UP]
    assert step(state, [1], [4], 200.0, cat).desired.tolist() == [3]


def test_nothing_falls_while_pods_are_being_replaced():
    cat = catalog("warm_up_s: 0, max_scale_down_ratio: 1.0", count=2)
    held = guard(
        GuardState.empty(),
        desired=np.array([1, 1]),
        current=np.array([6, 6]),
        complete=np.array([True, True]),
        cold_start_s=np.array([100.0, 100.0]),
        catalog=cat,
        now_s=0.0,
        rolling=np.array([True, False]),
    )
    assert held.desired.tolist() == [6, 1]
    assert held.brake.tolist() == [Brake.ROLLOUT, Brake.NONE]


@pytest.mark.parametrize(
    ("reachable", "expected"),
    [
        pytest.param(3, 3, id="two-serve"),
        pytest.param(1, 9, id="none-serves"),
        pytest.param(-1, 9, id="nothing-says"),
    ],
)
def test_no_brake_keeps_replicas_that_cannot_start_beside_those_that_serve(reachable, expected):
    cat = catalog("warm_up_s: 600")
    held = guard(
        GuardState.empty(),
        desired=np.array([1]),
        current=np.array([9]),
        complete=np.array([True]),
        cold_start_s=np.array([100.0]),
        catalog=cat,
        now_s=0.0,
        reachable=np.array([reachable]),
    )
    assert held.desired.tolist() == [expected]


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        pytest.param(20, 16, id="a-fifth-of-twenty"),
        pytest.param(8, 6, id="rounded-as-HPA-does"),
        pytest.param(4, 3, id="at-least-one"),
        pytest.param(1, 0, id="the-last-one-may-go"),
    ],
)
def test_falls_by_a_share_of_the_last_minute(current, expected):
    cat = catalog("warm_up_s: 0, max_scale_down_ratio: 0.2")
    first = step(GuardState.empty(), [0], [current], 0.0, cat)
    assert first.desired.tolist() == [expected]
    again = step(first.state, [0], [expected], 30.0, cat)
    assert again.desired.tolist() == [expected]
    assert step(again.state, [0], [expected], 95.0, cat).desired[0] < max(1, expected)


def test_rises_to_a_multiple_per_cold_start():
    cat = catalog("warm_up_s: 0, max_scale_up_factor: 3")
    first = step(GuardState.empty(), [50], [2], 0.0, cat)
    assert (first.desired.tolist(), first.brake.tolist()) == ([6], [Brake.UP_RATE])
    assert step(first.state, [50], [6], 50.0, cat).desired.tolist() == [6]
    assert step(first.state, [50], [6], 101.0, cat).desired.tolist() == [18]


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        pytest.param(0, 4, id="from-zero"),
        pytest.param(1, 5, id="a-step-from-one"),
        pytest.param(2, 6, id="both-agree"),
        pytest.param(3, 9, id="the-factor"),
    ],
)
def test_a_few_replicas_are_never_too_many_at_once(current, expected):
    cat = catalog("warm_up_s: 0, max_scale_up_factor: 3")
    assert step(GuardState.empty(), [50], [current], 0.0, cat).desired.tolist() == [expected]


def test_a_cold_start_that_was_learned_counts_like_a_declared_one():
    cat = catalog("warm_up_s: 0, max_scale_up_factor: 3")
    first = step(GuardState.empty(), [50], [2], 0.0, cat, cold_start_s=30.0)
    soon = step(first.state, [50], [6], 29.0, cat, cold_start_s=30.0)
    assert soon.desired.tolist() == [6]
    assert step(soon.state, [50], [6], 31.0, cat, cold_start_s=30.0).desired.tolist() == [18]


def test_what_runs_is_never_taken_away_by_the_rise_brake():
    cat = catalog("warm_up_s: 0, max_scale_up_factor: 2")
    state = step(GuardState.empty(), [1], [1], 0.0, cat).state
    got = step(state, [9], [7], 10.0, cat)  # somebody scaled by hand to 7
    assert got.desired.tolist() == [7]


def test_budget_pays_for_additions_only():
    cat = catalog("warm_up_s: 0, budget_per_hour: 7", count=2)
    got = step(GuardState.empty(), [3, 3], [1, 1], 0.0, cat)
    assert (got.desired * 2.0).sum() <= 7
    assert got.desired.tolist() == [2, 1]
    over = step(GuardState.empty(), [5, 5], [4, 4], 0.0, cat)
    assert over.desired.tolist() == [4, 4]
    assert over.brake.tolist() == [Brake.BUDGET, Brake.BUDGET]


def test_budget_of_a_namespace_leaves_others_alone():
    cat = catalog(
        "warm_up_s: 0, budget_per_hour_by_namespace: {a: 2}", count=2, namespaces=("a", "b")
    )
    assert step(GuardState.empty(), [3, 3], [1, 1], 0.0, cat).desired.tolist() == [1, 3]


def test_history_follows_names_when_variants_come_and_go():
    two, one = catalog("warm_up_s: 0", count=2), catalog("warm_up_s: 0", count=1)
    state = step(GuardState.empty(), [20, 20], [20, 20], 0.0, two).state
    got = step(state, [0], [20], 5.0, one)
    assert got.desired.tolist() == [16]
    back = step(got.state, [16, 3], [16, 3], 10.0, two)
    assert back.desired.tolist() == [16, 3]


def test_history_does_not_grow_for_ever():
    cat = catalog("warm_up_s: 0")
    state = GuardState.empty()
    for now_s in range(0, 2000, 5):
        state = step(state, [2], [2], float(now_s), cat).state
    assert len(state.times_s) <= 100 / 5 + 2
