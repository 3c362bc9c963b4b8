"""The profile-free guard: one step to the needed count, and whole requests on the way down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer import ReplicaTable, VariantTable
from optimizer.errors import InvalidInputError
from optimizer.saturation import SaturationLimits, Stock, headroom

NAN = np.nan


def replica_table(rows, variant=None):
    """Rows are (running, waiting, kv usage, kv capacity)."""
    columns = np.array(rows, dtype=float).reshape(len(rows), 4).T
    return ReplicaTable(
        variant=np.zeros(len(rows), dtype=np.int64) if variant is None else np.array(variant),
        running_requests=columns[0],
        waiting_requests=columns[1],
        kv_usage_ratio=columns[2],
        kv_capacity_tokens=columns[3],
        first_token_rate_rps=np.full(len(rows), NAN),
        output_rate_tps=np.full(len(rows), NAN),
    )


def variant_table(count=1, model=None, cost=None, current=None, ready=None, low=None, high=None):
    def ints(values, default):
        return np.full(count, default) if values is None else np.array(values, dtype=np.int64)

    ones = np.ones(count)
    off = np.zeros(count, dtype=bool)
    current = ints(current, 1)
    return VariantTable(
        model=ints(model, 0),
        cost_per_hour=ones if cost is None else np.array(cost, dtype=float),
        power_idle_w=ones,
        power_full_w=ones,
        min_replicas=ints(low, 0),
        max_replicas=ints(high, 1000),
        current_replicas=current,
        ready_replicas=current if ready is None else ints(ready, 1),
        partial=off,
        blind=off,
        paper_law=off,
        trust=ints(None, 0),
        cold_start_s=np.full(len(current), np.nan),
    )


def one(rows, **given_):
    result = headroom(replica_table(rows), variant_table(), **given_)
    return {
        "needed": float(result.needed_replicas[0]),
        "whole": int(result.whole_replicas[0]),
        "saturated": bool(result.saturated[0]),
        "safe": bool(result.safe_to_remove[0]),
        "stock": Stock(int(result.stock[0])),
    }


# Capacity 10,000 tokens: 7,000 are planned with.
NEEDS = [
    pytest.param([(7, 0, 0.7, 1e4)], 1.0, Stock.MEMORY, id="exactly the usable memory"),
    pytest.param([(7, 0, 0.71, 1e4)], 1.0142857, Stock.MEMORY, id="a hair more needs two"),
    pytest.param([(8, 40, 0.9, 1e4)], 7.7142857, Stock.MEMORY, id="full with a queue: one step"),
    pytest.param([(10, 2, 1.0, 1e4)], 1.7142857, Stock.MEMORY, id="short queue: as memory"),
    pytest.param([(4, 0, 0.2, 1e4), (0, 0, 0.0, 1e4)], 0.2857142, Stock.MEMORY, id="light load"),
    pytest.param([(0, 0, 0.0, 1e4)], 0.0, Stock.IDLE, id="idle"),
    pytest.param([(0, 0, NAN, NAN)], 0.0, Stock.IDLE, id="idle, no KV reading"),
    pytest.param([(8, 0, 0.7, NAN)], 1.0, Stock.MEMORY, id="capacity unknown: in caches"),
    pytest.param([(8, 2, 0.8, NAN)], 1.4285714, Stock.MEMORY, id="capacity unknown, waiting"),
    pytest.param([(32, 24, NAN, NAN)], 2.0, Stock.SLOTS, id="no KV reading: slots of the full one"),
    pytest.param([(20, 0, NAN, NAN)], NAN, Stock.UNKNOWN, id="no KV reading, nobody waits"),
    pytest.param([(NAN, NAN, NAN, NAN)], NAN, Stock.UNKNOWN, id="nothing read"),
    pytest.param([(NAN, NAN, 0.35, 1e4)], 0.5, Stock.MEMORY, id="KV alone"),
    pytest.param(
        [(10, 0, 0.5, 1e4), (NAN, NAN, NAN, NAN)],
        0.7142857,
        Stock.MEMORY,
        id="a silent one adds nothing",
    ),
    pytest.param(
        [(5, 0, 0.5, 1e4), (5, 0, 0.5, 3e4)], 1.4285714, Stock.MEMORY, id="unequal caches"
    ),
]


@pytest.mark.parametrize(("rows", "needed", "stock"), NEEDS)
def test_needed_replicas(rows, needed, stock):
    result = one(rows)
    assert result["needed"] == pytest.approx(needed, rel=1e-4, nan_ok=True)
    assert result["stock"] == stock
    assert result["whole"] == (0 if np.isnan(needed) else np.ceil(needed - 1e-9))


def test_declared_slots_and_request_sizes_overrule_what_was_learned():
    rows = [(30, 0, 0.1, 1e4)]
    assert one(rows)["stock"] == Stock.MEMORY
    declared = one(rows, max_batch_size=np.array([32.0]))
    assert declared["stock"] == Stock.SLOTS
    assert declared["needed"] == pytest.approx(30 / (32 * 0.875))
    waiting = one([(1, 2, 0.01, 1e4)], request_tokens=np.array([3_000.0]))
    assert waiting["needed"] == pytest.approx((100 + 2 * 3_000) / 7_000)
    # A size in tokens says nothing about a cache of unknown size.
    assert one([(1, 2, 0.01, NAN)], request_tokens=np.array([3_000.0]))["needed"] == pytest.approx(
        0.03 / 0.7
    )


SATURATION = [
    pytest.param([(8, 0, 0.79, 1e4)], False, id="over the headroom, not full"),
    pytest.param([(8, 0, 0.80, 1e4)], True, id="KV full"),
    pytest.param([(8, 5, 0.10, 1e4)], True, id="queue full"),
    pytest.param([(8, 0, 0.95, 1e4), (1, 0, 0.05, 1e4)], False, id="one is full, there is room"),
]


@pytest.mark.parametrize(("rows", "saturated"), SATURATION)
def test_saturated_means_full_and_too_few(rows, saturated):
    assert one(rows)["saturated"] is saturated


REMOVALS = [
    pytest.param([(4, 0, 0.2, 1e4)] * 3, True, id="three light ones"),
    pytest.param([(4, 0, 0.2, 1e4)], False, id="the only one"),
    pytest.param([(7, 0, 0.7, 1e4)] * 3, False, id="no room"),
    pytest.param([(2, 0, 0.35, 1e4)] * 2, True, id="fits exactly"),
    pytest.param(
        [(1, 0, 0.4, 1e4)] * 3, False, id="fragmented: 0.6 free in pieces of 0.3, needs 0.4 whole"
    ),
    pytest.param([(4, 0, 0.4, 1e4)] * 3, True, id="the same load in requests of 0.1 fits"),
    pytest.param([(9, 0, 0.6, 1e4), (1, 0, 0.05, 1e4)], True, id="unequal, and either may go"),
    pytest.param([(9, 0, 0.6, 1e4), (1, 0, 0.15, 1e4)], False, id="unequal, one may not go"),
    pytest.param([(0, 0, 0.0, 1e4)] * 2, True, id="idle pair"),
    pytest.param([(4, 3, 0.2, 1e4), (4, 0, 0.2, 1e4)], False, id="a queue is no place to move to"),
    pytest.param([(4, 1, 0.2, 1e4)] * 3, True, id="a passing queue is"),
    pytest.param([(4, 0, 0.2, 1e4), (NAN, NAN, NAN, NAN)], False, id="unknown load may go"),
    pytest.param([(4, 0, NAN, 1e4)] * 3, False, id="memory unknown"),
    pytest.param([(4, 0, 0.2, NAN)] * 3, True, id="capacity unknown: in caches"),
]


@pytest.mark.parametrize(("rows", "safe"), REMOVALS)
def test_safe_to_remove(rows, safe):
    assert one(rows)["safe"] is safe


def test_removal_counts_slots_where_they_are_known():
    rows = [(16, 0, 0.01, 1e5)] * 2
    assert one(rows)["safe"]
    assert not one(rows, max_batch_size=np.array([32.0]))["safe"]  # 32 > 28 planned with
    assert one(rows, max_batch_size=np.array([64.0]))["safe"]


def test_variants_dont_share_room_and_one_without_replicas_is_unknown():
    table = replica_table(
        [(4, 0, 0.2, 1e4), (4, 0, 0.2, 1e4), (9, 0, 0.9, 1e4), (0, 0, 0.0, 1e4)], [0, 0, 2, 3]
    )
    result = headroom(table, variant_table(4))
    np.testing.assert_array_equal(result.reporting, [2, 0, 1, 1])
    np.testing.assert_array_equal(result.safe_to_remove, [True, False, False, False])
    np.testing.assert_array_equal(result.saturated, [False, False, True, False])
    np.testing.assert_array_equal(
        result.stock, [Stock.MEMORY, Stock.UNKNOWN, Stock.MEMORY, Stock.IDLE]
    )
    assert np.isnan(result.needed_replicas[1])
    assert result.whole_replicas[1] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"spare_kv_ratio": 0.8}, "spare 0.8, full 0.8", id="no usable memory"),
        pytest.param({"full_kv_ratio": 1.2}, "full 1.2", id="more than a cache"),
        pytest.param({"spare_queue_requests": 5.0}, "spare 5.0, full 5.0", id="no queue at all"),
        pytest.param({"full_kv_ratio": NAN}, "full nan", id="NaN"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        SaturationLimits(**values)


replicas_of_one = st.lists(
    st.tuples(
        st.integers(0, 64), st.integers(0, 20), st.floats(0, 1), st.sampled_from([1e4, 5e4, NAN])
    ),
    min_size=1,
    max_size=12,
)


def consistent(rows):
    """A cache in use belongs to somebody who runs."""
    return [(max(r, 1) if kv > 0 else r, w, kv, c) for r, w, kv, c in rows]


@given(replicas_of_one, st.integers(0, 11), st.integers(1, 50))
def test_more_waiting_never_needs_less(rows, index, extra):
    rows = consistent(rows)
    index %= len(rows)
    # Slots are learned from replicas that queue: hold them fixed while the queue grows.
    fixed = {"max_batch_size": np.array([64.0])}
    before = one(rows, **fixed)
    r, w, kv, c = rows[index]
    after = one([*rows[:index], (r, w + extra, kv, c), *rows[index + 1 :]], **fixed)
    assert after["needed"] >= before["needed"] - 1e-9
    assert after["safe"] <= before["safe"]


@given(replicas_of_one, st.randoms())
def test_order_of_replicas_does_not_matter(rows, random):
    rows = consistent(rows)
    shuffled = rows.copy()
    random.shuffle(shuffled)
    a, b = one(rows), one(shuffled)
    assert a.pop("needed") == pytest.approx(b.pop("needed"), rel=1e-9, nan_ok=True)
    # Rounding of sums may differ by an ulp; whole counts are compared away from the edge.
    a.pop("whole"), b.pop("whole")
    assert a == b


@given(replicas_of_one, st.floats(0.1, 100.0))
def test_the_size_of_a_token_does_not_matter(rows, factor):
    rows = consistent(rows)
    scaled = [(r, w, kv, c * factor) for r, w, kv, c in rows]
    a, b = one(rows), one(scaled)
    assert a["needed"] == pytest.approx(b["needed"], rel=1e-9, nan_ok=True)
    assert a["stock"] == b["stock"]


@given(replicas_of_one)
def test_a_safe_removal_leaves_enough_for_what_is_needed(rows):
    """What can be packed whole into N - 1 fits them in bulk as well."""
    rows = [(r, w, kv, 1e4) for r, w, kv, _ in consistent(rows)]
    result = one(rows)
    if result["safe"]:
        assert result["needed"] <= len(rows) - 1 + 1e-6


@pytest.mark.parametrize(
    ("final", "safe"),
    [
        pytest.param(None, True, id="as-large-as-they-are"),
        pytest.param(1400.0, True, id="still-fit-when-they-end"),
        pytest.param(2500.0, False, id="outgrow-the-pieces-of-free-memory"),
    ],
)
def test_requests_must_fit_whole_and_with_what_they_grow_to(final, safe):
    """Each of three has 4,000 usable tokens free; three requests of 1,000 have to move."""
    grown = {} if final is None else {"final_tokens": np.array([final])}
    assert one([(3, 0, 0.3, 1e4)] * 3, **grown)["safe"] is safe


def test_one_hot_replica_among_idle_ones_is_seen_and_is_no_reason_for_more():
    rows = [(60, 9, 0.9, 1e4), (2, 0, 0.05, 1e4), (2, 0, 0.05, 1e4)]
    found = headroom(replica_table(rows), variant_table())
    assert found.hot_replicas.tolist() == [1]
    assert found.saturated.tolist() == [False]
    assert headroom(replica_table(rows[:1]), variant_table()).hot_replicas.tolist() == [0]
