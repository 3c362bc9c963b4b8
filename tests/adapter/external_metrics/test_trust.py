import asyncio
import logging

import pytest

from adapter.errors import ConfigError, KubeApiError
from adapter.external_metrics.trust import TrustKeeper, parse_trust
from tests.helpers.pki import TestAuthority
from tests.helpers.reviewer import FakeReviewer, trust_data

PROXY_CA = TestAuthority("front-proxy-ca")
CLIENT_CA = TestAuthority("kubernetes")


def data(**changes: str) -> dict[str, str]:
    names = trust_data(front_proxy=PROXY_CA.pem, clients=CLIENT_CA.pem, names=["proxy"])
    return {**names, **changes}


class TestParsing:
    def test_what_a_cluster_says(self):
        trust = parse_trust(data())
        assert trust.allowed_names == {"proxy"}
        assert trust.username_headers == (b"x-remote-user",)
        assert trust.group_headers == (b"x-remote-group",)
        assert trust.extra_prefixes == (b"x-remote-extra-",)
        assert trust.uid_headers == ()
        assert trust.authorities_pem.count("BEGIN CERTIFICATE") == 2

    def test_without_aggregation_there_is_no_front_proxy(self):
        trust = parse_trust({"client-ca-file": CLIENT_CA.pem})
        assert trust.front_proxy is None
        assert trust.clients is not None
        assert trust.username_headers == ()

    def test_nothing_at_all_trusts_nobody(self):
        assert parse_trust({}).authorities_pem == ""

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            pytest.param("requestheader-allowed-names", "[", "not JSON", id="not-json"),
            pytest.param("requestheader-allowed-names", '"a"', "not a list", id="not-a-list"),
            pytest.param(
                "requestheader-group-headers", "[1]", "not a list of strings", id="numbers"
            ),
            pytest.param(
                "client-ca-file", "garbage", "client-ca-file is not a bundle", id="not-pem"
            ),
        ],
    )
    def test_faults_name_the_key(self, key, value, message):
        with pytest.raises(ConfigError, match=message):
            parse_trust(data(**{key: value}))


class Keeping:
    """A keeper that runs for the length of a test."""

    def __init__(self, source: FakeReviewer) -> None:
        self.source = source
        self.changes = []
        self.keeper = TrustKeeper(source, changed=self.changes.append, retry_s=(0.001, 0.002))

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.keeper.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)


async def test_the_config_map_is_followed():
    async with Keeping(FakeReviewer(data())) as kept:
        await kept.until(lambda: kept.keeper.trust)
        assert kept.keeper.problem == ""
        kept.source.set_trust(data(**{"requestheader-allowed-names": "[]"}))
        await kept.until(lambda: kept.keeper.trust.allowed_names == frozenset())
        assert len(kept.changes) == 2


async def test_an_absent_config_map_is_said_once_and_tried_again(caplog):
    caplog.set_level(logging.ERROR)
    async with Keeping(FakeReviewer(None)) as kept:
        await asyncio.sleep(0.02)
        assert kept.keeper.trust is None
        assert "extension-apiserver-authentication can't be used" in kept.keeper.problem
        assert "extension-apiserver-authentication-reader" in kept.keeper.problem
        assert len(caplog.records) == 1
        kept.source.set_trust(data())
        await kept.until(lambda: kept.keeper.trust)
        assert kept.keeper.problem == ""


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(None, id="deleted"),
        pytest.param(data(**{"client-ca-file": "garbage"}), id="broken"),
    ],
)
async def test_what_was_good_stays_in_force(bad, caplog):
    async with Keeping(FakeReviewer(data())) as kept:
        await kept.until(lambda: kept.keeper.trust)
        trust = kept.keeper.trust
        kept.source.set_trust(bad)
        await kept.until(lambda: any("stays in force" in r.getMessage() for r in caplog.records))
        assert kept.keeper.trust is trust
        assert kept.keeper.problem == ""


async def test_a_source_that_ends_at_once_is_not_asked_in_a_spin():
    class Ending(FakeReviewer):
        reads = 0

        async def trust_settings(self):
            self.reads += 1
            yield data()

    source = Ending()
    keeper = TrustKeeper(source, changed=lambda _: None, retry_s=(10.0,))
    task = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0.02)
    task.cancel()
    assert source.reads == 1
    assert keeper.trust is not None


async def test_a_missing_front_proxy_is_a_warning(caplog):
    caplog.set_level(logging.WARNING)
    async with Keeping(FakeReviewer({"client-ca-file": CLIENT_CA.pem})) as kept:
        await kept.until(lambda: kept.keeper.trust)
        assert "names no front proxy" in caplog.text


async def test_an_error_that_is_not_ours_ends_the_keeper():
    class Broken(FakeReviewer):
        async def trust_settings(self):
            raise KubeApiError(403, "Forbidden", "no") if self.down else RuntimeError("a bug")
            yield {}

    with pytest.raises(RuntimeError, match="a bug"):
        await TrustKeeper(Broken(), changed=lambda _: None).run()
