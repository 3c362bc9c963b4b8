"""The published token law: every row of its unit tests that concerns the decision."""

import numpy as np
import pytest

from optimizer.saturation_tokens import (
    CapacityHistory,
    Role,
    TokenReadings,
    TokenThresholds,
    idle_capacity_tokens,
    median_tokens,
    queue_demand_tokens,
    replica_capacity,
    slots_bound_tokens,
    waiting_tokens,
)
from optimizer.saturation_tokens_plan import (
    TokenSignals,
    replica_instances,
    token_signals,
    token_targets,
    with_thresholds,
)

from .test_saturation import variant_table

NAN = np.nan


def column(*values):
    return np.array(values, dtype=float)


def readings(
    used, cache, waiting=0.0, *, prompt=100.0, output=50.0, derived=0.0, stored=NAN, role=Role.BOTH
):
    """One replica. `used` in tokens; with no `cache`, as a share of it."""
    return TokenReadings(
        kv_usage_ratio=column(used if np.isnan(cache) else used / cache),
        waiting_requests=column(waiting),
        kv_capacity_tokens=column(cache),
        stored_capacity_tokens=column(stored),
        prompt_tokens=column(prompt),
        output_tokens=column(output),
        derived_tokens=column(derived),
        role=np.array([role]),
        key=np.array([0]),
    )


def capacity_of(reading, history=None):
    capacity, kept = replica_capacity(reading, history or CapacityHistory.empty(1))
    return capacity, kept


CAPACITIES = [
    pytest.param(readings(5_000, 16_000), 12_800, id="memory bound"),
    pytest.param(readings(8_000, 16_000, 6), 8_000, id="observed under a full queue"),
    pytest.param(readings(4_000, 16_000, 10), 4_000, id="observed, fewer tokens"),
    pytest.param(
        readings(0, 16_000, 10), 12_800, id="a full queue and nothing in use says nothing"
    ),
    pytest.param(
        readings(5_000, 16_000, derived=140_800), 12_800, id="derived, cut to the memory bound"
    ),
    pytest.param(readings(5_000, 16_000, derived=9_000), 9_000, id="derived"),
]


@pytest.mark.parametrize(("reading", "tokens"), CAPACITIES)
def test_capacity_of_a_replica(reading, tokens):
    assert capacity_of(reading)[0].capacity_tokens[0] == tokens


def test_history_serves_its_own_length_bucket_and_keeps_ten():
    _, kept = capacity_of(readings(8_000, 16_000, 6))
    assert capacity_of(readings(6_000, 16_000, 2), kept)[0].capacity_tokens[0] == 8_000
    other = readings(6_000, 16_000, 2, output=600.0)
    assert capacity_of(other, kept)[0].capacity_tokens[0] == 12_800
    for used in range(1_000, 12_000, 1_000):  # eleven of them push out the 8,000
        _, kept = capacity_of(readings(used, 16_000, 6), kept)
    assert capacity_of(readings(500, 16_000), kept)[0].capacity_tokens[0] == np.mean(
        range(2_000, 12_000, 1_000)
    )


def test_replicas_of_one_key_append_in_their_order():
    history = CapacityHistory.empty(2)
    key, bucket = np.array([1, 0, 1]), np.array([0, 0, 0])
    kept = history.with_observed(key, bucket, column(10, 20, 30))
    np.testing.assert_array_equal(kept.values[1, 0, :2], [10, 30])
    np.testing.assert_array_equal(kept.seen[:, 0], [1, 2])
    assert np.isnan(history.values).all()


SLOT_BOUNDS = [
    pytest.param((4096, 256, 500, 100), 140_800, id="slots bind"),
    pytest.param((2048, 256, 500, 100), 140_800, id="smaller token budget, slots still bind"),
    pytest.param((8192, 64, 100, 200), 12_800, id="few slots"),
    pytest.param((1024, 256, 500, 100), 93_866, id="token budget binds"),
    pytest.param((4096, 256, 500, 0), 0, id="no output"),
    pytest.param((NAN, NAN, 500, 100), 0, id="arguments unknown"),
]


