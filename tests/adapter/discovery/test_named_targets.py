"""Scale targets of any kind and endpoints of Services, against an API server over HTTP."""

import asyncio
import contextlib
from typing import Any

import pytest
from aiohttp import web

from adapter.config import KubernetesSettings, parse_settings
from adapter.discovery.source import cluster_source
from adapter.discovery.workloads import NamedTarget
from adapter.discovery.world import join
from adapter.kube.watch import Pace
from tests.helpers.fake_cluster import failure, transport_to
from tests.helpers.kube_objects import deployment, engine, hpa, pod

GROUP = "/apis/argoproj.io/v1alpha1"
ROLLOUT = f"{GROUP}/namespaces/default/rollouts/chat"
SCALE = f"{ROLLOUT}/scale"
PODS = "/api/v1/namespaces/default/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
TARGET = NamedTarget(
    namespace="default", api_version="argoproj.io/v1alpha1", kind="Rollout", name="chat"
)


def rollout(**spec: Any) -> dict[str, Any]:
    template = deployment(containers=[engine("--max-num-seqs=16", gpus=2)])["spec"]["template"]
    return {
        "kind": "Rollout",
        "metadata": {"name": "chat", "namespace": "default"},
        "spec": {"template": template, **spec},
        "status": {"readyReplicas": 1},
    }


def scale(*, wanted: int = 2, current: int = 1, selector: str = "app=chat") -> dict[str, Any]:
    return {
        "kind": "Scale",
        "spec": {"replicas": wanted},
        "status": {"replicas": current, "selector": selector},
    }


class Api:
    """Paths and what is there; lists by path and selector; those that aren't there are empty."""

    def __init__(self) -> None:
        resources = [
            {"name": "rollouts", "kind": "Rollout"},
            {"name": "rollouts/status", "kind": "Rollout"},
            {"name": "rollouts/scale", "kind": "Scale"},
            {"name": "experiments", "kind": "Experiment"},
        ]
        self.there: dict[str, Any] = {
            GROUP: {"kind": "APIResourceList", "resources": resources},
            ROLLOUT: rollout(),
            SCALE: scale(),
        }
        ours = pod("chat-a", owner=("ReplicaSet", "chat-6f7"))
        self.lists: dict[tuple[str, str], list[Any]] = {(PODS, "app=chat"): [ours]}
        self.forbidden: set[str] = set()
        self.down = False

    async def handle(self, request: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=503, text="no")
        if request.path in self.forbidden:
            return failure(403, "Forbidden", f"you can't get {request.path}")
        if request.path in self.there:
            return web.json_response(self.there[request.path])
        if "argoproj.io" in request.path:
            return failure(404, "NotFound", f"{request.path} not found")
        if request.query.get("watch") == "true":
            await asyncio.sleep(0.05)
            return web.Response()
        items = self.lists.get((request.path, request.query.get("labelSelector", "")), [])
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": items})


@contextlib.asynccontextmanager
async def source_of(api: Api, *targets: NamedTarget):
    app = web.Application()
    app.router.add_get("/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    pace = Pace(lambda: 1.0, first_s=0.05, most_s=0.05, look_s=0.02)
    try:
        async with (
            transport_to(url, timeout_s=2.0) as transport,
            cluster_source(transport, KubernetesSettings(), pace=pace) as source,
        ):
            source.want(frozenset(targets))
            yield source
    finally:
        await runner.cleanup()


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def test_any_kind_with_scale_is_found_with_its_counts_and_template():
    async with source_of(Api(), TARGET) as source:
        await until(lambda: source.view().workloads)
        found = source.view().workloads[("default", TARGET.owner)]
        assert (found.wanted, found.current, found.ready) == (2, 1, 1)
        assert found.accelerators == ("nvidia.com/gpu", 2)
        assert found.limits == ("vllm", "--max-num-seqs=16")


async def test_its_pods_are_those_of_its_selector():
    async with source_of(Api(), TARGET) as source:
        await until(lambda: source.view().placed)
        (found,) = source.view().placed[("default", TARGET.owner)]
        assert (found.name, found.owner) == ("chat-a", ("Rollout", "chat"))


async def test_an_hpa_on_it_is_a_variant_with_engines():
    target = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "chat"}
    follower = hpa()
    follower["spec"]["scaleTargetRef"] = target
    api = Api()
    api.lists[("/apis/autoscaling/v2/horizontalpodautoscalers", "")] = [follower]
    async with source_of(api) as source:
        first = join(parse_settings(""), source.view(), now_unix_s=0.0)
        assert first.named == {TARGET}
        assert first.problems == ()
        source.want(first.named)
        await until(lambda: source.view().placed)
        world = join(parse_settings(""), source.view(), now_unix_s=0.0)
        key = ("default", "chat")
        assert [group.urls for group in world.sighting.groups[key]] == [
            ("http://10.0.0.1:8000/metrics",)
        ]
        assert (world.sighting.current[key], world.sighting.ready[key]) == (1, 1)
        assert world.settings.variants[0].accelerators_per_replica == 2


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param({"forbidden": {ROLLOUT}}, "needs get on Rollout", id="not allowed"),
        pytest.param({"forbidden": {SCALE}}, "cluster-role-scale-target.yaml", id="nor its scale"),
        pytest.param({"gone": ROLLOUT}, "Rollout chat isn't there", id="not there"),
        pytest.param({"gone": GROUP}, "isn't there", id="no such group"),
    ],
)
async def test_what_keeps_it_from_being_read_is_told_with_its_remedy(broken, words):
    api = Api()
    api.forbidden = broken.get("forbidden", set())
    api.there.pop(broken.get("gone"), None)
    async with source_of(api, TARGET) as source:
        await until(lambda: source.view().unread)
        assert words in source.view().unread[("default", TARGET.owner)]
        assert source.view().workloads == {}


