"""Decisions end to end, from snapshot to publication: what must hold whatever the numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from adapter.decide import DecisionMemory, decide
from adapter.records import ReplicaState, TickReport
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)

SETTINGS = """
down_window_s: 10
hpa_tolerance: 0.0
brakes: {warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}
accelerators:
  H100: {cost_per_hour: 4.0}
  L40S: {cost_per_hour: 1.5}
service_classes:
  chat: {slo: {ttft_ms: 1000, itl_ms: 50, percentile: 95}}
models:
  m:
    service_class: chat
    profiles:
      H100: {alpha_ms: 6.5, beta_ms: 0.02, gamma_ms: 0.00005, max_batch_size: 128}
      L40S: {alpha_ms: 22, beta_ms: 0.06, gamma_ms: 0.0002, max_batch_size: 128}
variants:
  - {name: fast, model: m, accelerator: H100, max_replicas: 20, cold_start_s: 20}
  - {name: slow, model: m, accelerator: L40S, min_replicas: 0, max_replicas: 20, cold_start_s: 20}
"""

BUSY = {"prompt_tokens_mean": 1000.0, "prompt_tokens_second_moment": 2e6}


@pytest.fixture
def catalog():
    return catalog_of(SETTINGS)


def publish(catalog, replicas, memory=None, **kwargs):
    snapshot = snapshot_of(catalog, replicas, **kwargs)
    return decide(snapshot, catalog, memory or DecisionMemory.empty(), report=REPORT)


def desired(publication):
    return publication.values["wva_desired_replicas"].tolist()


def bindings(publication):
    return [publication.binding_names[b] for b in publication.binding]


def busy(variant, name, rate_rps, **more):
    # A request takes 2 s here, so the rate keeps twice as many in flight on average.
    return replica(
        variant,
        name,
        completion_rate_rps=rate_rps,
        mean_running_requests=2.0 * rate_rps,
        **BUSY,
        **more,
    )


def test_more_demand_buys_more_capacity_in_one_step(catalog):
    costs = []
    for rate in (1.0, 30.0, 90.0, 200.0):
        publication, _ = publish(catalog, [busy(0, "f0", rate)])
        costs.append(float(np.nansum(publication.details["cost.desired_per_hour"])))
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] * 3


def test_a_source_that_fails_freezes_and_says_so(catalog):
    _, memory = publish(catalog, [busy(0, "f0", 60.0), busy(0, "f1", 60.0)])
    held, memory = publish(
        catalog,
        [busy(0, "f0", 60.0, age_s=None), busy(0, "f1", 60.0, age_s=None)],
        memory,
        taken_s=1100.0,
    )
    assert desired(held)[0] >= 2
    assert bindings(held)[0] == "HeldNoData"
    assert "2 of 2 replicas silent: f0 (NotReadYet, never read) and 1 more" in held.message[0]


def test_one_silent_replica_stops_scale_down_only(catalog):
    quiet = [busy(0, f"f{i}", 0.1) for i in range(4)]
    _, memory = publish(catalog, quiet)
    partial = [*quiet[:3], replica(0, "f3", age_s=99.0)]
    later, _ = publish(catalog, partial, memory, taken_s=1200.0)
    assert desired(later)[0] == 4
    assert bindings(later)[0] == "HeldPartial"


def test_engines_that_turned_to_starting_are_not_taken_away(catalog):
    """Static endpoints that refuse connections read as starting; siblings still report."""
    both = [busy(0, f"f{i}", 0.1) for i in range(3)] + [busy(1, "s0", 0.1)]
    _, memory = publish(catalog, both)
    gone = [replica(0, f"f{i}", state=ReplicaState.STARTING, age_s=None) for i in range(3)]
    for taken_s in (1100.0, 1200.0, 1300.0):
        later, memory = publish(catalog, [*gone, busy(1, "s0", 0.1)], memory, taken_s=taken_s)
    assert desired(later)[0] == 3


def test_it_comes_back_by_itself(catalog):
    quiet = [busy(0, f"f{i}", 0.1) for i in range(4)]
    memory = DecisionMemory.empty()
    for taken_s in (1000.0, 1005.0):
        _, memory = publish(catalog, quiet, memory, taken_s=taken_s)
    blind = [replica(0, f"f{i}", age_s=None) for i in range(4)]
    _, memory = publish(catalog, blind, memory, taken_s=1010.0)
    for taken_s in np.arange(1015.0, 1180.0, 5.0):
        publication, memory = publish(catalog, quiet, memory, taken_s=taken_s)
    assert desired(publication)[0] < 4


def test_starting_replicas_are_not_asked_for_twice(catalog):
    first, memory = publish(catalog, [busy(0, "f0", 90.0)])
    wanted = int(desired(first)[0])
    starting = [
        replica(0, f"n{i}", state=ReplicaState.STARTING, age_s=None) for i in range(wanted - 1)
    ]
    second, _ = publish(
        catalog,
        [busy(0, "f0", 90.0), *starting],
        memory,
        taken_s=1005.0,
        current=[wanted, int(desired(first)[1])],
    )
    assert desired(second) == desired(first)


def test_order_of_declaration_decides_nothing():
    backwards = SETTINGS.replace("  - {name: fast", "  - {name: swap").replace(
        "swap, model: m, accelerator: H100, max_replicas: 20, cold_start_s: 20}",
        "slow, model: m, accelerator: L40S, min_replicas: 0, max_replicas: 20, cold_start_s: 20}",
    )
    head, _, _ = backwards.partition("variants:")
    reordered = head + (
        "variants:\n"
        "  - {name: slow, model: m, accelerator: L40S, min_replicas: 0, max_replicas: 20, cold_start_s: 20}\n"
        "  - {name: fast, model: m, accelerator: H100, max_replicas: 20, cold_start_s: 20}\n"
    )
    for rate in (5.0, 40.0, 75.0, 130.0):
        one, _ = publish(catalog_of(SETTINGS), [busy(0, "f0", rate)])
        two, _ = publish(catalog_of(reordered), [busy(1, "f0", rate)])
        assert desired(one) == desired(two)[::-1]


def test_same_input_same_output(catalog):
    snapshot = snapshot_of(catalog, [busy(0, "f0", 40.0), busy(1, "s0", 4.0)])
    one, _ = decide(snapshot, catalog, DecisionMemory.empty(), report=REPORT)
    two, _ = decide(snapshot, catalog, DecisionMemory.empty(), report=REPORT)
    for name, column in one.values.items():
        np.testing.assert_array_equal(column, two.values[name])


@pytest.mark.parametrize("mode", ["observe", "paused"])
def test_modes_that_do_not_act_publish_what_is_there(mode):
    text = SETTINGS.replace("accelerator: H100,", f"accelerator: H100, mode: {mode},")
    publication, _ = publish(catalog_of(text), [busy(0, "f0", 150.0)])
    assert desired(publication)[0] == 1
    assert publication.values["wva_recommended_replicas"][0] >= 1


def test_bounds_are_kept_exactly(catalog):
    publication, _ = publish(catalog, [busy(0, "f0", 1e5)])
    assert desired(publication) == [20.0, 20.0]
    assert bindings(publication) == ["MaxReplicas", "MaxReplicas"]


def test_an_slo_that_nothing_meets_is_said_and_still_served():
    text = SETTINGS.replace("itl_ms: 50", "itl_ms: 1")
    publication, _ = publish(catalog_of(text), [busy(0, "f0", 60.0)])
    assert "SloInfeasible" in bindings(publication)
    assert all(math.isfinite(value) for value in desired(publication))


def test_without_profile_and_slo_the_engines_state_decides():
    text = """
