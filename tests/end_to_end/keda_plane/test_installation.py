"""`make install OVERLAY=keda` beside a KEDA that owns external.metrics.k8s.io."""

import contextlib
from collections.abc import AsyncIterator

from tests.end_to_end.control_plane.adapter_pods import AdapterPods, ServiceProxy
from tests.end_to_end.control_plane.engines import Engines, variant
from tests.end_to_end.control_plane.installed import SYSTEM, Installed, make, removed
from tests.end_to_end.control_plane.kube_api import eventually, path_of
from tests.end_to_end.control_plane.kubelet import Kubelet
from tests.end_to_end.control_plane.load import Load
from tests.end_to_end.control_plane.objects import API_SERVICE, deployment
from tests.end_to_end.control_plane.outcomes import Outcome
from tests.end_to_end.control_plane.stage import World, enough_for, new_namespace, settings_of

from .keda import Keda
from .objects import KEDA_API, scaled_object, trigger

KEDA_PORT = 6000
APPS = {"version": "apps/v1"}


@contextlib.asynccontextmanager
async def installed_for_keda(world: World) -> AsyncIterator[Installed]:
    """Install the overlay as it is, give the adapter a variant, and take it all away again."""
    kube, namespace = world.kube, new_namespace()
    chat = variant("chat", namespace=namespace)
    await make(world, "uninstall")
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    async with contextlib.AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines([chat], {chat.model: Load()}))
        pods = await stack.enter_async_context(AdapterPods(world.plane, kube, world.folder))
        kubelet = Kubelet(kube, [engines, pods], [namespace, SYSTEM])
        as_keda = {"autoscaler": "ScaledObject", "version": KEDA_API}
        stack.push_async_callback(removed, world, namespace, "OVERLAY=keda", **as_keda)
        await stack.enter_async_context(kubelet)
        await kube.apply(deployment("chat", namespace=namespace))
        done = await make(world, "install", "OVERLAY=keda", "IMAGE=registry.example/wva:1")
        assert 'deployment "wva" successfully rolled out' in done
        stage = Installed(world, namespace, engines, kubelet, pods, ServiceProxy(pods))
        await stage.configure(settings_of([chat], engines, least=0, zero_after_s=3))
        yield stage


async def api_service_owner(world: World) -> str:
    path = path_of("APIService", API_SERVICE, version="apiregistration.k8s.io/v1")
    service = (await world.kube.get(path))["spec"]["service"]
    return f"{service['namespace']}/{service['name']}"


async def test_the_overlay_scales_through_keda_and_leaves_its_api_alone(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    async with installed_for_keda(world) as stage:
        assert await api_service_owner(world) == "keda/keda-metrics-apiserver"
        *_, pod = stage.pods.pods.values()  # the newest: others may be on their way out
        # What the Service's name would resolve to: there is no cluster DNS here.
        ours = trigger("external-push", f"{pod.address}:{KEDA_PORT}", variantName="chat")
        await stage.kube.apply(scaled_object("chat", ours, namespace=stage.namespace))
        stage.engines.set_rate(8.0)
        await eventually(
            lambda: stage.replicas("chat"), enough_for(8.0), within_s=90, what="KEDA follows"
        )
        stage.engines.set_rate(0.0)
        await eventually(
            lambda: stage.replicas("chat"), lambda n: n == 0, within_s=90, what="it sleeps"
        )
        assert await stage.failures() == []
    assert await api_service_owner(world) == "keda/keda-metrics-apiserver"
