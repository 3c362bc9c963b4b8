"""An API server for units: objects with resourceVersions on a real listener, and its faults.

It keeps the rules that writers depend on: 404, 409 on an old resourceVersion or a name that
is taken, label selectors, server-side apply with its conflicts by field manager. What it
leaves out is checked against the real thing in tests/end_to_end/control_plane.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web
from kubernetes.aio import client

from adapter.kube.transport import KubeTransport

Fault = Callable[[str, str], "web.Response | None"]


class FakeCluster:
    """Objects by path."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.fault: Fault | None = None
        self.delay_s = 0.0
        self.cut = False
        self.now = datetime(2027, 1, 1, tzinfo=UTC)
        self.url = ""
        self._versions = itertools.count(1)

    def put(self, path: str, document: dict[str, Any], *, manager: str = "other") -> None:
        """Store an object as somebody else would."""
        metadata = {"name": path.rpartition("/")[2], **document.get("metadata", {})}
        metadata["managedFields"] = [{"manager": manager, "time": self._time()}]
        self.objects[path] = self._versioned({**document, "metadata": metadata})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path))
        self.bodies.append(body)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.cut:
            assert request.transport is not None
            request.transport.abort()
        response = self.fault(request.method, request.path) if self.fault else None
        response = response or self._answer(request, body)
        response.headers["Date"] = format_datetime(self.now, usegmt=True)
        return response

    def _answer(self, request: web.Request, body: Any) -> web.Response:
        handler = {
            "GET": self._get,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }[request.method]
        return handler(request, body)

    def _get(self, request: web.Request, _body: Any) -> web.Response:
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        if not _is_folder(request.path):
            return failure(404, "NotFound", f"{request.path} not found")
        wanted = dict(
            term.split("=", 1) for term in request.query.get("labelSelector", "").split(",") if term
        )
        items = [
            each
            for path, each in sorted(self.objects.items())
            if path.rpartition("/")[0] == request.path
            and wanted.items() <= (each["metadata"].get("labels") or {}).items()
        ]
        return web.json_response({"kind": "List", "metadata": {}, "items": items})

    def _post(self, request: web.Request, body: Any) -> web.Response:
        path = f"{request.path}/{body['metadata']['name']}"
        if path in self.objects:
            return failure(409, "AlreadyExists", f"{path} already exists")
        return self._stored(path, body, request.query.get("fieldManager", "unknown"), 201)

    def _put(self, request: web.Request, body: Any) -> web.Response:
        old = self.objects.get(request.path)
        if old is None:
            return failure(404, "NotFound", f"{request.path} not found")
        given = body["metadata"].get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified")
        return self._stored(request.path, body, request.query.get("fieldManager", "unknown"), 200)

    def _patch(self, request: web.Request, body: Any) -> web.Response:
        path = request.path.removesuffix("/status")
        if request.content_type == "application/merge-patch+json":
            if path not in self.objects:
                return failure(404, "NotFound", f"{path} not found")
            return self._stored(path, _merged(self.objects[path], body), "unknown", 200)
        assert request.content_type == "application/apply-patch+yaml"
        if path != request.path and path not in self.objects:
            return failure(404, "NotFound", f"{path} not found")
        manager = request.query["fieldManager"]
        old = self.objects.get(path, {"metadata": {}})
        given = body["metadata"].get("resourceVersion")
        if given and given != old["metadata"].get("resourceVersion"):
            return failure(409, "Conflict", "the object has been modified")
        owners = {each["manager"] for each in old["metadata"].get("managedFields", [])}
        if owners - {manager} and request.query.get("force") != "true":
            return failure(409, "Conflict", f"conflict with {sorted(owners - {manager})}")
        return self._stored(path, _merged(old, body), manager, 200)

    def _delete(self, request: web.Request, _body: Any) -> web.Response:
        if self.objects.pop(request.path, None) is None:
            return failure(404, "NotFound", f"{request.path} not found")
        return web.json_response({"kind": "Status", "status": "Success"})

    def _stored(self, path: str, body: dict[str, Any], manager: str, code: int) -> web.Response:
        old = self.objects.get(path, {}).get("metadata", {}).get("managedFields", [])
        fields = [each for each in old if each["manager"] != manager]
        metadata = {**body["metadata"], "uid": f"uid-of-{path.rpartition('/')[2]}"}
        metadata["managedFields"] = [*fields, {"manager": manager, "time": self._time()}]
        self.objects[path] = self._versioned({**body, "metadata": metadata})
        return web.json_response(self.objects[path], status=code)

    def _versioned(self, document: dict[str, Any]) -> dict[str, Any]:
        version = str(next(self._versions))
        return json.loads(
            json.dumps(
                {**document, "metadata": {**document["metadata"], "resourceVersion": version}}
            )
        )

    def _time(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def failure(code: int, reason: str, message: str) -> web.Response:
    status = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(status, status=code)


def _is_folder(path: str) -> bool:
    return path.rstrip("/").rpartition("/")[2] in {
        "configmaps",
        "secrets",
        "leases",
        "apiservices",
        "clusterroles",
        "events",
    }


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        merged = {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
        return {key: value for key, value in merged.items() if value is not None}
    return new


@contextlib.asynccontextmanager
async def fake_cluster() -> AsyncIterator[FakeCluster]:
    fake = FakeCluster()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def transport_to(url: str, *, timeout_s: float = 5.0) -> AsyncIterator[KubeTransport]:
    configuration = client.Configuration()
    configuration.host = url
    configuration.api_key = {"BearerToken": "Bearer ours"}
    async with client.ApiClient(configuration) as api_client:
        yield KubeTransport(api_client, timeout_s=timeout_s)