@pytest.mark.parametrize(("arguments", "tokens"), SLOT_BOUNDS)
def test_bound_derived_from_engine_arguments(arguments, tokens):
    names = ("max_batched_tokens", "max_batch_size", "prompt_tokens", "output_tokens")
    bound = slots_bound_tokens(**dict(zip(names, map(column, arguments), strict=True)))
    assert bound[0] == tokens


IDLE = [
    pytest.param({"live": 12_000, "derived": 140_800}, 12_000, id="own live record"),
    pytest.param({"derived": 140_800}, 140_800, id="derived from the deployment"),
    pytest.param({"derived": 140_800, "compatible": 40_000}, 40_000, id="compatible live variant"),
    pytest.param({"derived": 140_800, "cache": 30_000}, 24_000, id="own memory bound"),
    pytest.param({"batched": 8_192}, 8_192, id="no workload known"),
]


@pytest.mark.parametrize(("known", "tokens"), IDLE)
def test_capacity_of_a_variant_without_replicas(known, tokens):
    result = idle_capacity_tokens(
        live_record=column(known.get("live", NAN)),
        derived_tokens=column(known.get("derived", 0)),
        own_cache_tokens=column(known.get("cache", NAN)),
        compatible_tokens=column(known.get("compatible", NAN)),
        max_batched_tokens=column(known.get("batched", NAN)),
    )
    assert result[0] == tokens


def decided(used, waiting=0.0, replicas=1):
    capacity, _ = capacity_of(readings(used, 16_000, waiting))
    return token_signals(
        model=np.array([0]),
        models=1,
        capacity_tokens=capacity.capacity_tokens,
        running=np.array([replicas]),
        pending=np.array([0]),
        demand_tokens=capacity.demand_tokens * replicas,
        queue_tokens=column(0),
    )


BANDS = [
    pytest.param((10_000,), "hold", id="78 %"),
    pytest.param((11_000, 3), "up", id="waiting pushes it over 85 %"),
    pytest.param((1_000, 0, 2), "down", id="two idle ones"),
]


@pytest.mark.parametrize(("state", "decision"), BANDS)
def test_band_between_the_thresholds_is_quiet(state, decision):
    signals = decided(*state)
    required, spare = signals.required_tokens[0], signals.spare_tokens[0]
    assert (required > 0, spare > 0) == {
        "hold": (False, False),
        "up": (True, False),
        "down": (False, True),
    }[decision]


QUEUES = [
    pytest.param((10, 4_000, 100, 50, 0.5), (500, 1_000, 1_000), id="half of the prompt is cached"),
    pytest.param((10, 20_000, 100, 50, 0.0), (5_000, 5_500, 5_500), id="bytes exceed the mean"),
    pytest.param((10, 0, 100, 50, 0.0), (1_000, 1_500, 1_500), id="no bytes known"),
    pytest.param((10, 0, 100, 50, 0.5), (500, 1_000, 1_000), id="no bytes, half cached"),
]


@pytest.mark.parametrize(("queue", "tokens"), QUEUES)
def test_router_queue_in_tokens(queue, tokens):
    names = (
        "queued_requests",
        "queued_bytes",
        "prompt_tokens",
        "output_tokens",
        "prefix_hit_ratio",
    )
    got = queue_demand_tokens(**dict(zip(names, map(column, queue), strict=True)))
    assert tuple(float(g[0]) for g in got) == tokens


def test_router_queue_adds_to_what_is_in_use():
    _, _, queued = queue_demand_tokens(
        queued_requests=column(10),
        queued_bytes=column(4_000),
        prompt_tokens=column(100),
        output_tokens=column(50),
        prefix_hit_ratio=column(0.5),
    )
    signals = token_signals(
        model=np.array([0]),
        models=1,
        capacity_tokens=column(12_800),
        running=np.array([1]),
        pending=np.array([0]),
        demand_tokens=column(5_000),
        queue_tokens=queued,
    )
    assert signals.demand_tokens[0] == 6_000


