"""List and watch over real HTTP: a set that is never emptied by a fault."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from adapter.kube.watch import Pace, Watched
from tests.helpers.fake_cluster import failure, transport_to

PATH = "/apis/apps/v1/deployments"
CUT = object()  # breaks the connection


def item(name: str, version: int = 1, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "resourceVersion": str(version)}
    return {"metadata": metadata, **fields}


def event(kind: str, *arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "object": item(*arguments, **fields)}


class Api:
    """A collection whose lists and watches a test writes, one entry a request."""

    def __init__(self) -> None:
        self.lists: list[Any] = []
        self.watches: list[list[Any]] = []
        self.asked: list[dict[str, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if request.query.get("watch") != "true":
            answer = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
            return answer if isinstance(answer, web.Response) else web.json_response(answer)
        return await self._watch(request, self.watches.pop(0) if self.watches else [None])

    async def _watch(self, request: web.Request, script: list[Any]) -> web.StreamResponse:
        if script and isinstance(script[0], web.Response):
            return script[0]
        response = web.StreamResponse()
        await response.prepare(request)
        for step in script:
            if step is None:  # nothing more to say
                await asyncio.sleep(30)
            elif step is CUT:
                assert request.transport is not None
                request.transport.abort()
            else:
                raw = step if isinstance(step, bytes) else json.dumps(step).encode()
                await response.write(raw + b"\n")
        return response


def listed(*items: dict[str, Any], version: int = 10, token: str = "") -> dict[str, Any]:
    metadata = {"resourceVersion": str(version), **({"continue": token} if token else {})}
    return {"kind": "List", "metadata": metadata, "items": list(items)}


@pytest.fixture
async def api():
    one = Api()
    app = web.Application()
    app.router.add_get(PATH, one.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


@contextlib.asynccontextmanager
async def watching(api: Api, reduce: Callable[..., Any] = lambda each: each.get("v", 0)):
    async with transport_to(api.url, timeout_s=2.0) as transport:
        pace = Pace(lambda: 0.0, watch_s=20.0, first_s=0.01, most_s=0.05)
        watched = Watched(transport, PATH, reduce=reduce, pace=pace)
        running = asyncio.ensure_future(watched.run())
        try:
            yield watched
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


def names(watched: Watched[Any]) -> set[str]:
    return {name for _, name in watched.objects or {}}


async def test_pages_make_one_list(api):
    api.lists = [listed(item("a"), token="more"), listed(item("b"), version=12)]
    async with watching(api) as watched:
        await until(lambda: watched.objects is not None)
        assert watched.objects == {("ns", "a"): 0, ("ns", "b"): 0}
        assert (watched.problem, watched.version) == ("", 1)
        await until(lambda: len(api.asked) == 3)
        assert api.asked[1]["continue"] == "more"
        assert api.asked[2]["resourceVersion"] == "12"
        assert api.asked[2]["allowWatchBookmarks"] == "true"


async def test_changes_are_followed(api):
    api.lists = [listed(item("a"), item("b"))]
    api.watches = [
        [event("ADDED", "c", 11), event("MODIFIED", "a", 12, v=7), event("DELETED", "b", 13), None]
    ]
    async with watching(api) as watched:
        await until(lambda: watched.version == 4)
        assert watched.objects == {("ns", "a"): 7, ("ns", "c"): 0}


async def test_what_is_not_kept_changes_nothing(api):
    api.lists = [listed(item("a"))]
    api.watches = [[event("MODIFIED", "a", 11, noise=1), event("MODIFIED", "a", 12, v=1), None]]
    async with watching(api) as watched:
        await until(lambda: watched.objects == {("ns", "a"): 1})
        assert watched.version == 2


async def test_objects_that_reduce_to_nothing_are_left_out_and_leave(api):
    api.lists = [listed(item("a", v=1), item("b"))]
    api.watches = [[event("MODIFIED", "a", 11), None]]
    async with watching(api, reduce=lambda each: each.get("v")) as watched:
        await until(lambda: watched.objects is not None)
        await until(lambda: watched.objects == {})


@pytest.mark.parametrize("end", [[], [CUT]], ids=["ended", "cut"])
async def test_a_watch_goes_on_where_it_was(api, end):
    api.lists = [listed(item("a"))]
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "57"}}}
    api.watches = [[event("ADDED", "b", 11), bookmark, *end], [event("ADDED", "c", 58), None]]
    async with watching(api) as watched:
        await until(lambda: names(watched) == {"a", "b", "c"})
        versions = [asked["resourceVersion"] for asked in api.asked if "watch" in asked]
        assert versions[:2] == ["10", "57"]
        assert sum("watch" not in asked for asked in api.asked) == 1
        assert watched.problem == ""


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param([{"type": "ERROR", "object": GONE}], id="as an event"),
        pytest.param([failure(410, "Expired", "too old")], id="as a status"),
    ],
)
async def test_a_history_that_is_gone_is_read_anew(api, gone):
    api.lists = [listed(item("a"), item("b")), listed(item("b"), item("c"), version=99)]
    api.watches = [gone, [None]]
    async with watching(api) as watched:
        await until(lambda: names(watched) == {"b", "c"})
        await until(lambda: len(api.asked) == 4)
        assert api.asked[-1]["resourceVersion"] == "99"


async def test_an_expired_page_starts_the_list_again(api):
    api.lists = [
        listed(item("a"), token="more"),
        failure(410, "Expired", "the token is too old"),
        listed(item("b")),
    ]
    async with watching(api) as watched:
        await until(lambda: watched.objects is not None)
        assert names(watched) == {"b"}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(failure(403, "Forbidden", "you may not"), "403 Forbidden", id="forbidden"),
        pytest.param(failure(500, "InternalError", "oops"), "500: ", id="error"),
        pytest.param(failure(429, "TooManyRequests", "slow"), "429: ", id="too many"),
        pytest.param(failure(404, "NotFound", "gone"), "404 NotFound", id="the CRD went"),
        pytest.param(web.Response(body=b"<html>"), "not JSON", id="garbage"),
        pytest.param(web.Response(body=b"[]"), "not an object", id="no object"),
        pytest.param(web.json_response({"items": {}}), "not a list", id="no list"),
    ],
)
async def test_a_list_that_fails_empties_nothing(api, fault, told):
    api.lists = [listed(item("a")), fault]
    api.watches = [[{"type": "ERROR", "object": GONE}]]
    async with watching(api) as watched:
        await until(lambda: watched.problem)
        assert told in watched.problem
        assert names(watched) == {"a"}
        assert not watched.absent


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"{garbage", id="no JSON"),
        pytest.param(b'{"type": "ADDED"}', id="no object"),
        pytest.param(b'{"type": "ERROR", "object": {"code": 500}}', id="error"),
    ],
)
async def test_an_event_that_cannot_be_read_empties_nothing(api, line):
    api.lists = [listed(item("a"))]
    api.watches = [[line], [event("ADDED", "b", 11), None]]
    async with watching(api) as watched:
        await until(lambda: names(watched) == {"a", "b"})


async def test_a_resource_that_is_not_there_is_absent(api):
    api.lists = [failure(404, "NotFound", "the server could not find the requested resource")]
    async with watching(api) as watched:
        await asyncio.wait_for(watched.tried.wait(), 10)
        assert watched.absent
        assert watched.objects is None


async def test_a_right_that_is_given_later_is_used(api):
    api.lists = [failure(403, "Forbidden", "you may not"), listed(item("a"))]
    async with watching(api) as watched:
        await until(lambda: watched.objects is not None)
        assert (names(watched), watched.problem) == ({"a"}, "")


async def test_an_api_server_that_is_away_is_waited_for():
    async with transport_to("http://127.0.0.1:9", timeout_s=1.0) as transport:
        pace = Pace(lambda: 0.0, first_s=0.01, most_s=0.01)
        watched = Watched(transport, PATH, reduce=dict, pace=pace)
        running = asyncio.ensure_future(watched.run())
        await asyncio.wait_for(watched.tried.wait(), 10)
        assert watched.objects is None
        assert watched.problem
        running.cancel()


@pytest.mark.parametrize(
    ("failures", "random", "pause_s"),
    [(1, 0.0, 0.25), (1, 1.0, 0.5), (3, 1.0, 2.0), (9, 1.0, 30.0), (5000, 0.5, 22.5)],
)
def test_pauses_double_up_to_a_bound_and_are_spread(failures, random, pause_s):
    assert Pace(lambda: random).pause_s(failures) == pause_s