async def test_a_kind_without_scale_is_told_of():
    target = NamedTarget(
        namespace="default", api_version="argoproj.io/v1alpha1", kind="Experiment", name="chat"
    )
    async with source_of(Api(), target) as source:
        await until(lambda: source.view().unread)
        assert "no kind Experiment with the subresource scale" in next(
            iter(source.view().unread.values())
        )


async def test_an_api_server_that_is_away_takes_nothing():
    api = Api()
    async with source_of(api, TARGET) as source:
        await until(lambda: source.view().placed)
        api.down = True
        await until(lambda: source.view().unread)
        assert source.view().workloads
        assert source.view().placed
        api.down = False
        await until(lambda: not source.view().unread)


async def test_a_target_that_is_deleted_is_gone():
    api = Api()
    async with source_of(api, TARGET) as source:
        await until(lambda: source.view().workloads)
        del api.there[ROLLOUT]
        await until(lambda: not source.view().workloads)


async def test_nobody_s_target_is_followed_no_longer():
    async with source_of(Api(), TARGET) as source:
        await until(lambda: source.view().workloads)
        source.want(frozenset())
        assert source.view().workloads == {}


async def test_a_changed_selector_finds_other_pods():
    api = Api()
    api.lists[(PODS, "app=next")] = [pod("next-a")]
    async with source_of(api, TARGET) as source:
        await until(lambda: source.view().placed)
        api.there[SCALE] = scale(selector="app=next")
        await until(
            lambda: (
                [p.name for p in source.view().placed.get(("default", TARGET.owner), ())]
                == ["next-a"]
            )
        )


async def test_endpoints_of_a_service_are_the_replicas_of_whatever_is_scaled():
    api = Api()
    ready = {"addresses": ["10.0.0.9"], "conditions": {"ready": True}}
    api.lists[(SLICES, "kubernetes.io/service-name=chat-engines")] = [
        {
            "metadata": {"namespace": "default", "name": "chat-engines-1"},
            "endpoints": [ready],
            "ports": [{"name": "http", "port": 8000}],
        }
    ]
    api.lists[("/apis/apps/v1/deployments", "")] = [deployment()]
    follower = hpa(notes={"wva.llm-d.ai/service": "chat-engines"})
    api.lists[("/apis/autoscaling/v2/horizontalpodautoscalers", "")] = [follower]
    async with source_of(api) as source:
        first = join(parse_settings(""), source.view(), now_unix_s=0.0)
        source.want(first.named)
        await until(lambda: source.view().placed)
        world = join(parse_settings(""), source.view(), now_unix_s=0.0)
        (group,) = world.sighting.groups[("default", "chat")]
        assert group.urls == ("http://10.0.0.9:8000/metrics",)


async def test_a_service_without_endpoints_is_told_of_and_pods_go_by_their_owner():
    api = Api()
    api.lists[("/apis/apps/v1/deployments", "")] = [deployment()]
    api.lists[("/api/v1/pods", "")] = [pod()]
    follower = hpa(notes={"wva.llm-d.ai/service": "typo"})
    api.lists[("/apis/autoscaling/v2/horizontalpodautoscalers", "")] = [follower]
    async with source_of(api) as source:
        first = join(parse_settings(""), source.view(), now_unix_s=0.0)
        assert "Service typo has no endpoint, and 1 replicas are ready" in first.problems[0].message
        assert len(first.sighting.groups[("default", "chat")]) == 1
