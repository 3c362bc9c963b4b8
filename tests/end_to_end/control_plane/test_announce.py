"""Events and statuses on the real API server, with the rights that the manifests give."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client, config

from adapter.announce.announcer import Announcer
from adapter.kube.transport import KubeTransport
from adapter.publish import SERVED_METRICS
from adapter.records import Publication
from adapter.store import Store
from optimizer import Binding
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of

from .objects import hpa
from .outcomes import Outcome
from .stage import World, new_namespace


@pytest.fixture
async def namespace(world: World) -> AsyncIterator[str]:
    name = new_namespace()
    await world.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    await world.kube.delete(f"/api/v1/namespaces/{name}")


async def test_events_count_and_are_shown_on_the_hpa(
    world: World, outcome: Outcome, namespace: str
) -> None:
    await world.kube.apply(hpa("llama", namespace=namespace))
    async with told(world) as tell:
        for desired in (2, 3, 5):
            await tell(decided(namespace, desired, "HPA"))
        await tell(decided(namespace, 5, "HPA", binding=Binding.MAX_REPLICAS))
    described = await world.kubectl("describe", "hpa", "llama", "-n", namespace)
    assert described.code == 0, described.error
    lines = [line.split() for line in described.out.splitlines() if "wva-adapter" in line]
    shown = {(words[0], words[1]): " ".join(words) for words in lines}
    assert "(x2 over" in shown["Normal", "ScaledUp"]
    assert "desired replicas of llama: 3 to 5" in shown["Normal", "ScaledUp"]
    assert "demand asks for more" in shown["Warning", "ResourceConstrained"]


async def test_a_variant_has_a_status_that_is_ours_alone(
    world: World, outcome: Outcome, namespace: str
) -> None:
    await world.kube.apply(
        {
            "apiVersion": "llmd.ai/v1alpha1",
            "kind": "VariantAutoscaling",
            "metadata": {"name": "llama", "namespace": namespace},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "modelID": "m"},
        }
    )
    path = f"/apis/llmd.ai/v1alpha1/namespaces/{namespace}/variantautoscalings/llama"
    spec = (await world.kube.get(path))["spec"]
    async with told(world) as tell:
        await tell(decided(namespace, 3, "VariantAutoscaling"))
        first = (await world.kube.get(path))["status"]
        await tell(decided(namespace, 4, "VariantAutoscaling", message="p1: timeout", age_s=99.0))
    found = await world.kube.get(path)
    assert found["spec"] == spec
    assert found["status"]["desiredOptimizedAlloc"]["numReplicas"] == 4
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions == {
        "TargetResolved": "True", "MetricsAvailable": "False", "OptimizationReady": "True"
    }  # fmt: skip
    assert {c["type"]: c["status"] for c in first["conditions"]}["MetricsAvailable"] == "True"
    listed = await world.kubectl("get", "va", "-n", namespace, "--no-headers")
    assert listed.out.split()[:5] == ["llama", "llama", "m", "4", "False"]


async def test_the_rights_of_the_manifests_change_no_spec(
    world: World, outcome: Outcome, namespace: str
) -> None:
    await world.kube.apply(hpa("llama", namespace=namespace))
    account = "system:serviceaccount:wva-system:wva"
    patch = json.dumps({"spec": {"maxReplicas": 3}})
    refused = await world.kubectl(
        "patch", "hpa", "llama", "-n", namespace, f"--as={account}", "-p", patch
    )
    assert refused.code == 1
    assert f'User "{account}" cannot patch resource "horizontalpodautoscalers"' in refused.error


def decided(namespace: str, desired: float, kind: str, **more: Any) -> Publication:
    texts = {"declared_by": f"{kind} {namespace}/llama"}
    return publication_of({f"{namespace}/llama": desired}, texts=texts, **more)


@contextlib.asynccontextmanager
async def told(world: World) -> AsyncIterator[Any]:
    """Give a function that publishes a decision and has it told by the adapter's own account."""
    token = await world.kube.token("wva", namespace="wva-system")
    kubeconfig: Path = world.plane.authorities.kubeconfig_of_token("wva", world.plane.url, token)
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    clock = ManualClock()
    store = Store(clock, metrics=SERVED_METRICS)
    async with client.ApiClient(configuration) as api_client:
        announcer = Announcer(
            KubeTransport(api_client), store, clock, leads=lambda: True, instance="wva-0"
        )

        async def tell(publication: Publication) -> None:
            store.swap(publication, received_s=clock.monotonic_s())
            await announcer.round()
            assert announcer.problem == ""

        yield tell
