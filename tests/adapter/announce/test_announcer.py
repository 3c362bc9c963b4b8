"""The writer against an API server: leader alone, bounded, and never louder than once."""

import asyncio
import logging

import pytest

from adapter.announce.announcer import REFRESH_S, WRITES, Announcer
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from tests.helpers.clocks import ManualClock
from tests.helpers.fake_cluster import failure, fake_cluster, transport_to
from tests.helpers.publications import publication_of

EVENTS = "/api/v1/namespaces/default/events"
FOLLOWER = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/llama"
VARIANT = "/apis/llmd.ai/v1alpha1/namespaces/default/variantautoscalings/llama"
HPA = {"declared_by": "HPA default/llama"}
DECLARED = {"declared_by": "VariantAutoscaling default/llama"}


class Rig:
    def __init__(self, cluster, transport) -> None:
        self.cluster, self.clock, self.leads = cluster, ManualClock(), True
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        self.announcer = Announcer(
            transport, self.store, self.clock, leads=lambda: self.leads, instance="wva-0"
        )

    async def decide(self, desired: float, *, texts=HPA, names=("llama",), **more) -> None:
        wanted = {f"default/{name}": desired for name in names}
        self.store.swap(
            publication_of(wanted, texts=texts, **more), received_s=self.clock.monotonic_s()
        )
        await self.announcer.round()

    def events(self) -> list[tuple[str, int]]:
        return [
            (each["reason"], each["count"])
            for path, each in self.cluster.objects.items()
            if path.startswith(EVENTS)
        ]

    def writes(self) -> list[str]:
        return [path for method, path in self.cluster.requests if method != "GET"]


@pytest.fixture
async def rig():
    async with fake_cluster() as cluster, transport_to(cluster.url) as transport:
        cluster.put(FOLLOWER, {"metadata": {"uid": "uid-of-the-hpa"}})
        yield Rig(cluster, transport)


async def test_before_a_publication_nothing_is_told(rig) -> None:
    await rig.announcer.round()
    assert rig.cluster.requests == []


async def test_changes_become_events_that_count(rig) -> None:
    for desired in (2, 3, 5, 4):
        await rig.decide(desired)
    assert rig.events() == [("ScaledUp", 2), ("ScaledDown", 1)]


async def test_an_event_is_on_that_very_object(rig) -> None:
    """Without its uid `kubectl describe` shows nothing."""
    await rig.decide(2)
    await rig.decide(3)
    (event,) = [each for path, each in rig.cluster.objects.items() if path.startswith(EVENTS)]
    assert event["involvedObject"]["uid"] == "uid-of-the-hpa"


async def test_an_object_that_is_gone_is_told_nothing(rig) -> None:
    await rig.decide(2)
    del rig.cluster.objects[FOLLOWER]
    await rig.decide(3)
    assert rig.events() == []
    assert rig.announcer.problem == ""


async def test_a_follower_tells_nothing_and_a_new_leader_no_old_change(rig) -> None:
    await rig.decide(2)
    rig.leads = False
    await rig.decide(5)
    rig.leads = True
    await rig.decide(5)
    assert rig.events() == []
    await rig.decide(6)
    assert rig.events() == [("ScaledUp", 1)]


async def test_a_round_writes_a_bounded_number_and_the_rest_later(rig) -> None:
    names = tuple(f"v{i}" for i in range(WRITES + 10))
    await rig.decide(2, names=names)
    await rig.decide(3, names=names)
    # All are declared by one object here, so they are one Event that counts.
    assert len(rig.writes()) == WRITES
    await rig.announcer.round()
    assert len(rig.writes()) == WRITES + 10


async def test_a_failing_api_server_is_said_once_and_harms_nothing(rig, caplog) -> None:
    caplog.set_level(logging.INFO)
    await rig.decide(2)
    rig.cluster.fault = lambda _method, _path: failure(500, "InternalError", "down")
    await rig.decide(3)
    await rig.decide(4)
    assert "down" in rig.announcer.problem
    assert len([r for r in caplog.records if "can't be written" in r.message]) == 1
    rig.cluster.fault = None
    await rig.decide(5)
    assert rig.announcer.problem == ""
    assert rig.events() == [("ScaledUp", 3)], "what happened meanwhile is told, too"


async def test_an_event_that_expired_is_made_anew(rig) -> None:
    await rig.decide(2)
    await rig.decide(3)
    for path in [path for path in rig.cluster.objects if path.startswith(EVENTS)]:
        del rig.cluster.objects[path]
    await rig.decide(4)
    await rig.decide(5)
    assert rig.events() == [("ScaledUp", 1)]
    assert rig.announcer.problem == ""


async def test_a_namespace_that_goes_away_is_no_problem(rig) -> None:
    await rig.decide(2)
    rig.cluster.fault = lambda _method, _path: failure(
        403, "Forbidden", "unable to create new content in namespace default because it is being terminated"
    )  # fmt: skip
    await rig.decide(3)
    assert rig.announcer.problem == ""


async def test_missing_permission_is_a_problem(rig) -> None:
    await rig.decide(2)
    rig.cluster.fault = lambda _method, _path: failure(403, "Forbidden", "cannot create events")
    await rig.decide(3)
    assert "cannot create events" in rig.announcer.problem


async def test_a_status_is_written_when_it_says_something_new(rig) -> None:
    rig.cluster.put(VARIANT, {"spec": {"modelID": "m"}})
    await rig.decide(3, texts=DECLARED)
    written = rig.cluster.objects[VARIANT]
    assert written["spec"] == {"modelID": "m"}
    assert written["status"]["desiredOptimizedAlloc"]["numReplicas"] == 3
    status_writes = len(rig.writes())
    await rig.decide(3, texts=DECLARED)
    assert len(rig.writes()) == status_writes
    rig.clock.advance(REFRESH_S)
    await rig.decide(3, texts=DECLARED)
    assert len(rig.writes()) == status_writes + 1


async def test_a_new_leader_keeps_the_times_of_conditions_that_stay(rig) -> None:
    old = {"type": "MetricsAvailable", "status": "True", "reason": "MetricsFound", "message": "",
           "lastTransitionTime": "2020-01-01T00:00:00Z"}  # fmt: skip
    rig.cluster.put(VARIANT, {"status": {"conditions": [old]}})
    await rig.decide(3, texts=DECLARED)
    conditions = rig.cluster.objects[VARIANT]["status"]["conditions"]
    times = {c["type"]: c["lastTransitionTime"] for c in conditions}
    assert times["MetricsAvailable"] == "2020-01-01T00:00:00Z"


async def test_an_object_that_is_gone_is_nobodys_problem(rig) -> None:
    await rig.decide(3, texts=DECLARED)
    assert rig.announcer.problem == ""


async def test_a_fault_of_ours_ends_nothing_that_is_served(rig, caplog) -> None:
    rounds = asyncio.Event()

    async def broken() -> None:
        rounds.set()
        raise ZeroDivisionError

    rig.announcer.round = broken
    running = asyncio.create_task(rig.announcer.run())
    await asyncio.wait_for(rounds.wait(), timeout=5)
    await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    assert "a round of events and statuses failed" in caplog.text
