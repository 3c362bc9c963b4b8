"""What readings mean: demand, partial and blind variants, lengths, ages."""

import math
from dataclasses import replace

import numpy as np
import pytest

from adapter.analyze import Memory, analyze
from adapter.records import Circumstances, ReplicaState
from optimizer import Law, Policy, plan
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

SETTINGS = """
variants:
  - {name: a, model: m, accelerator: H100}
  - {name: b, model: m, accelerator: L40S}
"""


@pytest.fixture
def catalog():
    return catalog_of(SETTINGS)


def run(catalog, replicas, memory=None, **kwargs):
    snapshot = snapshot_of(catalog, replicas, **kwargs)
    return analyze(snapshot, catalog, memory or Memory.empty(), policy=Policy())


def demand(analysis) -> float:
    return float(analysis.request.models.arrival_rate_rps[0])


def test_demand_is_the_models_over_all_its_variants(catalog):
    got = run(
        catalog,
        [
            replica(0, "a0", completion_rate_rps=2.0, inflight_slope_rps=0.5),
            replica(1, "b0", completion_rate_rps=1.0, inflight_slope_rps=-0.25),
        ],
    )
    assert demand(got) == pytest.approx(3.25)


def test_rejected_requests_are_demand(catalog):
    got = run(catalog, [replica(0, "a0", completion_rate_rps=2.0, rejection_rate_rps=4.0)])
    assert demand(got) == pytest.approx(6.0)


def test_the_engines_own_arrival_counter_comes_first(catalog):
    got = run(catalog, [replica(0, "a0", completion_rate_rps=2.0, arrival_rate_rps=5.0)])
    assert demand(got) == pytest.approx(5.0)


def test_the_routers_count_beats_the_engines(catalog):
    got = run(
        catalog,
        [replica(0, "a0", completion_rate_rps=2.0)],
        model={"offered_rate_rps": [7.0], "router_rejection_rate_rps": [3.0]},
    )
    assert demand(got) == pytest.approx(7.0)


def test_a_silent_replica_counts_with_its_last_rate(catalog):
    first = run(catalog, [replica(0, "a0"), replica(0, "a1")])
    second = run(catalog, [replica(0, "a0"), replica(0, "a1", age_s=99.0)], first.memory)
    assert demand(second) == pytest.approx(2.0)
    assert second.request.variants.partial.tolist() == [True, False]


def test_a_new_silent_replica_adds_nothing(catalog):
    """Ten pods of which five report everything must not read as twice the demand."""
    first = run(catalog, [replica(0, "a0", completion_rate_rps=8.0)])
    crowd = [replica(0, "a0", completion_rate_rps=8.0)]
    crowd += [replica(0, f"new{i}", age_s=None) for i in range(5)]
    second = run(catalog, crowd, first.memory)
    assert demand(second) == pytest.approx(8.0)
    assert second.request.variants.partial[0]


def test_imputing_never_lifts_demand_above_the_last_complete_total(catalog):
    """Load moved from the silent replica to the other: counted once."""
    first = run(catalog, [replica(0, "a0"), replica(0, "a1")])
    second = run(
        catalog,
        [replica(0, "a0", completion_rate_rps=1.9), replica(0, "a1", age_s=99.0)],
        first.memory,
    )
    assert demand(second) == pytest.approx(2.0)
    third = run(
        catalog,
        [replica(0, "a0", completion_rate_rps=5.0), replica(0, "a1", age_s=99.0)],
        first.memory,
    )
    assert demand(third) == pytest.approx(5.0)


def test_no_reading_at_all_is_unknown_demand_not_zero(catalog):
    got = run(catalog, [replica(0, "a0", age_s=None), replica(1, "b0", age_s=99.0)])
    assert math.isnan(demand(got))
    assert got.request.variants.blind.tolist() == [True, True]


def test_zero_traffic_is_zero_not_unknown(catalog):
    got = run(catalog, [replica(0, "a0", completion_rate_rps=0.0)])
    assert demand(got) == 0.0
    assert not got.request.variants.blind[0]


def test_a_model_without_replicas_has_a_rate_of_zero(catalog):
    assert demand(run(catalog, [], current=[0, 0])) == 0.0
    assert math.isnan(demand(run(catalog, [], current=[0, -1])))  # not known is not zero


def test_a_variant_that_nobody_knows_is_not_one_without_replicas(catalog):
    known, unknown = run(catalog, [], current=[0, -1]).reading_age_s
    assert known == 0.0
    assert math.isinf(unknown)  # refused: HPA keeps what it has


@pytest.mark.parametrize(
    ("shown", "declared", "planned_with"),
    [
        pytest.param(None, np.nan, 120.0, id="the default"),
        pytest.param(np.nan, np.nan, 120.0, id="no pod shows it"),
        pytest.param(45.0, np.nan, 45.0, id="as pods took"),
        pytest.param(45.0, 30.0, 30.0, id="declared"),
    ],
)
def test_a_start_that_nobody_watched_is_as_long_as_the_pods_took(
    catalog, shown, declared, planned_with
):
    circumstances = Circumstances(
        reachable_replicas=np.full(2, -1, dtype=np.int64),
        rolling=np.zeros(2, dtype=np.bool_),
        tolerance_ratio=np.full(2, np.nan),
        texts={},
        cold_start_s=None if shown is None else np.full(2, shown),
    )
    snapshot = replace(snapshot_of(catalog, [replica(0, "a0")]), circumstances=circumstances)
    catalog = replace(catalog, cold_start_s=np.full(2, declared))
    request = analyze(snapshot, catalog, Memory.empty(), policy=Policy()).request
    assert plan(request).cold_start_s.tolist() == [planned_with] * 2


