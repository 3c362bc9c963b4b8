"""Replicas' lives and requests' ways, in simulated time."""

import re

import numpy as np
import pytest

from optimizer.errors import InvalidInputError
from simulator.attainment import Attainment, Ending, Target
from simulator.cluster import Cluster
from simulator.engine import EngineSpec, simulate
from simulator.replica import ReplicaState, Variant
from simulator.router import LeastLoaded, RoundRobin
from simulator.workload import Lengths, RateProfile, RequestStream, Workload, draw_requests

STARTING, READY, DRAINING = ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING
FAST = EngineSpec(iteration_base_s=0.01, max_num_seqs=8, num_gpu_blocks=4000)
LENGTHS = Lengths(mean_tokens=50.0, cv=0.8, max_tokens=400)


def workload(rate_rps):
    return Workload(profile=RateProfile.steady(rate_rps), prompt=LENGTHS, output=LENGTHS)


def variant(name, model="m", *, engine=FAST, **more):
    return Variant(
        name=name,
        model=model,
        accelerator="H100",
        engine=engine,
        max_model_len=2048,
        cold_start_s=5.0,
        **more,
    )


def cluster(*variants, rate_rps=4.0, router=None, records=None, grace_s=30.0, seed=1):
    models = sorted({each.model for each in variants})
    randoms = np.random.default_rng(seed).spawn(len(models))
    return Cluster(
        variants,
        {
            model: RequestStream(workload=workload(rate_rps), random=random, start_s=0.0)
            for model, random in zip(models, randoms, strict=True)
        },
        routers={model: router or LeastLoaded() for model in models},
        attainment=Attainment({m: Target(1.0, 0.05) for m in models}, start_s=0.0),
        start_s=0.0,
        grace_s=grace_s,
        on_end=(lambda _: None) if records is None else records.append,
    )


def test_one_replica_serves_as_the_engine_alone_would():
    records = []
    fleet = cluster(variant("v"), records=records)
    fleet.set_replicas("v", 1, cold_start_s=0.0)
    for step in range(1, 401):
        fleet.advance(step * 0.37)
    drawn = draw_requests(
        workload(4.0), np.random.default_rng(1).spawn(1)[0], start_s=0.0, end_s=400 * 0.37
    )
    alone = simulate(
        FAST, drawn.arrival_s, drawn.prompt_tokens, drawn.output_tokens, compiled=False
    )
    by_arrival = {record.arrival_s: record for record in records}
    assert len(records) > 500
    for row, arrival_s in enumerate(drawn.arrival_s):
        if arrival_s in by_arrival:
            record = by_arrival[arrival_s]
            assert record.ttft_s == pytest.approx(alone.ttft_s[row], rel=1e-9)
            assert record.end_s == pytest.approx(alone.finish_s[row], rel=1e-12)
            assert record.itl_s == pytest.approx(alone.itl_s[row], rel=1e-9)


@pytest.mark.parametrize("step_s", [0.05, 1.0, 60.0])
def test_how_often_it_is_advanced_changes_nothing(step_s):
    records = []
    fleet = cluster(variant("a"), variant("b", weight=2.0), rate_rps=20.0, records=records)
    fleet.set_replicas("a", 2)
    fleet.set_replicas("b", 1, cold_start_s=0.0)
    for step in range(round(60.0 / step_s)):
        fleet.advance((step + 1) * step_s)
    coarse = []
    again = cluster(variant("a"), variant("b", weight=2.0), rate_rps=20.0, records=coarse)
    again.set_replicas("a", 2)
    again.set_replicas("b", 1, cold_start_s=0.0)
    again.advance(60.0)

    def seen(rows):
        return {(r.arrival_s, r.replica, round(r.end_s, 9), round(r.ttft_s, 9)) for r in rows}

    assert seen(records) == seen(coarse)
    assert {record.replica for record in records} == {"a-0", "a-1", "b-0"}


def test_a_replica_starts_and_then_serves():
    fleet = cluster(variant("v"))
    fleet.set_replicas("v", 1)
    fleet.advance(4.9)
    assert (fleet.count("v", STARTING), fleet.count("v", READY)) == (1, 0)
    assert fleet.waiting_at_gateway("m") > 0
    fleet.advance(5.0)
    assert (fleet.count("v", STARTING), fleet.count("v", READY)) == (0, 1)
    assert fleet.waiting_at_gateway("m") == 0
    assert fleet.replicas[0].in_flight > 0


def test_waiting_at_the_gateway_is_in_the_ttft():
    records = []
    fleet = cluster(variant("v"), records=records)
    fleet.set_replicas("v", 1)
    fleet.advance(60.0)
    first = min(records, key=lambda record: record.arrival_s)
    assert first.arrival_s < 1.0
    assert first.ttft_s > 5.0 - first.arrival_s


