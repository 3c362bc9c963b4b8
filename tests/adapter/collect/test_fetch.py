"""Whatever a server does, a GET ends in time, within bounds, with a reason."""

import asyncio
import gzip
import inspect
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from adapter.collect.fetch import METRICS_ACCEPT, Failure, Fetched, Fetcher, failure_of
from adapter.errors import (
    SourceError,
    SourceMalformedError,
    SourceRejectedError,
    SourceUnavailableError,
)
from adapter.records import Reason
from tests.helpers.pages import Answer, PageServer, cut, hang, page, reset

LIMIT = 100_000


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    one = Fetcher()
    await one.open()
    yield one
    await one.close()


async def get(fetcher: Fetcher, url: str, *, timeout_s: float = 0.3) -> Fetched | Failure:
    return await fetcher.get(
        url, timeout_s=timeout_s, max_bytes=LIMIT, headers={"Accept": METRICS_ACCEPT}
    )


async def test_a_good_answer_is_its_body(fetcher: Fetcher) -> None:
    async with PageServer({"/metrics": page("a 1\n")}) as server:
        assert await get(fetcher, server.url + "/metrics") == Fetched(b"a 1\n", "text/plain")
        head = server.heads[0]
    assert "Accept: text/plain;version=0.0.4\r\n" in head
    assert "Accept-Encoding: identity\r\n" in head


async def test_a_connection_is_kept(fetcher: Fetcher) -> None:
    async with PageServer({"/metrics": page("a 1\n")}) as server:
        for _ in range(3):
            await get(fetcher, server.url + "/metrics")
        assert server.connections == 1


BOMB = gzip.compress(b"a" * 50_000_000)
MISDEEDS = [
    pytest.param(page("", "500 Internal Server Error"), Reason.HTTP_STATUS, SourceUnavailableError, id="500"),
    pytest.param(page("", "503 Service Unavailable"), Reason.HTTP_STATUS, SourceUnavailableError, id="503"),
    pytest.param(page("", "404 Not Found"), Reason.HTTP_STATUS, SourceRejectedError, id="404"),
    pytest.param(page("", "401 Unauthorized"), Reason.HTTP_STATUS, SourceRejectedError, id="401"),
    pytest.param(page("", "204 No Content"), Reason.HTTP_STATUS, SourceRejectedError, id="204"),
    pytest.param(page("", "302 Found", Location="/other"), Reason.HTTP_STATUS, SourceRejectedError, id="redirect"),
    pytest.param(hang(), Reason.TIMEOUT, SourceUnavailableError, id="hang"),
    pytest.param(Answer(page("a 1\n").head, hang=True), Reason.TIMEOUT, SourceUnavailableError, id="hang-after-the-head"),
    pytest.param(reset(), Reason.RESET, SourceUnavailableError, id="reset"),
    pytest.param(cut("a 1\n" * 100), Reason.MALFORMED, SourceMalformedError, id="half-a-body"),
    pytest.param(Answer(b"this is not HTTP\r\n\r\n"), Reason.MALFORMED, SourceMalformedError, id="not-http"),
    pytest.param(Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Reason.MALFORMED, SourceMalformedError, id="bad-chunk"),
    pytest.param(page(b"a" * (LIMIT + 1)), Reason.MALFORMED, SourceMalformedError, id="oversized"),
    pytest.param(Answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"a" * 200_000), Reason.MALFORMED, SourceMalformedError, id="oversized-without-a-length"),
    pytest.param(page(BOMB, Content_Encoding="gzip"), Reason.MALFORMED, SourceMalformedError, id="gzip-bomb"),
    pytest.param(page(b"\x1f\x8b not gzip", Content_Encoding="gzip"), Reason.MALFORMED, SourceMalformedError, id="not-gzip"),
    pytest.param(page(gzip.compress(b"a 1\n" * 99)[:-20], Content_Encoding="gzip"), Reason.MALFORMED, SourceMalformedError, id="half-a-gzip"),
    pytest.param(page(b"a 1\n", Content_Encoding="br"), Reason.MALFORMED, SourceMalformedError, id="unasked-encoding"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reason", "kind"), MISDEEDS)
async def test_a_misdeed_has_its_reason(
    fetcher: Fetcher, answer: Answer, reason: Reason, kind: type[SourceError]
) -> None:
    async with PageServer({"/metrics": answer}) as server:
        found = await get(fetcher, server.url + "/metrics")
        assert isinstance(found, Failure)
        assert found.reason is reason
        assert type(found.error) is kind
        assert found.error.source == server.url + "/metrics"
        assert "/other" not in server.requests
        # The session lives on: the next server is read as if nothing had been.
        async with PageServer({"/metrics": page("a 1\n")}) as well:
            assert isinstance(await get(fetcher, well.url + "/metrics"), Fetched)


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
async def test_a_compressed_answer_is_unpacked(fetcher: Fetcher, encode) -> None:
    name = "gzip" if encode is gzip.compress else "deflate"
    answer = page(encode(b"a 1\n" * 1000), Content_Encoding=name)
    async with PageServer({"/metrics": answer}) as server:
        found = await get(fetcher, server.url + "/metrics")
    assert isinstance(found, Fetched)
    assert found.body == b"a 1\n" * 1000


async def test_nobody_there_is_unreachable(fetcher: Fetcher) -> None:
    async with PageServer() as server:
        url = server.url
    found = await get(fetcher, url + "/metrics")
    assert isinstance(found, Failure)
    assert found.reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    ["http://", "http://nowhere.invalid/metrics", "http://127.0.0.1:99999/", "http://[::1/", "nonsense"],
)  # fmt: skip
async def test_an_address_that_is_none_is_unreachable(fetcher: Fetcher, url: str) -> None:
    found = await get(fetcher, url)
    assert isinstance(found, Failure)
    assert found.reason is Reason.UNREACHABLE


async def test_cancelling_is_not_swallowed(fetcher: Fetcher) -> None:
    async with PageServer({"/metrics": hang()}) as server:
        task = asyncio.create_task(get(fetcher, server.url + "/metrics", timeout_s=30.0))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def _client_errors() -> list[type[Exception]]:
    members = inspect.getmembers(aiohttp, inspect.isclass)
    return [kind for _, kind in members if issubclass(kind, aiohttp.ClientError)]


@pytest.mark.parametrize("kind", _client_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_is_one_of_ours(kind: type[Exception]) -> None:
    # Built without its arguments, of which some need a connection; so it can't be written.
    mute = type(kind.__name__, (kind,), {"__str__": lambda _: "broken"})
    found = failure_of("http://pod/metrics", mute.__new__(mute))
    known = {Reason.UNREACHABLE, Reason.RESET, Reason.MALFORMED, Reason.TIMEOUT}
    assert found.reason in known
    assert isinstance(found.error, SourceError)