def test_starting_replicas_are_neither_silent_nor_saturated(catalog):
    got = run(
        catalog,
        [replica(0, "a0"), replica(0, "a1", state=ReplicaState.STARTING, age_s=None)],
    )
    variants = got.request.variants
    assert not variants.partial[0]
    assert (variants.current_replicas[0], variants.ready_replicas[0]) == (2, 1)


def test_lengths_are_weighted_by_completions_and_remembered(catalog):
    first = run(
        catalog,
        [
            replica(0, "a0", completion_rate_rps=3.0, prompt_tokens_mean=100.0),
            replica(1, "b0", completion_rate_rps=1.0, prompt_tokens_mean=500.0),
        ],
    )
    assert first.request.workloads.prompt_tokens_mean.tolist() == pytest.approx([200.0, 200.0])
    assert not first.lengths_assumed.any()
    quiet = {"completion_rate_rps": 0.0, "prompt_tokens_mean": math.nan}
    second = run(catalog, [replica(0, "a0", **quiet)], first.memory)
    assert second.request.workloads.prompt_tokens_mean[0] == pytest.approx(200.0)


def hit_ratio_after(catalog, memory, ratio, *, waited_s):
    """Return the analysis of a tick `waited_s` after the last plan, which hits differ in."""
    one = replica(
        0, "a0", completion_rate_rps=3.0, prompt_tokens_mean=100.0, prefix_hit_ratio=ratio
    )
    now_s = snapshot_of(catalog, [one]).taken_s
    planned = replace(memory.plan, planned_s=now_s - waited_s)
    return run(catalog, [one], replace(memory, plan=planned))


@pytest.mark.parametrize(
    ("now", "waited_s", "expected"),
    [
        pytest.param(0.1, 5.0, 0.1, id="a-collapse-counts-at-once"),
        pytest.param(0.8, 5.0, 0.501, id="a-rise-is-not-counted-on-yet"),
        pytest.param(0.8, 1800.0, 0.69, id="a-rise-that-lasts-is"),
        pytest.param(0.5, 5.0, 0.5, id="what-stays-stays"),
    ],
)
def test_prefix_hits_are_taken_at_their_recent_low(catalog, now, waited_s, expected):
    first = hit_ratio_after(catalog, Memory.empty(), 0.5, waited_s=5.0)
    assert first.request.workloads.prefix_hit_ratio[0] == pytest.approx(0.5)
    got = hit_ratio_after(catalog, first.memory, now, waited_s=waited_s)
    assert got.request.workloads.prefix_hit_ratio[0] == pytest.approx(expected, abs=1e-3)


def test_lengths_nobody_saw_are_marked_assumed(catalog):
    got = run(catalog, [replica(0, "a0", completion_rate_rps=0.0)])
    assert got.lengths_assumed.all()
    again = run(catalog, [replica(0, "a0", completion_rate_rps=0.0)], got.memory)
    assert again.lengths_assumed.all()


def test_ages(catalog):
    got = run(catalog, [replica(0, "a0", age_s=4.0), replica(0, "a1", age_s=2.0)])
    assert got.reading_age_s[0] == 2.0
    assert got.reading_age_s[1] == 0.0  # no replicas: nothing to read
    blind = run(catalog, [replica(0, "a0", age_s=None)])
    assert np.isinf(blind.reading_age_s[0])


ROUTED = """
models: {m: {routing: weighted}, n: {routing: separate}, o: {}}
variants:
  - {name: a, model: m, accelerator: H100, routing_weight: 2.5}
  - {name: b, model: m, accelerator: L40S}
  - {name: c, model: n, accelerator: H100}
  - {name: d, model: o, accelerator: H100}
"""


def test_what_arrives_at_each_variant_is_told_with_the_laws_that_are_declared():
    routing = run(
        catalog_of(ROUTED),
        [
            replica(0, "a0", completion_rate_rps=4.0, observed_s=60.0),
            replica(0, "a1", completion_rate_rps=4.0, observed_s=15.0),
            replica(1, "b0", completion_rate_rps=2.0, observed_s=60.0),
            replica(2, "c0", completion_rate_rps=3.0, observed_s=30.0),
        ],
    ).request.routing
    assert [Law(law).name for law in routing.law] == ["WEIGHTED", "WEIGHTED", "SEPARATE", "LEARNED"]
    assert routing.weight[0] == 2.5
    assert np.isnan(routing.weight[1:]).all()
    # Whoever came in mid-window counts for its part, in the sum and in the mean.
    assert routing.arriving_rps[:3] == pytest.approx([5.0, 2.0, 3.0])
    assert routing.arriving_each_rps[:3] == pytest.approx([4.0, 2.0, 3.0])
    assert np.isnan(routing.arriving_rps[3])


def test_a_silent_replicas_last_rate_arrives_at_its_variant_and_tells_nothing_of_a_law():
    catalog = catalog_of(ROUTED)
    before = run(
        catalog,
        [
            replica(2, "c0", completion_rate_rps=3.0),
            replica(2, "c1", completion_rate_rps=1.0),
        ],
    )
    after = run(
        catalog,
        [replica(2, "c0", completion_rate_rps=3.0), replica(2, "c1", age_s=None)],
        memory=before.memory,
    ).request.routing
    assert after.arriving_rps[2] == pytest.approx(4.0)
    assert after.arriving_each_rps[2] == pytest.approx(3.0)
