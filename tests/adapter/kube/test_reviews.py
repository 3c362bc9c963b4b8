"""The reviewer against a stand-in for kube-apiserver on a real listener."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from adapter.errors import ConfigError, KubeApiError, KubeUnavailableError
from adapter.kube.identity import AccessQuery, Identity
from adapter.kube.reviews import KubeReviewer
from adapter.kube.transport import KubeTransport, connect

BOB = Identity("bob", uid="7", groups=("dev",), extra=(("scopes", ("a", "b")),))
READ = AccessQuery(
    verb="list", namespace="lab", group="external.metrics.k8s.io", version="v1beta1", resource="m1"
)
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
TRUST = f"{CONFIG_MAPS}/extension-apiserver-authentication"


class FakeApiServer:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[Any] = []
        self.config_map: dict[str, Any] | None = None
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.hang = False

    def will(self, code: int, body: Any) -> None:
        self.answers.append((code, body))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, body))
        self.headers.append(request.headers)
        if self.hang:
            await asyncio.sleep(30)
        if request.path == CONFIG_MAPS:
            return await self._watch(request)
        if request.path == TRUST and not self.answers:
            if self.config_map is None:
                status = {"kind": "Status", "reason": "NotFound", "message": "not found"}
                return web.json_response(status, status=404)
            return web.json_response(self.config_map)
        code, answer = self.answers.pop(0)
        if isinstance(answer, bytes):
            return web.Response(status=code, body=answer)
        return web.json_response(answer, status=code)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(event)
        return response


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    fake = FakeApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@contextlib.asynccontextmanager
async def reviewing(
    url: str, *, timeout_s: float = 5.0, **changes: Any
) -> AsyncIterator[KubeReviewer]:
    configuration = client.Configuration()
    configuration.host = url
    configuration.api_key = {"BearerToken": "Bearer ours"}
    async with client.ApiClient(configuration) as api_client:
        transport = KubeTransport(api_client, timeout_s=timeout_s)
        yield KubeReviewer(
            transport, **{"retry_pauses_s": (0.001, 0.001), "watch_s": 5.0, **changes}
        )


class TestTokenReview:
    async def test_a_good_token(self, api):
        api.will(
            201,
            {
                "status": {
                    "authenticated": True,
                    "user": {
                        "username": "bob",
                        "uid": "7",
                        "groups": ["dev"],
                        "extra": {"scopes": ["a", "b"]},
                    },
                }
            },
        )
        async with reviewing(api.url) as reviewer:
            assert await reviewer.review_token("t") == BOB
        ((method, path, body),) = api.requests
        assert (method, path) == ("POST", TOKENS)
        assert body == {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": "t"},
        }
        assert api.headers[0]["Authorization"] == "Bearer ours"

    @pytest.mark.parametrize(
        "status",
        [
            pytest.param({"error": "invalid bearer token", "user": {}}, id="as-the-server-says-it"),
            pytest.param({"authenticated": False, "user": {"username": "bob"}}, id="told-outright"),
            pytest.param({"authenticated": "yes", "user": {"username": "bob"}}, id="not-a-boolean"),
            pytest.param({"authenticated": True}, id="no-user"),
        ],
    )
    async def test_anything_but_a_clear_yes_is_a_no(self, api, status):
        api.will(201, {"status": status})
        async with reviewing(api.url) as reviewer:
            assert await reviewer.review_token("t") is None


class TestAccessReview:
    async def test_the_question_on_a_resource(self, api):
        api.will(201, {"status": {"allowed": True}})
        async with reviewing(api.url) as reviewer:
            assert await reviewer.review_access(BOB, READ)
        ((method, path, body),) = api.requests
        assert (method, path) == ("POST", ACCESS)
        assert body == {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "bob",
                "uid": "7",
                "groups": ["dev"],
                "extra": {"scopes": ["a", "b"]},
                "resourceAttributes": {
                    "namespace": "lab",
                    "verb": "list",
                    "group": "external.metrics.k8s.io",
                    "version": "v1beta1",
                    "resource": "m1",
                },
            },
        }

    async def test_the_question_on_a_path(self, api):
        api.will(201, {"status": {"allowed": False}})
        async with reviewing(api.url) as reviewer:
            assert not await reviewer.review_access(BOB, AccessQuery(verb="get", path="/metrics"))
        assert api.requests[0][2]["spec"]["nonResourceAttributes"] == {
            "path": "/metrics",
            "verb": "get",
        }

    @pytest.mark.parametrize(
        "status", [{"allowed": True, "denied": True}, {}, {"allowed": "true"}, {"allowed": None}]
    )
    async def test_anything_but_a_clear_yes_is_a_no(self, api, status):
        api.will(201, {"status": status})
        async with reviewing(api.url) as reviewer:
            assert not await reviewer.review_access(BOB, READ)


class TestFailures:
    @pytest.mark.parametrize(
        ("code", "body"),
        [
            pytest.param(500, {"kind": "Status", "message": "etcd"}, id="500"),
            pytest.param(503, b"unavailable", id="503-text"),
            pytest.param(429, {"message": "slow down"}, id="429"),
            pytest.param(201, b"<html>", id="not-json"),
            pytest.param(201, b"[]", id="not-an-object"),
            pytest.param(201, {"kind": "SubjectAccessReview"}, id="no-status"),
        ],
    )
    async def test_unavailable_is_tried_again_and_then_told(self, api, code, body):
        for _ in range(3):
            api.will(code, body)
        api.will(201, {"status": {"allowed": True}})
        async with reviewing(api.url) as reviewer:
            with pytest.raises(KubeUnavailableError):
                await reviewer.review_access(BOB, READ)
            assert len(api.requests) == 3
            assert await reviewer.review_access(BOB, READ)

    async def test_a_short_outage_goes_unnoticed(self, api):
        api.will(503, {})
        api.will(503, {})
        api.will(201, {"status": {"allowed": True}})
        async with reviewing(api.url) as reviewer:
            assert await reviewer.review_access(BOB, READ)

    async def test_a_refusal_is_not_tried_again_and_keeps_its_words(self, api):
        api.will(403, {"kind": "Status", "reason": "Forbidden", "message": "cannot create"})
        async with reviewing(api.url) as reviewer:
            with pytest.raises(KubeApiError, match="cannot create") as caught:
                await reviewer.review_token("secret-token")
        assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
        assert "secret-token" not in str(caught.value)
        assert len(api.requests) == 1

    async def test_nobody_there(self):
        async with reviewing("http://127.0.0.1:1") as reviewer:
            with pytest.raises(KubeUnavailableError, match="POST /apis/authentication"):
                await reviewer.review_token("t")

    async def test_an_answer_that_never_comes(self, api):
        api.hang = True
        async with reviewing(api.url, timeout_s=0.05, retry_pauses_s=()) as reviewer:
            with pytest.raises(KubeUnavailableError, match="Timeout"):
                await reviewer.review_token("t")


def config_map(version: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "data": data}


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


class TestTrustSettings:
    async def test_they_come_at_once_and_after_each_change(self, api):
        api.config_map = config_map("5", a="1")
        async with reviewing(api.url) as reviewer:
            settings = reviewer.trust_settings()
            assert await anext(settings) == {"a": "1"}
            api.events.put_nowait(event("MODIFIED", config_map("6", a="2")))
            assert await anext(settings) == {"a": "2"}
            api.events.put_nowait(b"\n" + event("ADDED", config_map("7")))
            assert await anext(settings) == {}
            await settings.aclose()
        api.events.put_nowait(None)
        (_, first, _), (_, second, _) = api.requests
        assert first == TRUST
        assert "fieldSelector=metadata.name%3Dextension-apiserver-authentication" in second
        assert "resourceVersion=5" in second
        assert "watch=true" in second

    @pytest.mark.parametrize(
        "last",
        [
            pytest.param(None, id="the-server-ends-it"),
            pytest.param(event("DELETED", config_map("6")), id="deleted"),
            pytest.param(event("ERROR", {"code": 410}), id="too-old"),
        ],
    )
    async def test_they_end_with_the_watch(self, api, last):
        api.config_map = config_map("5", a="1")
        async with reviewing(api.url) as reviewer:
            settings = reviewer.trust_settings()
            assert await anext(settings) == {"a": "1"}
            api.events.put_nowait(last)
            with pytest.raises(StopAsyncIteration):
                await anext(settings)
        api.events.put_nowait(None)

    async def test_an_absent_config_map(self, api):
        async with reviewing(api.url) as reviewer:
            with pytest.raises(KubeApiError, match="404 NotFound"):
                await anext(reviewer.trust_settings())

    @pytest.mark.parametrize("line", [b"not json\n", b"[]\n"])
    async def test_a_broken_event(self, api, line):
        api.config_map = config_map("5")
        async with reviewing(api.url) as reviewer:
            settings = reviewer.trust_settings()
            await anext(settings)
            api.events.put_nowait(line)
            with pytest.raises(KubeUnavailableError):
                await anext(settings)
        api.events.put_nowait(None)

    async def test_a_watch_that_says_nothing_ends_in_time(self, api):
        api.config_map = config_map("5")
        async with reviewing(api.url, watch_s=0.01, timeout_s=0.05) as reviewer:
            settings = reviewer.trust_settings()
            await anext(settings)
            with pytest.raises(KubeUnavailableError, match="Timeout"):
                await anext(settings)
        api.events.put_nowait(None)


class TestConnecting:
    async def test_with_a_kubeconfig(self, api, tmp_path, monkeypatch):
        path = tmp_path / "config"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                    "clusters": [{"name": "k", "cluster": {"server": api.url}}],
                    "users": [{"name": "u", "user": {"token": "mine"}}],
                }
            )
        )
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        api.will(201, {"status": {"allowed": True}})
        async with connect() as transport:
            assert await KubeReviewer(transport).review_access(BOB, READ)
        assert api.headers[0]["Authorization"] == "Bearer mine"
        assert api.headers[0]["User-Agent"] == "wva-adapter"

    async def test_with_nothing_the_error_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
            str(tmp_path / "none"),
        )
        with pytest.raises(ConfigError, match=r"KUBECONFIG.*api\.auth: none"):
            async with connect():
                pass
