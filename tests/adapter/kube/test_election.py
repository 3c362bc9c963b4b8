"""Leader election over real HTTP: one leader at most, whatever fails."""

import asyncio
import contextlib

import pytest

from adapter.kube.election import ADDRESS, Election, Pace
from tests.helpers.clocks import ManualClock
from tests.helpers.fake_cluster import FakeCluster, failure, fake_cluster, transport_to

LEASE = "/apis/coordination.k8s.io/v1/namespaces/wva-system/leases/wva"
PACE = Pace(lease_s=10, renew_s=2.0, retry_s=1.0, margin_s=2.0)


@pytest.fixture
async def cluster():
    async with fake_cluster() as fake:
        yield fake


@pytest.fixture
async def candidates(cluster):
    """Candidates that step when told; each has a clock of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def new(name: str, **changes) -> "Candidate":
            transport = await stack.enter_async_context(transport_to(cluster.url, timeout_s=1.0))
            return Candidate(name, transport, **changes)

        yield new


class Candidate:
    def __init__(self, name, transport, *, start_s=1000.0, wall_off_s=0.0) -> None:
        self.clock = ManualClock(now_s=start_s, unix_offset_s=1.8e9 + wall_off_s)
        self.election = Election(
            transport,
            namespace="wva-system",
            name="wva",
            identity=name,
            address=f"{name}:8443",
            clock=self.clock,
            pace=PACE,
        )

    @property
    def leads(self) -> bool:
        return self.election.leads()

    async def step(self, after_s: float = 0.0) -> bool:
        self.clock.advance(after_s)
        await self.election._step()
        return self.leads


async def test_the_first_one_creates_the_lease_and_leads(cluster, candidates):
    one = await candidates("one")
    assert not one.leads
    assert await one.step()
    lease = cluster.objects[LEASE]
    assert lease["spec"]["holderIdentity"] == "one"
    assert lease["spec"]["leaseDurationSeconds"] == 10
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["metadata"]["annotations"] == {ADDRESS: "one:8443"}


async def test_another_waits_as_long_as_it_is_renewed(candidates):
    one, two = await candidates("one"), await candidates("two")
    await one.step()
    for _ in range(20):
        assert await one.step(2.0)
        assert not await two.step(2.0)
    assert two.election.leader_address == "one:8443"
    assert one.election.leader_address == ""


async def test_a_dead_leader_is_replaced_and_never_are_there_two(candidates):
    one, two = await candidates("one"), await candidates("two")
    await one.step()
    await two.step()
    took_s = 0.0
    while not two.leads:
        assert took_s < 15.0
        await two.step(1.0)
        one.clock.advance(1.0)
        took_s += 1.0
        assert not (one.leads and two.leads)
    assert 10.0 < took_s <= 12.0
    assert not one.leads
    # It comes back and finds somebody else.
    assert not await one.step()
    assert one.election.leader_address == "two:8443"


@pytest.mark.parametrize("wall_off_s", [-300.0, 0.0, 300.0])
async def test_wall_clocks_do_not_matter(candidates, wall_off_s):
    one, two = await candidates("one"), await candidates("two", wall_off_s=wall_off_s)
    await one.step()
    await two.step()
    assert not await two.step(9.0)
    assert await two.step(1.5)


async def test_a_suspended_leader_wakes_up_as_none_before_it_has_asked(candidates):
    one = await candidates("one")
    await one.step()
    one.clock.advance(8.1)
    assert not one.leads


async def test_of_two_that_reach_for_it_one_gets_it(cluster, candidates):
    one, two, three = [await candidates(name) for name in ("one", "two", "three")]
    await one.step()
    for each in (two, three):
        await each.step()
        each.clock.advance(11.0)
    won = await asyncio.gather(two.step(), three.step())
    assert sorted(won) == [False, True]
    assert cluster.objects[LEASE]["spec"]["leaseTransitions"] == 2


async def test_a_released_lease_is_free_at_once(cluster, candidates):
    one, two = await candidates("one"), await candidates("two")
    await one.step()
    await two.step()
    await one.election.release()
    assert not one.leads
    assert cluster.objects[LEASE]["spec"]["holderIdentity"] == ""
    assert await two.step(1.0)
    assert not await one.step()


async def test_what_others_wrote_on_it_stays(cluster, candidates):
    one = await candidates("one")
    await one.step()
    lease = cluster.objects[LEASE]
    lease["metadata"]["labels"] = {"team": "a"}
    lease["spec"]["strategy"] = "OldestEmulationVersion"
    cluster.put(LEASE, lease)
    assert await one.step(2.0)  # refused once by the version, then taken up again
    await one.step(2.0)
    assert cluster.objects[LEASE]["metadata"]["labels"] == {"team": "a"}
    assert cluster.objects[LEASE]["spec"]["strategy"] == "OldestEmulationVersion"


async def test_a_lease_that_was_deleted_is_made_again(cluster, candidates):
    one = await candidates("one")
    await one.step()
    del cluster.objects[LEASE]
    assert await one.step(2.0)
    assert await one.step(2.0)
    assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "one"


async def test_a_lease_taken_by_force_ends_leading_at_once(cluster, candidates):
    one = await candidates("one")
    await one.step()
    lease = cluster.objects[LEASE]
    lease["spec"]["holderIdentity"] = "a person"
    cluster.put(LEASE, lease)
    assert not await one.step(2.0)


QUICK = Pace(lease_s=1, renew_s=0.1, retry_s=0.05, margin_s=0.5)


@contextlib.asynccontextmanager
async def running(cluster: FakeCluster, name: str, clock):
    async with transport_to(cluster.url, timeout_s=1.0) as transport:
        election = Election(
            transport,
            namespace="wva-system",
            name="wva",
            identity=name,
            address="a",
            clock=clock,
            pace=QUICK,
        )
        task = asyncio.ensure_future(election.run())
        try:
            yield election
        finally:
            task.cancel()


class RealClock(ManualClock):
    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.parametrize("trouble", ["forbidden", "unavailable", "slow", "cut"])
async def test_a_leader_that_cannot_renew_stops_in_time_says_so_and_comes_back(
    cluster, caplog, trouble
):
    async with running(cluster, "one", RealClock()) as election:
        await asyncio.wait_for(election.until(leads=True), 5)
        assert election.leads()
        if trouble == "forbidden":
            cluster.fault = lambda *_: failure(403, "Forbidden", "leases is forbidden")
        elif trouble == "unavailable":
            cluster.fault = lambda *_: failure(503, "ServiceUnavailable", "etcd")
        elif trouble == "slow":
            cluster.delay_s = 1.5
        else:
            cluster.cut = True
        begun_s = asyncio.get_running_loop().time()
        await asyncio.wait_for(election.until(leads=False), 5)
        assert not election.leads()
        assert asyncio.get_running_loop().time() - begun_s < 1.0
        await asyncio.sleep(0.1)
        assert election.problem
        assert "can't be used" in caplog.text
        cluster.fault, cluster.delay_s, cluster.cut = None, 0.0, False
        await asyncio.wait_for(election.until(leads=True), 5)
        assert election.leads()
        assert election.terms == 2
