"""A follower and a leader's API over real TLS: what is taken, and from whom it is not."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.routing import Route

from adapter.config import ApiSettings
from adapter.decide import DecisionMemory
from adapter.external_metrics.access import Authorizer
from adapter.external_metrics.api import create_api
from adapter.external_metrics.auth import Authenticator
from adapter.external_metrics.gate import KubernetesGuard
from adapter.external_metrics.server import ApiServer
from adapter.external_metrics.state_stream import STREAM_PATH, state_stream
from adapter.external_metrics.trust import TrustKeeper
from adapter.follower import Follower
from adapter.keeper import StateKeeper
from adapter.kube.identity import Identity
from adapter.publish import SERVED_METRICS
from adapter.records import Freshness
from adapter.saved_state import Moment, encode_state
from adapter.store import Store
from adapter.tls import ServingTls
from tests.helpers.clocks import ManualClock
from tests.helpers.pki import TestAuthority
from tests.helpers.publications import publication_of
from tests.helpers.reviewer import FakeReviewer, trust_data

WVA = "system:serviceaccount:wva-system:wva"
SERVER_NAME = "wva.wva-system.svc"


def state_of(replicas: float, *, age_s: float = 1.0) -> bytes:
    return encode_state(
        publication_of({"lab/a": replicas}, age_s=age_s),
        DecisionMemory.empty(),
        decision_s=500.0,
        saved=Moment(boot_id="", monotonic_s=7.0, unix_s=1.0e9),
    )


class Leader:
    """A replica's API with its stream; `leads` may be turned off."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.leads = True
        self.keeper = StateKeeper([], self.clock)
        store = Store(self.clock, metrics=SERVED_METRICS)
        settings = ApiSettings(host="127.0.0.1", port=0)
        wall = ManualClock(unix_offset_s=time.time() - 1000.0)
        self.tls = ServingTls(settings, state_dir=None, clock=wall)
        ca, proxy = TestAuthority("kubernetes"), TestAuthority("front-proxy-ca")
        self.reviewer = FakeReviewer(
            trust_data(front_proxy=proxy.pem, clients=ca.pem, names=["front-proxy-client"])
        )
        self.reviewer.tokens["good"] = Identity(WVA)
        self.reviewer.tokens["stranger"] = Identity("system:serviceaccount:lab:stranger")
        self.reviewer.allow(WVA, "get", STREAM_PATH)
        self.trust = TrustKeeper(self.reviewer, changed=self.tls.trust_clients)
        guard = KubernetesGuard(
            Authenticator(self.trust, self.reviewer, clock=self.clock),
            Authorizer(self.reviewer, clock=self.clock),
        )
        stream = state_stream(self.keeper, lambda: self.leads, heartbeat_s=0.05)
        app = create_api(
            store,
            clock=self.clock,
            guard=guard,
            checks=dict,
            adapter_version="1",
            observe=lambda _kind, _status: None,
            more=[Route(STREAM_PATH, stream)],
        )
        self.server = ApiServer(app, host="127.0.0.1", port=0, context=self.tls.context)
        self.address = f"127.0.0.1:{self.server.address[1]}"


@pytest.fixture
async def leader() -> AsyncIterator[Leader]:
    leader = Leader()
    tasks = [
        asyncio.ensure_future(leader.server.serve()),
        asyncio.ensure_future(leader.trust.run()),
    ]
    await until(lambda: leader.trust.trust is not None)
    yield leader
    leader.leads = False
    leader.server.stop()
    await tasks[0]
    tasks[1].cancel()


class Rig:
    """A follower with its own clock, store and keeper."""

    def __init__(self, leader: Leader, **changes) -> None:
        self.clock = ManualClock(now_s=77.0, unix_offset_s=1.0)  # another machine, another time
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        self.keeper = StateKeeper([], self.clock)
        self.token = "good"
        self.address = leader.address

        async def authorization() -> str:
            return f"Bearer {self.token}"

        wanted = {
            "leader_address": lambda: self.address,
            "authorization": authorization,
            "context": leader.tls.client_context,
            "path": STREAM_PATH,
            "server_name": SERVER_NAME,
            "clock": self.clock,
            "retry_s": (0.01, 0.02),
            **changes,
        }
        self.follower = Follower(self.keeper, self.store, **wanted)

    def desired(self) -> float | None:
        if self.store.edition is None:
            return None
        return self.store.read("lab", "wva_desired_replicas", "a")