def test_the_youngest_goes_first_and_a_starting_one_at_once():
    fleet = cluster(variant("v"))
    fleet.set_replicas("v", 2, cold_start_s=0.0)
    fleet.advance(10.0)
    fleet.set_replicas("v", 4)
    assert [replica.name for replica in fleet.replicas] == ["v-0", "v-1", "v-2", "v-3"]
    fleet.set_replicas("v", 1)
    assert (fleet.replicas[0].name, fleet.replicas[0].state) == ("v-0", READY)
    assert {r.name: r.state for r in fleet.replicas[1:]} in ({}, {"v-1": DRAINING})
    assert fleet.count("v") == 1
    fleet.set_replicas("v", 2)
    assert fleet.replicas[-1].name == "v-4"  # a new replica has a new name


def test_a_draining_replica_finishes_its_requests_and_gets_no_new_ones():
    records = []
    fleet = cluster(variant("v"), rate_rps=30.0, records=records, router=RoundRobin())
    fleet.set_replicas("v", 2, cold_start_s=0.0)
    fleet.advance(20.0)
    held = fleet.replicas[1].in_flight
    assert held > 0
    fleet.set_replicas("v", 1)
    done_before = sum(record.replica == "v-1" for record in records)
    fleet.advance(45.0)
    assert [replica.name for replica in fleet.replicas] == ["v-0"]
    assert sum(record.replica == "v-1" for record in records) - done_before == held
    assert all(record.ending is Ending.FINISHED for record in records)


def test_what_is_not_done_after_the_grace_period_is_lost():
    records = []
    slow = EngineSpec(iteration_base_s=1.0, num_gpu_blocks=4000)
    fleet = cluster(variant("v", engine=slow), rate_rps=2.0, records=records, grace_s=3.0)
    fleet.set_replicas("v", 1, cold_start_s=0.0)
    fleet.advance(10.0)
    held = fleet.replicas[0].in_flight
    fleet.set_replicas("v", 0)
    fleet.advance(12.0)
    assert fleet.count("v", DRAINING) == 1
    fleet.advance(20.0)
    lost = [record for record in records if record.ending is Ending.LOST]
    finished_late = [r for r in records if r.ending is Ending.FINISHED and r.end_s > 10.0]
    assert len(lost) + len(finished_late) == held
    assert all(record.end_s == 13.0 for record in lost)
    assert all(record.end_s < 13.0 for record in finished_late)
    assert fleet.replicas == ()
    assert fleet.waiting_at_gateway("m") > 0


def test_models_do_not_share_replicas():
    records = []
    fleet = cluster(variant("a", "one"), variant("b", "two"), records=records)
    fleet.set_replicas("a", 1, cold_start_s=0.0)
    fleet.set_replicas("b", 1, cold_start_s=0.0)
    fleet.advance(60.0)
    assert {(record.model, record.variant) for record in records} == {("one", "a"), ("two", "b")}
    assert sum(w.arrived for w in fleet.attainment.windows("one")) > 100


def test_weight_moves_load_to_the_larger_replica():
    records = []
    fleet = cluster(variant("small"), variant("large", weight=3.0), rate_rps=16.0, records=records)
    fleet.set_replicas("small", 1, cold_start_s=0.0)
    fleet.set_replicas("large", 1, cold_start_s=0.0)
    fleet.advance(120.0)
    large = sum(record.variant == "large" for record in records) / len(records)
    assert 0.65 < large < 0.85


def test_without_requests_time_just_passes():
    idle = Cluster(
        [variant("v")],
        {},
        routers={},
        attainment=Attainment({}, start_s=0.0),
        start_s=0.0,
    )
    idle.set_replicas("v", 1)
    idle.advance(100.0)
    assert (idle.now_s, idle.count("v", READY)) == (100.0, 1)


def test_a_negative_count_is_refused():
    with pytest.raises(InvalidInputError, match="count is -1 for v"):
        cluster(variant("v")).set_replicas("v", -1)


def test_the_page_of_a_replica_counts_what_it_served():
    fleet = cluster(variant("v"))
    fleet.set_replicas("v", 1, cold_start_s=0.0)
    fleet.advance(30.0)
    (replica,) = fleet.replicas
    page = replica.metrics_page(unix_offset_s=1e9).decode()
    assert 'vllm:num_requests_running{engine="0",model_name="m"} ' in page
    assert "process_start_time_seconds 1e+09\n" in page
    busy_s = float(re.search(r"^process_cpu_seconds_total (.*)$", page, re.MULTILINE).group(1))
    assert 15.0 < busy_s < 30.0