WAITING = [
    pytest.param((4, 100, 50, Role.PREFILL), 400, id="prefill"),
    pytest.param((4, 100, 50, Role.DECODE), 600, id="decode"),
    pytest.param((4, 100, 50, Role.BOTH), 600, id="both, none or unknown"),
    pytest.param((4, NAN, 50, Role.DECODE), 200, id="prompt missing, decode"),
    pytest.param((4, NAN, 50, Role.PREFILL), 0, id="prompt missing, prefill"),
    pytest.param((NAN, 100, 50, Role.BOTH), 0, id="NaN"),
    pytest.param((np.inf, 100, 50, Role.BOTH), 0, id="infinite"),
    pytest.param((1e300, 100, 50, Role.BOTH), 0, id="overflow of an integer"),
    pytest.param((1e308, 1e10, 50, Role.BOTH), 0, id="overflow of a float"),
    pytest.param((-1, 100, 50, Role.BOTH), 0, id="negative"),
]


@pytest.mark.parametrize(("state", "tokens"), WAITING)
def test_waiting_requests_in_tokens(state, tokens):
    waiting, prompt, output, role = state
    got = waiting_tokens(column(waiting), column(prompt), column(output), np.array([role]))
    assert got[0] == tokens


# (usage, waiting, prompt, output, role, stored) -> capacity, demand, saturated
FALLBACKS = [
    pytest.param((0.6, 0, 0, 0, Role.BOTH, 10_000), (8_000, 4_800, False), id="60 %"),
    pytest.param((1.0, 0, 0, 0, Role.BOTH, 10_000), (8_000, 8_000, True), id="full"),
    pytest.param((0.9, 0, 0, 0, Role.BOTH, 10_000), (8_000, 7_200, False), id="90 %"),
    pytest.param((0.5, 3, 500, 0, Role.BOTH, 10_000), (8_000, 5_500, False), id="waiting prompts"),
    pytest.param((0.5, 3, 500, 250, Role.DECODE, 10_000), (8_000, 6_250, False), id="decode"),
    pytest.param((0.5, 3, 500, 250, Role.PREFILL, 10_000), (8_000, 5_500, False), id="prefill"),
    pytest.param((0.1, 2, 200, 100, Role.DECODE, 8_192), (6_553, 1_255, False), id="small cache"),
    pytest.param((0.9, 7, 500, 250, Role.BOTH, NAN), (0, 0, True), id="no record: left out"),
]


@pytest.mark.parametrize(("state", "expected"), FALLBACKS)
def test_engine_that_does_not_tell_its_cache(state, expected):
    usage, waiting, prompt, output, role, stored = state
    reading = readings(usage, NAN, waiting, prompt=prompt, output=output, stored=stored, role=role)
    capacity, kept = capacity_of(reading)
    got = (capacity.capacity_tokens[0], capacity.demand_tokens[0], bool(capacity.saturated[0]))
    assert got == expected
    assert kept.seen.sum() == 0


def test_data_parallel_ranks_are_counted_as_instances():
    running, pending = replica_instances(
        instances=np.array([8]), ready_replicas=np.array([1]), current_replicas=np.array([2])
    )
    assert (running[0], pending[0]) == (8, 8)
    signals = token_signals(
        model=np.array([0]),
        models=1,
        capacity_tokens=column(1_000),
        running=running,
        pending=pending,
        demand_tokens=column(0),
        queue_tokens=column(0),
    )
    assert (signals.supply_tokens[0], signals.anticipated_tokens[0]) == (8_000, 16_000)


MEDIANS = [
    pytest.param([], 0, id="none"),
    pytest.param([5], 5, id="one"),
    pytest.param([1, 7, 3], 3, id="odd, unsorted"),
    pytest.param([10, 4, 6, 1], 5, id="even: mean of the middle two"),
    pytest.param([4, 5], 4, id="even: whole tokens"),
]


@pytest.mark.parametrize(("values", "median"), MEDIANS)
def test_median_capacity(values, median):
    assert median_tokens(column(*values), np.zeros(len(values), dtype=np.int64), 1)[0] == median


def test_medians_of_several_variants_do_not_mix():
    got = median_tokens(column(9, 1, 5, 2, 7), np.array([2, 0, 2, 0, 2]), 4)
    np.testing.assert_array_equal(got, [1, 0, 7, 0])


def signals_of(demand, supply, anticipated, required=0.0, spare=0.0):
    return TokenSignals(
        demand_tokens=column(demand),
        supply_tokens=column(supply),
        anticipated_tokens=column(anticipated),
        required_tokens=column(required),
        spare_tokens=column(spare),
    )


