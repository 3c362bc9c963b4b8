import asyncio
import time

import pytest

from adapter.errors import StalePublicationError, UnauthorizedError
from adapter.external_metrics.auth import ANONYMOUS, Authenticator
from adapter.external_metrics.trust import TrustKeeper, parse_trust
from adapter.kube.identity import Identity
from tests.helpers.clocks import ManualClock
from tests.helpers.pki import SERVER, TestAuthority
from tests.helpers.reviewer import FakeReviewer, trust_data

PROXY_CA = TestAuthority("front-proxy-ca")
KUBE_CA = TestAuthority("kubernetes")
PROXY = (PROXY_CA.issue("front-proxy-client").der,)
MASTERS = [(b"x-remote-user", b"admin"), (b"x-remote-group", b"system:masters")]


class World:
    """An authenticator that trusts two authorities."""

    def __init__(self, **changes: str) -> None:
        self.clock = ManualClock(unix_offset_s=time.time() - 1000.0)
        self.reviewer = FakeReviewer()
        keeper = TrustKeeper(self.reviewer, changed=lambda _: None)
        data = trust_data(
            front_proxy=PROXY_CA.pem, clients=KUBE_CA.pem, names=["front-proxy-client"]
        )
        keeper.trust = parse_trust({**data, **changes})
        self.authenticator = Authenticator(keeper, self.reviewer, clock=self.clock)

    async def identify(self, chain=(), headers=()) -> Identity:
        return await self.authenticator.identify(chain, headers)


class TestFrontProxy:
    async def test_user_groups_and_extra_come_from_the_headers(self):
        identity = await World().identify(
            PROXY,
            [
                (b"x-remote-user", b"system:serviceaccount:kube-system:hpa"),
                (b"x-remote-group", b"system:serviceaccounts"),
                (b"x-remote-group", b"system:serviceaccounts:kube-system"),
                (b"x-remote-group", b"system:authenticated"),
                (b"x-remote-uid", b"not configured, not believed"),
                (b"x-remote-extra-authentication.kubernetes.io%2fcredential-id", b"JTI=1"),
                (b"x-remote-extra-scopes", b"b"),
                (b"x-remote-extra-scopes", b"a"),
            ],
        )
        assert identity == Identity(
            "system:serviceaccount:kube-system:hpa",
            groups=(
                "system:serviceaccounts",
                "system:serviceaccounts:kube-system",
                "system:authenticated",
            ),
            extra=(
                ("authentication.kubernetes.io/credential-id", ("JTI=1",)),
                ("scopes", ("b", "a")),
            ),
        )

    async def test_the_uid_is_believed_where_the_cluster_configures_it(self):
        world = World(**{"requestheader-uid-headers": '["X-Remote-Uid"]'})
        identity = await world.identify(PROXY, [*MASTERS, (b"x-remote-uid", b"7")])
        assert identity.uid == "7"

    async def test_a_user_without_groups_is_among_the_authenticated(self):
        identity = await World().identify(PROXY, [(b"x-remote-user", b"system:kube-aggregator")])
        assert identity.groups == ("system:authenticated",)

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param([(b"x-remote-user", b"system:anonymous")], id="by-name"),
            pytest.param(
                [(b"x-remote-user", b"x"), (b"x-remote-group", b"system:unauthenticated")],
                id="by-group",
            ),
        ],
    )
    async def test_a_request_for_nobody_stays_unauthenticated(self, headers):
        identity = await World().identify(PROXY, headers)
        assert "system:authenticated" not in identity.groups

    async def test_headers_without_a_certificate_are_nothing(self):
        assert await World().identify((), MASTERS) == ANONYMOUS

    async def test_a_certificate_of_the_other_authority_with_the_proxy_s_name_is_an_ordinary_one(
        self,
    ):
        """The trap: with both authorities in one store it passed for the front proxy."""
        impostor = (KUBE_CA.issue("front-proxy-client").der,)
        identity = await World().identify(impostor, MASTERS)
        assert identity == Identity("front-proxy-client", groups=("system:authenticated",))

    @pytest.mark.parametrize(
        "chain",
        [
            pytest.param((PROXY_CA.issue("somebody-else").der,), id="name-not-allowed"),
            pytest.param((PROXY_CA.issue("front-proxy-client", uses=(SERVER,)).der,), id="use"),
            pytest.param((PROXY_CA.issue("front-proxy-client", days=(-2, -1)).der,), id="expired"),
            pytest.param((TestAuthority().issue("front-proxy-client").der,), id="unknown-ca"),
        ],
    )
    async def test_a_bad_proxy_is_refused_and_not_anonymous(self, chain):
        with pytest.raises(UnauthorizedError, match=r"^Unauthorized$"):
            await World().identify(chain, MASTERS)

    async def test_no_allowed_names_allow_any_of_that_authority(self):
        world = World(**{"requestheader-allowed-names": "[]"})
        identity = await world.identify((PROXY_CA.issue("any").der,), MASTERS)
        assert identity.username == "admin"

    async def test_a_proxy_that_names_nobody_is_refused(self):
        with pytest.raises(UnauthorizedError):
            await World().identify(PROXY, [(b"x-remote-user", b"")])


