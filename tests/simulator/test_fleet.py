"""The live fleet over real listeners, with a clock of the test's own."""

import asyncio
import contextlib
import socket
import time

import aiohttp
import numpy as np
import pytest

from simulator.attainment import Attainment, Target
from simulator.cluster import Cluster
from simulator.demo_scenario import build_cluster, demo
from simulator.fleet import Fleet
from simulator.router import LeastLoaded
from simulator.workload import RequestStream

from .test_cluster import variant, workload


class ManualClock:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic_s(self):
        return self.now_s

    def unix_s(self):
        return self.now_s + 1.7e9


def small_cluster(rate_rps=4.0):
    stream = RequestStream(
        workload=workload(rate_rps), random=np.random.default_rng(1), start_s=1000.0
    )
    return Cluster(
        [variant("v")],
        {"m": stream},
        routers={"m": LeastLoaded()},
        attainment=Attainment({"m": Target(1.0, 0.05)}, start_s=1000.0),
        start_s=1000.0,
    )


@contextlib.asynccontextmanager
async def running(cluster, clock, **more):
    async with (
        Fleet(cluster, clock, **more) as fleet,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session,
    ):
        yield fleet, session


async def targets(fleet, session):
    async with session.get(fleet.targets_url) as response:
        assert response.content_type == "application/json"
        return await response.json()


async def scrape(session, group):
    async with session.get(f"http://{group['targets'][0]}/metrics") as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_a_replica_answers_503_until_it_is_ready_and_then_its_metrics():
    clock = ManualClock()
    async with running(small_cluster(), clock) as (fleet, session):
        assert await targets(fleet, session) == []
        fleet.set_replicas("v", 1)
        (group,) = await targets(fleet, session)
        assert group["labels"] == {
            "namespace": "default",
            "variant": "v",
            "replica": "v-0",
            "state": "starting",
        }
        status, _, text = await scrape(session, group)
        assert (status, text) == (503, "v-0 is starting\n")
        clock.now_s += 5.0
        status, kind, text = await scrape(session, group)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "vllm:request_success_total" in text
        (group,) = await targets(fleet, session)
        assert group["labels"]["state"] == "ready"


async def test_counters_follow_the_injected_clock_and_nothing_else():
    clock = ManualClock()
    cluster = small_cluster()
    cluster.set_replicas("v", 1, cold_start_s=0.0)
    async with running(cluster, clock) as (fleet, session):
        (group,) = await targets(fleet, session)
        clock.now_s += 60.0
        _, _, first = await scrape(session, group)
        await asyncio.sleep(0.2)
        _, _, second = await scrape(session, group)

        def engine_lines(text):
            return [line for line in text.splitlines() if line.startswith("vllm:")]

        assert engine_lines(first) == engine_lines(second)
        assert 'finished_reason="length",model_name="m"} 0.0' not in first


async def test_scaling_opens_and_closes_listeners():
    clock = ManualClock()
    cluster = small_cluster()
    cluster.set_replicas("v", 3, cold_start_s=0.0)
    async with running(cluster, clock, tick_s=0.01) as (fleet, session):
        groups = await targets(fleet, session)
        assert len({group["targets"][0] for group in groups}) == 3
        clock.now_s += 10.0
        fleet.set_replicas("v", 1)
        clock.now_s += 30.0
        await asyncio.sleep(0.1)
        assert [g["labels"]["replica"] for g in await targets(fleet, session)] == ["v-0"]
        with pytest.raises(aiohttp.ClientConnectorError):
            await scrape(session, groups[2])


async def test_ports_begin_where_they_are_told_and_step_over_taken_ones():
    clock = ManualClock()
    cluster = small_cluster()
    cluster.set_replicas("v", 2, cold_start_s=0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(cluster, clock, first_port=port) as (fleet, session):
            ports = [int(g["targets"][0].split(":")[1]) for g in await targets(fleet, session)]
            assert ports[0] > port
            assert ports[1] > ports[0]


async def test_a_failure_while_it_runs_is_raised_when_it_stops():
    clock = ManualClock()
    cluster = small_cluster()

    def fail(_):
        raise ZeroDivisionError

    fleet = Fleet(cluster, clock, tick_s=0.01)
    await fleet.start()
    cluster.advance = fail
    await asyncio.sleep(0.05)
    with pytest.raises(ZeroDivisionError):
        await fleet.stop()


async def test_stopping_while_ports_are_being_opened_frees_them_all():
    fleet = Fleet(small_cluster(), ManualClock())
    await fleet.start()
    fleet.set_replicas("v", 5)
    addresses = [group["targets"][0].split(":") for group in fleet.targets()]
    await fleet.stop()
    assert len(addresses) == 5
    for host, port in addresses:
        socket.create_server((host, int(port))).close()


async def test_what_cannot_be_stopped_twice_can():
    fleet = Fleet(small_cluster(), ManualClock())
    await fleet.stop()
    await fleet.start()
    await fleet.stop()
    await fleet.stop()


async def test_a_large_fleet_is_cheap():
    """20 replicas and about 75 requests/s, scraped each second: well under 30 % of a core."""
    clock = ManualClock()
    scenario = demo(300.0)
    cluster = build_cluster(scenario, random=np.random.default_rng(1), start_s=1000.0)
    for each in scenario.variants:
        cluster.set_replicas(each.variant.name, 7, cold_start_s=0.0)
    cluster.advance(1125.0)  # the burst has begun
    clock.now_s = 1125.0
    async with running(cluster, clock, tick_s=60.0) as (fleet, _):
        await asyncio.sleep(0)
        started_s = time.process_time()
        for _ in range(200):
            clock.now_s += 0.05
            await fleet._follow()
        for _ in range(10):
            for replica in cluster.replicas:
                await fleet._answer_metrics(replica, None)
        used_s = time.process_time() - started_s
    assert len(cluster.replicas) == 21
    assert used_s / 10.0 < 0.30
