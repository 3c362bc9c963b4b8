"""The stand-in for the HPA against decisions of a stock controller (k8s-protocols 1.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InvalidInputError
from simulator.hpa import (
    Behavior,
    HpaReason,
    HpaSpec,
    HpaState,
    Policy,
    ScalingRules,
    SelectPolicy,
    decide,
)

FREE = ScalingRules(policies=(Policy("Pods", 1000, 15.0),), tolerance=0.0)
OURS = Behavior(scale_up=FREE, scale_down=FREE)


NEW = HpaState()


def sync(spec, replicas, metric, *, state=NEW, now_s=1000.0, **more):
    return decide(state, spec, replicas=replicas, metric=metric, now_s=now_s, **more)


def run(spec, replicas, metrics, *, every_s=15.0, state=NEW):
    """Sync once per metric, following each decision; return the counts and the reasons."""
    counts, reasons = [], []
    for step, metric in enumerate(metrics):
        decision = decide(state, spec, replicas=replicas, metric=metric, now_s=step * every_s)
        replicas, state = decision.replicas, decision.state
        counts.append(replicas)
        reasons.append(decision.reason)
    return counts, reasons


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        pytest.param(9.0, 10, id="ratio-0.9-is-within"),
        pytest.param(9.1, 10, id="9.1-stays"),
        pytest.param(10.9, 10, id="10.9-stays"),
        pytest.param(11.0, 10, id="ratio-1.1-is-within"),
        pytest.param(11.1, 12, id="11.1-is-ceiled"),
        pytest.param(8.9, 9, id="8.9-is-ceiled"),
        pytest.param(10.0, 10, id="as-it-is"),
    ],
)
def test_ten_replicas_at_target_one(metric, expected):
    # with a scale-down window of 0, as in the recording
    spec = HpaSpec(
        max_replicas=40,
        behavior=Behavior(
            scale_down=ScalingRules(policies=(Policy("Percent", 100, 15.0),)),
        ),
    )
    assert sync(spec, 10, metric).replicas == expected


@pytest.mark.parametrize(
    ("replicas", "metric", "tolerance", "expected"),
    [
        pytest.param(12, 13.0, 0.1, 12, id="default-loses-12-to-13"),
        pytest.param(12, 13.0, 0.0, 13, id="tolerance-0-takes-it"),
        pytest.param(12, 14.0, 0.1, 14, id="nudged-to-14"),
        pytest.param(2, 3.0, 0.1, 3, id="case-55"),
    ],
)
def test_tolerance_per_direction(replicas, metric, tolerance, expected):
    up = ScalingRules(policies=(Policy("Pods", 1000, 15.0),), tolerance=tolerance)
    spec = HpaSpec(max_replicas=40, behavior=Behavior(scale_up=up, scale_down=FREE))
    assert sync(spec, replicas, metric).replicas == expected


def test_tolerance_of_scaling_down_is_its_own():
    lax = ScalingRules(policies=(Policy("Pods", 1000, 15.0),), tolerance=0.5)
    spec = HpaSpec(max_replicas=40, behavior=Behavior(scale_up=FREE, scale_down=lax))
    assert sync(spec, 10, 6.0).replicas == 10
    assert sync(spec, 10, 4.9).replicas == 5


def test_tolerance_is_computed_on_the_status():
    spec = HpaSpec(max_replicas=40, behavior=Behavior(scale_up=FREE, scale_down=FREE))
    assert sync(spec, 12, 11.0, status_replicas=11).replicas == 11
    default = HpaSpec(max_replicas=40)
    assert sync(default, 12, 13.0, status_replicas=13).replicas == 13


def test_without_a_behavior_a_step_doubles_at_most_but_four_are_always_allowed():
    counts, reasons = run(HpaSpec(max_replicas=40), 1, [40.0] * 6)
    assert counts == [4, 8, 16, 32, 40, 40]
    assert reasons[0] is HpaReason.UP_LIMIT
    assert reasons[-1] is HpaReason.WITHIN_RANGE


def test_without_a_behavior_the_highest_proposal_of_five_minutes_holds():
    counts, reasons = run(HpaSpec(max_replicas=40), 8, [8.0] + [2.0] * 21)
    assert counts == [8] * 20 + [2, 2]  # 300 s later the first proposal has left the window
    assert reasons[1] is HpaReason.DOWN_STABILIZED


def test_default_behavior_allows_the_larger_of_four_pods_and_double_per_period():
    spec = HpaSpec(max_replicas=100, behavior=Behavior())
    assert run(spec, 1, [100.0] * 4)[0] == [5, 10, 20, 40]
    # the period counts, not the sync: within 15 s nothing more is added
    assert run(spec, 10, [100.0] * 4, every_s=5.0)[0] == [20, 20, 20, 40]


def test_our_manifests_behavior_jumps_both_ways():
    spec = HpaSpec(max_replicas=20, behavior=OURS)
    assert run(spec, 2, [13.0, 13.0, 3.0, 3.2], every_s=2.0)[0] == [13, 13, 3, 4]


def test_percent_alone_cannot_leave_zero():
    percent = ScalingRules(policies=(Policy("Percent", 100, 15.0),))
    spec = HpaSpec(min_replicas=0, max_replicas=5, behavior=Behavior(scale_up=percent))
    decision = sync(spec, 0, 3.0)
    assert (decision.replicas, decision.reason) == (0, HpaReason.UP_LIMIT)
    pods = HpaSpec(min_replicas=0, max_replicas=5, behavior=OURS)
    assert sync(pods, 0, 0.4).replicas == 1


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        pytest.param(SelectPolicy.MAX, 15, id="max"),
        pytest.param(SelectPolicy.MIN, 12, id="min"),
        pytest.param(SelectPolicy.DISABLED, 10, id="disabled"),
    ],
)
def test_select_policy_up(select, expected):
    up = ScalingRules(
        policies=(Policy("Pods", 2, 60.0), Policy("Percent", 50, 60.0)), select=select
    )
    spec = HpaSpec(max_replicas=100, behavior=Behavior(scale_up=up))
    assert sync(spec, 10, 100.0).replicas == expected


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        pytest.param(SelectPolicy.MAX, 5, id="max"),
        pytest.param(SelectPolicy.MIN, 8, id="min"),
        pytest.param(SelectPolicy.DISABLED, 10, id="disabled"),
    ],
)
def test_select_policy_down(select, expected):
    down = ScalingRules(
        policies=(Policy("Pods", 2, 60.0), Policy("Percent", 50, 60.0)), select=select
    )
    spec = HpaSpec(max_replicas=100, behavior=Behavior(scale_down=down))
    assert sync(spec, 10, 1.0).replicas == expected


def test_percent_20_per_minute_going_down():
    down = ScalingRules(policies=(Policy("Percent", 20, 60.0),))
    spec = HpaSpec(max_replicas=100, behavior=Behavior(scale_down=down))
    counts, reasons = run(spec, 10, [1.0] * 9, every_s=15.0)
    assert counts == [8, 8, 8, 8, 6, 6, 6, 6, 4]
    assert reasons[1] is HpaReason.DOWN_LIMIT


def test_an_up_window_takes_the_lowest_proposal_in_it():
    up = ScalingRules(policies=(Policy("Pods", 1000, 15.0),), stabilization_s=30.0)
    spec = HpaSpec(max_replicas=100, behavior=Behavior(scale_up=up))
    counts, reasons = run(spec, 2, [2.0, 9.0, 9.0, 9.0], every_s=15.0)
    assert counts == [2, 2, 9, 9]
    assert reasons[1] is HpaReason.UP_STABILIZED


@pytest.mark.parametrize(
    ("replicas", "metric", "expected", "reason"),
    [
        pytest.param(50, None, 20, HpaReason.TOO_MANY, id="above-max-without-a-metric"),
        pytest.param(1, None, 2, HpaReason.TOO_FEW, id="below-min-without-a-metric"),
        pytest.param(7, None, 7, HpaReason.NO_METRIC, id="missing-metric-freezes"),
        pytest.param(0, 9.0, 0, HpaReason.DISABLED, id="zero-disables"),
        pytest.param(7, 99.0, 20, HpaReason.TOO_MANY, id="clamped-to-max"),
        pytest.param(7, 0.0, 2, HpaReason.TOO_FEW, id="clamped-to-min"),
    ],
)
def test_bounds_and_missing_metrics(replicas, metric, expected, reason):
    decision = sync(HpaSpec(min_replicas=2, max_replicas=20, behavior=OURS), replicas, metric)
    assert (decision.replicas, decision.reason) == (expected, reason)


def test_a_missing_metric_forgets_nothing():
    spec = HpaSpec(max_replicas=40)
    state = sync(spec, 8, 8.0, now_s=0.0).state
    assert sync(spec, 8, None, state=state, now_s=15.0).state == state


def test_the_proposal_is_shown_beside_the_count():
    decision = sync(HpaSpec(max_replicas=4, behavior=OURS), 2, 11.2)
    assert (decision.proposal, decision.replicas) == (12, 4)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: HpaSpec(min_replicas=3, max_replicas=2), id="min-above-max"),
        pytest.param(lambda: HpaSpec(max_replicas=2, average_value=0.0), id="target-zero"),
        pytest.param(lambda: Policy("Replicas", 1, 15.0), id="policy-type"),
        pytest.param(lambda: Policy("Pods", 0, 15.0), id="policy-value"),
        pytest.param(lambda: Policy("Pods", 1, 1801.0), id="period"),
        pytest.param(lambda: ScalingRules(policies=()), id="no-policy"),
        pytest.param(
            lambda: ScalingRules(policies=(), select=SelectPolicy.DISABLED), id="disabled-no-policy"
        ),
        pytest.param(
            lambda: ScalingRules(policies=FREE.policies, stabilization_s=3601),
            id="window",
        ),
        pytest.param(lambda: ScalingRules(policies=FREE.policies, tolerance=-0.1), id="tolerance"),
    ],
)
def test_a_spec_that_the_api_server_refuses(broken):
    with pytest.raises(InvalidInputError):
        broken()


@given(
    metrics=st.lists(st.none() | st.floats(0, 60), min_size=1, max_size=30),
    replicas=st.integers(1, 30),
    behavior=st.sampled_from([None, Behavior(), OURS]),
)
def test_counts_stay_within_the_bounds(metrics, replicas, behavior):
    spec = HpaSpec(min_replicas=1, max_replicas=20, behavior=behavior)
    counts, _ = run(spec, replicas, metrics)
    assert all(1 <= count <= 20 for count in counts)
