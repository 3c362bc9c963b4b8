"""The keeper of the state: what a restart goes on from, and when copies are made."""

import asyncio

import pytest

from adapter.decide import DecisionMemory
from adapter.errors import StateError
from adapter.keeper import StateKeeper
from adapter.kept_state import KeptState
from adapter.publish import SERVED_METRICS
from adapter.records import Freshness, Reason, SourceFault
from adapter.saved_state import Moment, encode_state
from adapter.store import Store
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of, report_of


class Place:
    """A store in memory that may fail."""

    spacing_s = 0.0

    def __init__(self, kept: KeptState | None = None, *, fails: bool = False) -> None:
        self.place = "a place"
        self.kept = kept
        self.fails = fails
        self.saved: list[bytes] = []

    async def load(self) -> KeptState | None:
        if self.fails:
            raise StateError("it can't be read")
        return self.kept

    async def save(self, data: bytes) -> None:
        if self.fails:
            raise StateError("it can't be written")
        self.saved.append(data)


def state_of(replicas: float, *, decision_s: float = 500.0, **changes) -> bytes:
    return encode_state(
        publication_of({"lab/a": replicas}, **changes),
        DecisionMemory.empty(),
        decision_s=decision_s,
        saved=Moment(boot_id="elsewhere", monotonic_s=7.0, unix_s=1.0e9),
    )


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    return Store(clock, metrics=SERVED_METRICS)


async def restored(places, store, clock) -> StateKeeper:
    keeper = StateKeeper(places, clock)
    await keeper.restore(store)
    return keeper


async def test_what_was_published_is_served_again_held_and_with_its_own_age(store, clock):
    fault = SourceFault(source="e", reason=Reason.TIMEOUT, message="m", since_s=490.0)
    data = state_of(5.0, age_s=1.0, report=report_of(faults=(fault,)))
    keeper = await restored([Place(KeptState(data, 40.0))], store, clock)
    assert store.read("lab", "wva_desired_replicas", "a") == 5.0
    edition = store.edition
    assert edition.freshness(0, clock.monotonic_s()) is Freshness.HELD
    assert edition.age_s(0, clock.monotonic_s()) == 41.0
    # The fault began 10 s before the state was saved, 40 s ago.
    assert edition.publication.report.faults[0].since_s == clock.monotonic_s() - 50.0
    clock.advance(2.0)
    assert keeper.latest == KeptState(data, 42.0)


async def test_the_youngest_copy_counts(store, clock):
    places = [
        Place(KeptState(state_of(5.0), 40.0)),
        Place(KeptState(state_of(7.0), 4.0)),
        Place(),
    ]
    await restored(places, store, clock)
    assert store.read("lab", "wva_desired_replicas", "a") == 7.0


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Place(fails=True), id="unreadable"),
        pytest.param(Place(KeptState(b"WVAS nonsense", 1.0)), id="nonsense"),
        pytest.param(Place(KeptState(state_of(9.0)[:-1], 1.0)), id="cut"),
    ],
)
async def test_a_copy_that_cannot_be_used_is_told_and_passed_over(store, clock, caplog, bad):
    keeper = await restored([bad, Place()], store, clock)
    assert store.edition is None
    assert keeper.latest is None
    assert "a place" in caplog.text
    await restored([bad, Place(KeptState(state_of(5.0), 40.0))], store, clock)
    assert store.read("lab", "wva_desired_replicas", "a") == 5.0


async def test_copies_follow_changed_decisions_and_not_every_tick(clock):
    place = Place()
    keeper = StateKeeper([Place(fails=True), place], clock)
    writing = asyncio.ensure_future(keeper.run())
    for data in (state_of(5.0), state_of(5.0, sequence=2), state_of(6.0)):
        keeper.take(data)
        for _ in range(5):
            await asyncio.sleep(0)
    assert place.saved == [state_of(5.0), state_of(6.0)]
    clock.advance(31.0)
    keeper.take(state_of(6.0, sequence=3))
    for _ in range(5):
        await asyncio.sleep(0)
    assert place.saved[2:] == [state_of(6.0, sequence=3)]
    writing.cancel()


async def test_the_last_state_is_saved_when_asked(clock):
    place = Place()
    keeper = StateKeeper([place], clock)
    await keeper.save()
    assert place.saved == []
    keeper.take(state_of(5.0))
    await keeper.save()
    assert place.saved == [state_of(5.0)]


async def test_a_follower_makes_no_copies(clock):
    place, leads = Place(), False
    keeper = StateKeeper([place], clock, leads=lambda: leads)
    writing = asyncio.ensure_future(keeper.run())
    for replicas in (5.0, 6.0):
        keeper.take(state_of(replicas))
        for _ in range(5):
            await asyncio.sleep(0)
    assert place.saved == []
    leads = True
    keeper.take(state_of(6.0, sequence=2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert place.saved == [state_of(6.0, sequence=2)]
    writing.cancel()
