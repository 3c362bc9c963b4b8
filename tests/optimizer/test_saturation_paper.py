"""The paper's percentage law: every row of the published analyzer's unit tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.saturation import SaturationLimits
from optimizer.saturation_paper import PaperReason, paper_targets, spare_capacity

from .test_saturation import replica_table, variant_table

ALL_FULL = [(0.85, 2), (0.80, 0), (0.10, 5)]


def signals(loads, limits=None):
    kv, queue = np.array(loads, dtype=float).reshape(len(loads), 2).T
    result = spare_capacity(
        kv_usage_ratio=kv,
        waiting_requests=queue,
        model=np.zeros(len(loads), dtype=np.int64),
        models=1,
        limits=limits or SaturationLimits(),
    )
    return result


# (kv, queue) of each replica -> scale up, scale down safe
LOADS = [
    pytest.param([(0.75, 2), (0.76, 2)], True, False, id="scale-up: KV spare low"),
    pytest.param([(0.50, 3), (0.50, 3)], True, False, id="scale-up: queue spare low"),
    pytest.param([(0.50, 1), (0.50, 1)], False, False, id="no scale-up"),
    pytest.param([(0.20, 1), (0.30, 1), (0.25, 1)], False, True, id="scale-down safe"),
    pytest.param([(0.70, 2), (0.75, 2)], True, False, id="scale-down unsafe"),
    pytest.param([(0.10, 0)], False, False, id="single replica"),
    pytest.param(ALL_FULL, True, False, id="all saturated"),
    pytest.param([], False, False, id="empty metrics"),
    pytest.param([(0.70, 2)] * 2, False, False, id="spare exactly at the trigger"),
    pytest.param([(0.35, 1)] * 2, False, True, id="after removal exactly at the trigger"),
    pytest.param([(0.95, 9), (0.10, 0)], False, False, id="one hot, one idle: hidden, unsafe"),
    pytest.param([(0.95, 9), (0.10, 0), (0.10, 0)], False, True, id="one hot, two idle: hidden"),
]


@pytest.mark.parametrize(("loads", "up", "down"), LOADS)
def test_decision_of_one_model(loads, up, down):
    result = signals(loads)
    assert (bool(result.scale_up[0]), bool(result.scale_down_safe[0])) == (up, down)


def test_spares_are_means_over_replicas_that_are_not_saturated():
    low_kv = signals([(0.75, 2), (0.76, 2)])
    assert low_kv.mean_spare_kv_ratio[0] == pytest.approx(0.045)
    assert signals([(0.50, 3), (0.50, 3)]).mean_spare_queue_requests[0] == pytest.approx(2)
    mixed = signals([(0.85, 2), (0.50, 6), (0.60, 2)])
    assert mixed.not_saturated[0] == 1
    assert mixed.mean_spare_kv_ratio[0] == pytest.approx(0.20)
    assert mixed.mean_spare_queue_requests[0] == pytest.approx(3)
    full = signals(ALL_FULL)
    assert (full.reporting[0], full.not_saturated[0]) == (3, 0)
    assert full.mean_spare_kv_ratio[0] == 0


# Presets of the published documentation: other thresholds, other decisions.
PRESETS = [
    pytest.param((0.80, 0.10, 5, 3), False, id="conservative"),
    pytest.param((0.90, 0.05, 10, 2), False, id="tuned for prompts"),
    pytest.param((0.75, 0.15, 5, 3), True, id="tuned for outputs"),
]


@pytest.mark.parametrize(("limits", "up"), PRESETS)
def test_thresholds_move_the_decision(limits, up):
    full, spare, queue, spare_queue = limits
    given_ = SaturationLimits(
        full_kv_ratio=full,
        spare_kv_ratio=spare,
        full_queue_requests=queue,
        spare_queue_requests=spare_queue,
    )
    assert bool(signals([(0.65, 1), (0.65, 1)], given_).scale_up[0]) is up


HIGH, LOW, MIDDLE = (1, 2, 0.75, 1e4), (1, 1, 0.2, 1e4), (1, 1, 0.6, 1e4)


def targets(*, loads, model=None, previous=None, per_pod=1, models=1, **columns):
    """`loads`: the load of every replica of each variant (all of one kind)."""
    current = columns["current"]
    variant = np.repeat(np.arange(len(current)), np.array(current) * per_pod)
    table = replica_table([loads[v] for v in variant], variant)
    result = paper_targets(
        table,
        variant_table(len(current), model=model, **columns),
        models=models,
        previous=np.array(previous or [0] * len(current)),
    )
    return result.replicas.tolist(), [PaperReason(r) for r in result.reason]


N, S, T, UP, DOWN = (
    PaperReason.NO_DATA,
    PaperReason.STEADY,
    PaperReason.TRANSITION,
    PaperReason.SPARE_LOW,
    PaperReason.SPARE_HIGH,
)

TARGETS = [
    pytest.param(
        {"loads": [HIGH, HIGH], "cost": [20, 5], "current": [2, 2]},
        [2, 3],
        [S, UP],
        id="up: the cheapest",
    ),
    pytest.param(
        {"loads": [LOW, LOW], "cost": [20, 5], "current": [2, 2]},
        [1, 2],
        [DOWN, S],
        id="down: the most expensive",
    ),
    pytest.param(
        {"loads": [LOW, LOW], "cost": [20, 5], "current": [1, 3]},
        [1, 2],
        [S, DOWN],
        id="down: the dearest that has more than one",
    ),
    pytest.param(
        {"loads": [HIGH, HIGH, HIGH], "cost": [5, 5, 9], "current": [1, 1, 1]},
        [2, 1, 1],
        [UP, S, S],
        id="up: tie goes to the first name",
    ),
    pytest.param(
        {"loads": [LOW, LOW, LOW], "cost": [2, 9, 9], "current": [2, 2, 2]},
        [2, 2, 1],
        [S, S, DOWN],
        id="down: tie goes to the last name",
    ),
    pytest.param(
        {"loads": [HIGH, HIGH], "cost": [20, 5], "current": [2, 2], "previous": [4, 2]},
        [4, 2],
        [T, T],
        id="transition: desired 4, current 2, the other held",
    ),
    pytest.param(
        {"loads": [LOW, LOW], "cost": [20, 5], "current": [2, 2], "previous": [2, 1]},
        [2, 1],
        [T, T],
        id="transition on the way down",
    ),
    pytest.param(
        {"loads": [HIGH, HIGH], "cost": [20, 5], "current": [2, 2], "ready": [2, 1]},
        [2, 2],
        [T, T],
        id="pending: the model is held",
    ),
    pytest.param(
        {"loads": [HIGH], "cost": [5], "current": [2], "per_pod": 4},
        [3],
        [UP],
        id="several engines per replica don't block",
    ),
    pytest.param(
        {"loads": [HIGH, HIGH], "cost": [5, 20], "current": [2, 1], "high": [2, 9]},
        [2, 2],
        [S, UP],
        id="up: the cheapest below its maximum",
    ),
    pytest.param(
        {"loads": [LOW], "cost": [5], "current": [2], "low": [2]},
        [2],
        [S],
        id="down: not below the minimum",
    ),
    pytest.param(
        {
            "loads": [HIGH, HIGH, LOW, LOW],
            "cost": [1, 2, 3, 4],
            "current": [1, 1, 2, 2],
            "model": [0, 0, 1, 1],
            "models": 2,
        },
        [2, 1, 2, 1],
        [UP, S, S, DOWN],
        id="models don't touch each other",
    ),
    pytest.param(
        {"loads": [MIDDLE, MIDDLE], "cost": [1, 2], "current": [2, 2]},
        [2, 2],
        [S, S],
        id="steady",
    ),
]


@pytest.mark.parametrize(("case", "counts", "reasons"), TARGETS)
def test_targets(case, counts, reasons):
    assert targets(**case) == (counts, reasons)


def test_no_metrics_no_decision():
    result = paper_targets(
        replica_table([]), variant_table(1, current=[3]), models=1, previous=np.array([3])
    )
    assert (result.replicas[0], result.reason[0]) == (3, PaperReason.NO_DATA)


def test_the_first_published_form_waits_until_every_replica_reports():
    table = replica_table([HIGH, HIGH])
    variants = variant_table(1, current=[3])
    settings = {"models": 1, "previous": np.array([0])}
    held = paper_targets(table, variants, every_replica_reports=True, **settings)
    assert (held.replicas[0], held.reason[0]) == (3, PaperReason.TRANSITION)
    later = paper_targets(table, variants, **settings)
    assert (later.replicas[0], later.reason[0]) == (4, PaperReason.SPARE_LOW)


loads_of_models = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 1), st.integers(0, 9)), min_size=1, max_size=30
)


@given(loads_of_models)
def test_never_up_and_down_at_once_and_at_most_one_replica_per_model(rows):
    variant = np.array([v for v, _, _ in rows])
    table = replica_table([(1, q, kv, 1e4) for _, kv, q in rows], variant)
    current = np.maximum(np.bincount(variant, minlength=4), 1)
    model = np.array([0, 0, 1, 1])
    variants = variant_table(4, model=model, cost=[3, 1, 2, 2], current=current)
    result = paper_targets(table, variants, models=2, previous=np.zeros(4, dtype=np.int64))
    change = result.replicas - current
    assert np.abs(change).sum() <= 2
    assert all(np.abs(change[model == m]).sum() <= 1 for m in (0, 1))
    assert (result.replicas >= 1).all()
