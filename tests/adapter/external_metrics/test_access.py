import asyncio

import pytest

from adapter.errors import KubeUnavailableError
from adapter.external_metrics.access import AccessReviewError, Authorizer, forbidden
from adapter.external_metrics.timed_cache import TimedCache
from adapter.kube.identity import AccessQuery, Identity
from tests.helpers.clocks import ManualClock
from tests.helpers.reviewer import FakeReviewer

BOB = Identity("bob", groups=("dev",))
READ = AccessQuery(
    verb="list", namespace="lab", group="external.metrics.k8s.io", version="v1beta1", resource="m1"
)


class TestAuthorizer:
    def setup_method(self):
        self.clock, self.reviewer = ManualClock(), FakeReviewer()
        self.authorizer = Authorizer(self.reviewer, clock=self.clock)

    async def test_the_api_server_decides(self):
        self.reviewer.allow("dev", "list", "lab/m1")
        assert await self.authorizer.allows(BOB, READ)
        assert not await self.authorizer.allows(Identity("eve"), READ)

    async def test_answers_are_kept_for_ten_seconds_yes_or_no(self):
        eve = Identity("eve")
        self.reviewer.allow("bob", "list", "m1")
        for _ in range(3):
            assert await self.authorizer.allows(BOB, READ)
            assert not await self.authorizer.allows(eve, READ)
        assert len(self.reviewer.access_reviews) == 2
        self.reviewer.allowed = {("eve", "list", "m1")}
        self.clock.advance(9.9)
        assert await self.authorizer.allows(BOB, READ)
        self.clock.advance(0.1)
        assert not await self.authorizer.allows(BOB, READ)
        assert await self.authorizer.allows(eve, READ)

    async def test_a_question_that_can_t_be_put_is_an_error_and_not_kept(self):
        self.reviewer.allow("bob", "list", "m1")
        self.reviewer.down = True
        with pytest.raises(AccessReviewError, match="connection refused") as caught:
            await self.authorizer.allows(BOB, READ)
        assert caught.value.http_status == 500
        self.reviewer.down = False
        assert await self.authorizer.allows(BOB, READ)

    async def test_masters_are_allowed_without_asking(self):
        self.reviewer.down = True
        assert await self.authorizer.allows(Identity("x", groups=("system:masters",)), READ)
        assert self.reviewer.access_reviews == []

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(Identity("bob", groups=("dev", "ops")), id="groups"),
            pytest.param(Identity("bob", uid="2", groups=("dev",)), id="uid"),
            pytest.param(Identity("bob", groups=("dev",), extra=(("s", ("x",)),)), id="extra"),
        ],
    )
    async def test_an_answer_is_for_exactly_that_identity(self, other):
        await self.authorizer.allows(BOB, READ)
        await self.authorizer.allows(other, READ)
        assert [identity for identity, _ in self.reviewer.access_reviews] == [BOB, other]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param(
            READ,
            'm1.external.metrics.k8s.io is forbidden: User "bob" cannot list resource "m1" in API '
            'group "external.metrics.k8s.io" in the namespace "lab"',
            id="resource",
        ),
        pytest.param(
            AccessQuery(verb="get", path="/metrics"),
            'forbidden: User "bob" cannot get path "/metrics"',
            id="path",
        ),
        pytest.param(
            AccessQuery(verb="get", group="g", resource="m1", subresource="s", name="n"),
            'm1/s.g "n" is forbidden: User "bob" cannot get resource "m1/s" in API group "g" at '
            "the cluster scope",
            id="everything",
        ),
    ],
)
def test_a_refusal_is_in_kubernetes_words(query, message):
    assert str(forbidden(BOB, query)) == message


class TestTimedCache:
    def cache(self, load, **changes) -> TimedCache:
        self.clock = ManualClock()
        return TimedCache(load, **{"clock": self.clock, "ttl_s": 10.0, "max_entries": 3, **changes})

    async def test_the_least_recently_used_goes_first(self):
        asked = []

        async def load(key: int) -> int:
            asked.append(key)
            return key

        cache = self.cache(load)
        for key in (1, 2, 3, 1, 4, 1, 2):
            assert await cache.get(key) == key
        assert asked == [1, 2, 3, 4, 2]

    async def test_a_caller_that_gives_up_does_not_take_the_answer_from_others(self):
        gate = asyncio.Event()

        async def load(key: str) -> str:
            await gate.wait()
            return key

        cache = self.cache(load)
        one, other = (asyncio.ensure_future(cache.get("k")) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await other == "k"

    async def test_a_failure_reaches_all_who_wait_and_nobody_later(self):
        failing = True

        async def load(key: str) -> str:
            await asyncio.sleep(0)
            if failing:
                raise KubeUnavailableError("down")
            return key

        cache = self.cache(load)
        results = await asyncio.gather(cache.get("k"), cache.get("k"), return_exceptions=True)
        assert [type(result) for result in results] == [KubeUnavailableError] * 2
        failing = False
        assert await cache.get("k") == "k"

    async def test_a_failure_that_nobody_waits_for_is_not_reported_as_lost(self):
        async def load(key: str) -> str:
            await asyncio.sleep(0)
            raise KubeUnavailableError("down")

        waiting = asyncio.ensure_future(self.cache(load).get("k"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert waiting.cancelled()