POST = [
    pytest.param((10_000, 10_000, 10_000), (1764.7059, 0), id="over"),
    pytest.param((5_000, 10_000, 10_000), (0, 2857.142857), id="under"),
    pytest.param((8_000, 10_000, 10_000), (0, 0), id="between"),
    pytest.param((8_500, 10_000, 10_000), (0, 0), id="exactly the upper threshold"),
    pytest.param((7_000, 10_000, 10_000), (0, 0), id="exactly the lower threshold"),
    pytest.param((8_000, 7_000, 10_000), (0, 0), id="coming supply counts on the way up"),
    pytest.param((10_000, 0, 0), (11764.7059, 0), id="nothing there"),
    pytest.param((8_000, 10_000, 11_000), (0, 0), id="prefill role"),
    pytest.param((9_500, 10_000, 10_000), (1176.470588, 0), id="decode role"),
]


@pytest.mark.parametrize(("state", "expected"), POST)
def test_thresholds(state, expected):
    once = with_thresholds(signals_of(*state), TokenThresholds())
    got = (once.required_tokens[0], once.spare_tokens[0])
    assert got == pytest.approx(expected, rel=1e-6, abs=0)
    twice = with_thresholds(once, TokenThresholds())
    assert (twice.required_tokens[0], twice.spare_tokens[0]) == got


def test_thresholds_that_are_not_positive_change_nothing():
    off = TokenThresholds(scale_up_ratio=0.0, scale_down_ratio=-1.0)
    kept = with_thresholds(signals_of(10_000, 10_000, 10_000, 123.0, 456.0), off)
    assert (kept.required_tokens[0], kept.spare_tokens[0]) == (123.0, 456.0)


# required, spare; (cost, capacity, current[, minimum, maximum]) per variant -> counts
COST_AWARE = [
    pytest.param(5_000, 0, [(5, 10_000, 2), (15, 20_000, 1)], [3, 1], id="cheapest capacity grows"),
    pytest.param(15_000, 0, [(5, 10_000, 2)], [4], id="in one step"),
    pytest.param(0, 30_000, [(5, 10_000, 3)], [1], id="the last replica stays"),
    pytest.param(0, 0, [(5, 10_000, 2)], [2], id="no change"),
    pytest.param(5_000, 0, [(1, 0, 1), (5, 10_000, 1)], [1, 2], id="no capacity: skipped"),
    pytest.param(25_000, 0, [(5, 10_000, 1), (10, 15_000, 0)], [4, 0], id="all on one"),
    pytest.param(
        0, 15_000, [(5, 10_000, 3), (15, 20_000, 2)], [2, 2], id="too big for the dear one"
    ),
    pytest.param(0, 30_000, [(15, 20_000, 1), (5, 10_000, 1)], [0, 1], id="the cheap one stays"),
    pytest.param(
        0, 15_000, [(15, 20_000, 1), (5, 10_000, 1)], [1, 0], id="only the cheap one fits"
    ),
    pytest.param(
        0, 50_000, [(15, 20_000, 2), (10, 15_000, 2), (5, 10_000, 2)], [0, 2, 1], id="dearest first"
    ),
    pytest.param(
        30_000, 0, [(5, 10_000, 1, 0, 3), (15, 20_000, 1)], [3, 2], id="spills over the maximum"
    ),
    pytest.param(
        0, 50_000, [(15, 20_000, 3, 2, 9), (5, 10_000, 3)], [2, 0], id="down to the minimum"
    ),
    pytest.param(
        0, 80_000, [(9, 10_000, 2, 1, 9), (5, 10_000, 3)], [1, 0], id="kept alive by its sibling"
    ),
]


@pytest.mark.parametrize(("required", "spare", "rows", "counts"), COST_AWARE)
def test_cheapest_capacity_up_dearest_down(required, spare, rows, counts):
    rows = [(*row, 0, 99)[:5] if len(row) == 3 else row for row in rows]
    cost, capacity, current, low, high = zip(*rows, strict=True)
    variants = variant_table(len(rows), cost=cost, current=current, low=low, high=high)
    got = token_targets(
        signals_of(0, 0, 0, required, spare), variants, capacity_tokens=column(*capacity)
    )
    assert got.tolist() == counts