class TestClientCertificate:
    async def test_name_and_organizations_are_user_and_groups(self):
        chain = (KUBE_CA.issue("alice", organizations=("dev",)).der,)
        assert await World().identify(chain, MASTERS) == Identity(
            "alice", groups=("dev", "system:authenticated")
        )

    async def test_a_bad_certificate_with_a_good_token_is_the_token_s_owner(self):
        world = World()
        world.reviewer.tokens["t"] = Identity("bob")
        chain = (TestAuthority().issue("alice").der,)
        identity = await world.identify(chain, [(b"authorization", b"Bearer t")])
        assert identity.username == "bob"


class TestToken:
    HEADERS = ((b"authorization", b"Bearer good"),)

    def world(self) -> World:
        world = World()
        world.reviewer.tokens["good"] = Identity("bob", uid="1", groups=("dev",))
        return world

    async def test_a_token_is_reviewed(self):
        assert await self.world().identify((), self.HEADERS) == Identity(
            "bob", uid="1", groups=("dev", "system:authenticated")
        )

    async def test_the_scheme_is_written_in_any_case(self):
        world = self.world()
        assert (await world.identify((), [(b"authorization", b"bearer  good ")])).username == "bob"

    @pytest.mark.parametrize("token", [b"Bearer bad", b"Bearer good2"])
    async def test_a_token_of_nobody_is_refused(self, token):
        with pytest.raises(UnauthorizedError):
            await self.world().identify((), [(b"authorization", token)])

    @pytest.mark.parametrize("value", [b"Basic Ym9i", b"Bearer", b"Bearer  ", b""])
    async def test_what_is_no_token_is_nothing(self, value):
        assert await self.world().identify((), [(b"authorization", value)]) == ANONYMOUS

    async def test_the_review_is_kept_for_ten_seconds_good_or_bad(self):
        world = self.world()
        for _ in range(3):
            await world.identify((), self.HEADERS)
            with pytest.raises(UnauthorizedError):
                await world.identify((), [(b"authorization", b"Bearer bad")])
        assert world.reviewer.token_reviews == ["good", "bad"]
        world.clock.advance(10)
        del world.reviewer.tokens["good"]
        with pytest.raises(UnauthorizedError):
            await world.identify((), self.HEADERS)

    async def test_a_review_that_fails_refuses_and_is_not_kept(self):
        world = self.world()
        world.reviewer.down = True
        with pytest.raises(UnauthorizedError):
            await world.identify((), self.HEADERS)
        world.reviewer.down = False
        assert (await world.identify((), self.HEADERS)).username == "bob"

    async def test_callers_at_once_share_one_review(self):
        world = self.world()
        world.reviewer.delay_s = 0.01
        identities = await asyncio.gather(*(world.identify((), self.HEADERS) for _ in range(50)))
        assert {identity.username for identity in identities} == {"bob"}
        assert world.reviewer.token_reviews == ["good"]


async def test_nothing_presented_is_anonymous():
    assert await World().identify() == ANONYMOUS


async def test_before_it_is_known_whom_to_trust_nobody_is_judged():
    reviewer = FakeReviewer()
    keeper = TrustKeeper(reviewer, changed=lambda _: None)
    authenticator = Authenticator(keeper, reviewer, clock=ManualClock())
    with pytest.raises(StalePublicationError, match="has not been read yet"):
        await authenticator.identify(PROXY, MASTERS)


async def test_without_a_front_proxy_authority_its_headers_are_not_believed():
    world = World(**{"requestheader-client-ca-file": ""})
    with pytest.raises(UnauthorizedError):
        await world.identify(PROXY, MASTERS)