brakes: {warm_up_s: 0, max_scale_up_factor: 100}
variants:
  - {name: v, model: mystery, accelerator: box, max_replicas: 20}
"""
    catalog = catalog_of(text)
    calm, _ = publish(catalog, [replica(0, "v0", kv_usage_ratio=0.3)])
    assert desired(calm) == [1.0]
    full, _ = publish(catalog, [replica(0, "v0", kv_usage_ratio=0.97, waiting_requests=40.0)])
    assert desired(full)[0] >= 2
    assert bindings(full) == ["Saturation"]


def test_the_papers_law_moves_by_one(catalog):
    text = SETTINGS.replace("accelerator: H100,", "accelerator: H100, analyzer: paper,")
    one = catalog_of(text.split("  - {name: slow")[0])
    publication, _ = publish(one, [replica(0, "f0", kv_usage_ratio=0.95, waiting_requests=9.0)])
    assert desired(publication) == [2.0]


def test_publication_never_holds_a_value_for_the_wrong_reason(catalog):
    publication, _ = publish(catalog, [busy(0, "f0", 40.0)])
    assert set(publication.values) == {
        "wva_desired_replicas",
        "wva_current_replicas",
        "wva_desired_ratio",
        "wva_utilization",
        "wva_recommended_replicas",
        "wva_desired_traffic_ratio",
    }
    for column in publication.values.values():
        assert not np.isinf(column).any()
        assert not (column < 0).any()
    assert replace(publication) is not publication


ASLEEP = SETTINGS.replace("accelerator: H100, max", "accelerator: H100, min_replicas: 0, max")


def test_a_restart_wakes_nobody_for_whom_nobody_asks():
    catalog = catalog_of(ASLEEP)
    publication, memory = publish(catalog, [], current=[0, 0])
    assert desired(publication) == [0.0, 0.0]
    assert bindings(publication) == ["Idle", "Idle"]
    for taken_s in (1005.0, 1010.0, 5000.0):
        publication, memory = publish(catalog, [], memory, current=[0, 0], taken_s=taken_s)
        assert desired(publication) == [0.0, 0.0]


def test_one_waiting_request_wakes_one_replica():
    catalog = catalog_of(ASLEEP)
    waits = {"router_queue_requests": [1.0]}
    publication, _ = publish(catalog, [], current=[0, 0], model=waits)
    assert sorted(desired(publication)) == [0.0, 1.0]


def test_a_model_without_traffic_goes_to_zero_after_its_retention():
    catalog = catalog_of(ASLEEP + "zero_after_s: 60\n")
    memory = None
    for taken_s in range(1000, 1060, 5):
        still = [busy(0, "f0", 1.0 if taken_s == 1000 else 0.0)]
        publication, memory = publish(catalog, still, memory, taken_s=float(taken_s))
        assert desired(publication)[0] == 1.0, taken_s
    idle = [busy(0, "f0", 0.0, running_requests=0.0, kv_usage_ratio=0.0)]
    publication, _ = publish(catalog, idle, memory, taken_s=1065.0)
    assert sum(desired(publication)) == 0.0


@pytest.mark.parametrize(
    ("ttft_ms", "retained_s"),
    [
        pytest.param(1000, 600.0, id="a start is too long for the promise"),
        pytest.param(90_000, 20.0, id="a start of 20 s fits into it"),
    ],
)
def test_the_last_replica_is_kept_while_its_start_would_break_a_promise(ttft_ms, retained_s):
    """A request that may wait for a start costs that start, no more: ski rental."""
    catalog = catalog_of(ASLEEP.replace("ttft_ms: 1000", f"ttft_ms: {ttft_ms}"))
    _, memory = publish(catalog, [busy(0, "f0", 1.0)], taken_s=1000.0)
    quiet = [busy(0, "f0", 0.0, running_requests=0.0, kv_usage_ratio=0.0)]
    kept, memory = publish(catalog, quiet, memory, taken_s=1000.0 + retained_s - 5.0)
    gone, _ = publish(catalog, quiet, memory, taken_s=1000.0 + retained_s + 5.0)
    assert sum(desired(kept)) >= 1.0
    assert desired(gone) == [0.0, 0.0]


def test_without_any_variant_nothing_is_decided(catalog):
    empty = catalog_of("variants: []")
    report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
    _, memory = decide(
        snapshot_of(catalog, [replica(0, "a")]), catalog, DecisionMemory.empty(), report=report
    )
    told, _ = decide(snapshot_of(empty, []), empty, memory, report=report)
    assert told.variants == ()
    assert len(told.values["wva_desired_replicas"]) == 0


@pytest.mark.parametrize(
    ("setting", "on"), [("", False), ("name_leaving_pods: true", True)], ids=["off", "on"]
)
def test_a_step_down_names_the_pods_with_the_fewest_requests(setting, on):
    catalog = catalog_of(SETTINGS + setting)
    loads = {"f0": 5.0, "f1": 4.0, "f2": 0.0, "f3": 6.0}
    memory = None
    for i in range(60):
        replicas = [
            replica(
                0,
                f"default/{name}",
                completion_rate_rps=0.2,
                mean_running_requests=running,
                running_requests=running,
                **BUSY,
            )
            for name, running in loads.items()
        ]
        publication, memory = publish(catalog, replicas, memory, taken_s=1000.0 + 10.0 * i)
        if desired(publication)[0] < len(replicas):
            break
    assert desired(publication)[0] < 4
    named = publication.texts.get("leaving_first", ("",))[0].split()
    removed = 4 - int(desired(publication)[0])
    assert set(named) == (set(sorted(loads, key=loads.__getitem__)[:removed]) if on else set())


@pytest.mark.parametrize(
    ("rates", "running", "told"),
    [
        ((5.0, 5.0), (8.0, 24.0), "equal_per_replica (as the variants' shares show)"),
        ((9.0, 3.0), (16.0, 16.0), "least_loaded (as the variants' shares show)"),
        ((1.0, 1.0), (0.5, 1.5), "by capacity (assumed: nothing shows another yet)"),
    ],
    ids=["equal rates", "equal load", "too little to tell"],
)
def test_the_routers_law_is_found_in_the_readings_and_told(catalog, rates, running, told):
    replicas = [
        replica(variant, f"r{variant}{i}", completion_rate_rps=rate, running_requests=flying)
        for variant, (rate, flying) in enumerate(zip(rates, running, strict=True))
        for i in range(2)
    ]
    publication, memory = publish(catalog, replicas)
    assert publication.texts["routing"][0].startswith(told)
    later = dict.fromkeys(("completion_rate_rps", "running_requests"), 0.5)
    publication, _ = publish(catalog, [replica(0, "r00", **later)], memory, taken_s=1005.0)
    assert publication.texts["routing"][0].startswith(told)
