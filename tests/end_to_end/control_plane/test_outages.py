"""Parts that fail in mid-run: engines, the adapter, the API server, etcd, certificates, RBAC."""

import asyncio
import signal

from .engines import variant
from .kube_api import eventually, path_of
from .outcomes import Outcome
from .stage import Stage, World, enough_for, new_namespace, staged, steady

GROUP = "/apis/external.metrics.k8s.io/v1beta1"
BINDING = path_of(
    "RoleBinding",
    "wva-authentication-reader",
    version="rbac.authorization.k8s.io/v1",
    namespace="kube-system",
)


def frozen(condition: dict[str, str]) -> bool:
    return condition.get("status") == "False" and "FailedGet" in condition["reason"]


def following(condition: dict[str, str]) -> bool:
    return condition.get("reason") == "ValidMetricFound"


async def test_lost_engine_state_freezes_hpa_with_our_words(world: World, outcome: Outcome) -> None:
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        count = await steady(stage, 7.0)
        stage.engines.failing = True
        condition = await stage.until_condition(
            "chat", "ScalingActive", frozen, within_s=40, what="HPA is frozen"
        )
        assert "is refused" in condition["message"]
        assert "silent" in condition["message"] or "500" in condition["message"]
        assert stage.witness.replicas("chat") == count
        described = await world.kubectl("describe", "hpa", "chat", "-n", stage.namespace)
        assert described.code == 0
        assert "is refused" in described.out
        stage.engines.failing = False
        await stage.until_condition(
            "chat", "ScalingActive", following, within_s=30, what="HPA follows again"
        )
        more = await steady(stage, 24.0)
        assert more > count
        outcome.honoured = stage.witness.honoured(world.plane.hpa_sync_s)


async def test_a_dead_adapter_freezes_and_harms_nothing_else(
    world: World, outcome: Outcome
) -> None:
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        count = await steady(stage, 7.0)
        stage.adapter.kill()
        stage.engines.set_rate(24.0)  # nobody reckons with it yet
        condition = await stage.until_condition(
            "chat", "ScalingActive", frozen, within_s=20, what="HPA is frozen"
        )
        assert "unable to get external metric" in condition["message"]
        kubectl = world.kubectl
        listed = await kubectl("api-resources")
        assert "deployments" in listed.out
        read = await kubectl("get", "deployments,hpa", "-n", stage.namespace)
        assert read.code == 0, read.error
        raw = await kubectl("get", "--raw", f"{GROUP}/namespaces/{stage.namespace}/x")
        assert raw.code == 1
        assert "ServiceUnavailable" in raw.error or "error trying to reach" in raw.error
        assert (await kubectl("describe", "hpa", "chat", "-n", stage.namespace)).code == 0
        assert stage.witness.replicas("chat") == count
        await stage.adapter.start()
        await stage.until_condition(
            "chat", "ScalingActive", following, within_s=30, what="HPA follows again"
        )
        assert await stage.settled("chat", enough_for(24.0)) > count


async def test_an_adapter_without_the_apiservice_leaves_namespaces_deletable(
    world: World, outcome: Outcome
) -> None:
    """Uninstall in order: the APIService goes first, then nothing waits for the adapter."""
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        await stage.replicas("chat", 1)
        version = "apiregistration.k8s.io/v1"
        name = "v1beta1.external.metrics.k8s.io"
        await stage.kube.delete(path_of("APIService", name, version=version))
        stage.adapter.kill()
        await create_and_delete_a_namespace(stage, within_s=30)


async def create_and_delete_a_namespace(stage: Stage, *, within_s: float) -> None:
    name = new_namespace()
    await stage.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await stage.kube.delete(path_of("Namespace", name))
    await eventually(
        lambda: stage.kube.find(path_of("Namespace", name)),
        lambda found: found is None,
        within_s=within_s,
        what="the namespace is gone",
    )


async def test_sigterm_ends_in_order_and_a_restart_goes_on(world: World, outcome: Outcome) -> None:
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        count = await steady(stage, 7.0)
        assert stage.adapter.daemon is not None
        since = len(stage.witness.scaled)
        stage.adapter.terminate()
        assert await asyncio.to_thread(stage.adapter.daemon.wait, 30.0) == 0
        await stage.adapter.start()
        await stage.until_condition(
            "chat", "ScalingActive", following, within_s=30, what="HPA follows again"
        )
        assert all(m.count >= count for m in stage.witness.scaled[since:])
        assert await stage.settled("chat", enough_for(7.0)) == count


async def test_the_api_server_restarts(world: World, outcome: Outcome) -> None:
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        count = await steady(stage, 7.0)
        await asyncio.to_thread(world.plane.api_server.stop)
        stage.engines.set_rate(24.0)
        await asyncio.sleep(3)
        world.plane.launch_api_server()
        await asyncio.to_thread(world.plane.await_api_server)
        await stage.adapter.available()
        assert await stage.settled("chat", enough_for(24.0), within_s=90) > count
        await stage.carries("chat", enough_for(24.0))


async def test_a_slow_etcd_delays_and_breaks_nothing(world: World, outcome: Outcome) -> None:
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        count = await steady(stage, 7.0)
        world.plane.etcd.signal(signal.SIGSTOP)
        try:
            stage.engines.set_rate(24.0)
            await asyncio.sleep(8)
        finally:
            world.plane.etcd.signal(signal.SIGCONT)
        assert await stage.settled("chat", enough_for(24.0), within_s=90) > count
        await stage.carries("chat", enough_for(24.0))


async def test_rbac_taken_away_and_given_back(world: World, outcome: Outcome) -> None:
    """Without the right to read whom to trust the adapter starts, says so, and recovers."""
    async with staged(world, [variant("chat", namespace=new_namespace())]) as stage:
        await stage.replicas("chat", 1)
        binding = await stage.kube.get(BINDING)
        for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
            binding["metadata"].pop(key, None)
        await stage.kube.delete(BINDING)
        try:
            stage.adapter.kill()
            await stage.adapter.start(registered=False)
            await eventually(
                lambda: stage.kube.client.get("/healthz"), within_s=10, what="the API server"
            )
            await asyncio.sleep(5)
            assert stage.adapter.daemon is not None
            assert stage.adapter.daemon.running
            assert "extension-apiserver-authentication" in stage.adapter.daemon.tail(20000)
        finally:
            await stage.kube.apply(binding)
        await stage.adapter.available(within_s=60)
        await stage.until_condition(
            "chat", "ScalingActive", following, within_s=30, what="HPA follows again"
        )
