"""The source against an API server over HTTP: what may be had is used, what may not is told of."""

import contextlib

import pytest
from aiohttp import web

from adapter.config import KubernetesSettings
from adapter.discovery.source import cluster_source
from adapter.kube.watch import Pace
from tests.helpers.fake_cluster import failure, transport_to
from tests.helpers.kube_objects import deployment, hpa, node, pod

HPAS = "/apis/autoscaling/v2/horizontalpodautoscalers"
PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
ABSENT = ("keda.sh", "leaderworkerset.x-k8s.io", "llmd.ai")


class Api:
    """Collections; those of groups that aren't installed are 404, the `forbidden` ones 403."""

    def __init__(self) -> None:
        self.items = {
            HPAS: [hpa()],
            "/apis/apps/v1/deployments": [deployment()],
            PODS: [pod(), pod("done", phase="Failed")],
            NODES: [node(), node("plain", gpus=0)],
        }
        self.forbidden: set[str] = set()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        if any(f"/{group}/" in request.path for group in ABSENT):
            return web.Response(status=404, text="404 page not found\n")
        if request.path in self.forbidden:
            return failure(403, "Forbidden", f"you can't list {request.path}")
        if request.query.get("watch") == "true":
            return web.Response()  # ends at once
        return web.json_response(
            {"metadata": {"resourceVersion": "5"}, "items": self.items.get(request.path, [])}
        )


@pytest.fixture
async def api():
    one = Api()
    app = web.Application()
    app.router.add_get("/{path:.*}", one.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


@contextlib.asynccontextmanager
async def source_of(api: Api, **settings):
    pace = Pace(lambda: 1.0, first_s=0.2, most_s=0.2)
    async with (
        transport_to(api.url, timeout_s=2.0) as transport,
        cluster_source(transport, KubernetesSettings(**settings), pace=pace) as source,
    ):
        yield source


async def test_the_first_view_is_whole(api):
    async with source_of(api) as source:
        seen = source.view()
        assert [each.metadata.name for each in seen.hpas] == ["chat"]
        assert list(seen.workloads) == [("default", ("Deployment", "chat"))]
        assert [each.name for each in seen.pods] == ["chat-6f7-abcde"]
        assert [each.accelerator for each in seen.nodes] == ["H100"]
        assert seen.problems == ()


async def test_the_view_is_the_same_until_something_changes(api):
    async with source_of(api) as source:
        assert source.view() is source.view()


async def test_pods_that_are_over_are_not_asked_for(api):
    async with source_of(api):
        selectors = [query.get("fieldSelector") for path, query in api.asked if path == PODS]
        assert set(selectors) == {"status.phase!=Succeeded,status.phase!=Failed"}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        pytest.param(NODES, "accelerators are taken as unlimited", id="nodes"),
        pytest.param(PODS, "engines can't be found", id="pods"),
        pytest.param(HPAS, "variants annotated on HPAs", id="HPAs"),
    ],
)
async def test_what_may_not_be_listed_is_told_of_and_the_rest_goes_on(api, path, told):
    api.forbidden = {path}
    async with source_of(api) as source:
        seen = source.view()
        assert [each.source for each in seen.problems] == [f"kubernetes {path}"]
        assert "403 Forbidden" in seen.problems[0].message
        assert told in seen.problems[0].message
        assert seen.workloads
        assert (seen.nodes is None, seen.pods is None) == (path == NODES, path == PODS)


async def test_with_namespaces_only_those_are_asked_for(api):
    namespaced = "/apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers"
    api.items[namespaced] = [hpa(namespace="a")]
    async with source_of(api, namespaces=("a", "b")) as source:
        assert [each.metadata.namespace for each in source.view().hpas] == ["a"]
        paths = {path for path, _ in api.asked}
        assert namespaced in paths
        assert HPAS not in paths
        assert NODES in paths