@contextlib.asynccontextmanager
async def following(leader: Leader, **changes) -> AsyncIterator[Rig]:
    rig = Rig(leader, **changes)
    task = asyncio.ensure_future(rig.follower.run())
    try:
        yield rig
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def test_each_publication_comes_with_its_age_and_clocks_are_not_compared(leader):
    leader.keeper.take(state_of(5.0))
    leader.clock.advance(4.0)
    async with following(leader) as rig:
        await until(lambda: rig.desired() == 5.0)
        assert rig.store.edition.age_s(0, rig.clock.monotonic_s()) == 5.0
        rig.clock.advance(2.0)
        assert rig.keeper.latest.age_s == 6.0
        assert rig.keeper.latest.data == state_of(5.0)
        leader.keeper.take(state_of(7.0))
        await until(lambda: rig.desired() == 7.0)
        assert rig.store.edition.freshness(0, rig.clock.monotonic_s()) is Freshness.FRESH
        assert rig.follower.problem == ""


async def test_a_stream_without_news_stays_open(leader):
    leader.keeper.take(state_of(5.0))
    async with following(leader) as rig:
        await until(lambda: rig.desired() == 5.0)
        await asyncio.sleep(0.4)
        assert rig.follower.problem == ""
        assert len(leader.reviewer.token_reviews) == 1


async def test_it_comes_back_after_the_leader_has_changed(leader):
    leader.keeper.take(state_of(5.0))
    async with following(leader) as rig:
        await until(lambda: rig.desired() == 5.0)
        leader.leads = False
        await until(lambda: "doesn't lead" in rig.follower.problem)
        rig.address = ""
        await until(lambda: "nobody leads" in rig.follower.problem)
        rig.address, leader.leads = leader.address, True
        leader.keeper.take(state_of(6.0))
        await until(lambda: rig.desired() == 6.0)


async def test_a_new_leader_that_knows_less_takes_nothing_back(leader):
    leader.keeper.take(state_of(5.0))
    async with following(leader) as rig:
        await until(lambda: rig.desired() == 5.0)
        # It has restored a copy that is older than what was streamed.
        leader.keeper.take(state_of(2.0), age_s=6.0)
        await asyncio.sleep(0.2)
        assert rig.desired() == 5.0
        leader.keeper.take(state_of(5.0))
        leader.keeper.take(state_of(8.0))
        await until(lambda: rig.desired() == 8.0)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        pytest.param("bad", "401", id="nobody"),
        pytest.param("stranger", "403", id="no-permission"),
    ],
)
async def test_who_may_not_follow_is_refused_and_told(leader, token, says):
    leader.keeper.take(state_of(5.0))
    rig = Rig(leader)
    rig.token = token
    task = asyncio.ensure_future(rig.follower.run())
    await until(lambda: says in rig.follower.problem)
    task.cancel()
    assert rig.store.edition is None


async def test_a_leader_of_another_authority_is_not_believed_nor_shown_the_token(leader):
    stranger = ssl.create_default_context(cadata=TestAuthority("somebody").pem)
    async with following(leader, context=lambda: stranger) as rig:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in rig.follower.problem)
        assert leader.reviewer.token_reviews == []


async def test_a_leader_of_another_name_is_not_believed(leader):
    async with following(leader, server_name="other.wva-system.svc") as rig:
        await until(lambda: "certificate" in rig.follower.problem.lower())
        assert leader.reviewer.token_reviews == []


@pytest.mark.parametrize("bad", [b"WVAS nonsense", state_of(5.0)[:-3]])
async def test_what_is_not_a_state_is_refused_and_following_goes_on(leader, bad):
    leader.keeper.take(bad)
    async with following(leader) as rig:
        await until(lambda: "state" in rig.follower.problem)
        assert rig.store.edition is None
        leader.keeper.take(state_of(5.0))
        await until(lambda: rig.desired() == 5.0)


async def test_a_leader_that_falls_silent_is_left(leader):
    async def mute(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(mute, "127.0.0.1", 0, ssl=leader.tls.context)
    async with following(leader, silence_s=0.1) as rig:
        rig.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await until(lambda: "imeout" in rig.follower.problem)
        rig.address = leader.address
        leader.keeper.take(state_of(5.0))
        await until(lambda: rig.desired() == 5.0)
    server.close()
