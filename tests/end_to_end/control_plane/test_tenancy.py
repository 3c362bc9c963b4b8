"""More than one adapter in a cluster, and one that may see a single namespace."""

import subprocess
from typing import Any

import grpc
import yaml

from adapter.keda._generated import externalscaler_pb2 as messages
from adapter.keda._generated import externalscaler_pb2_grpc as stubs

from .access import ROOT
from .adapter_process import AdapterProcess
from .engines import PROFILE, variant
from .kube_api import eventually
from .objects import hpa
from .outcomes import Outcome
from .stage import World, new_namespace, staged
from .test_discovery import MANAGED, undeclared

MODELS = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
NOTES = {**MANAGED, "wva.llm-d.ai/accelerator": "H100"}
INSTANCE = "wva.llmd.ai/controller-instance"
RIGHTS = {"ServiceAccount", "Role", "RoleBinding"}


async def test_two_instances_never_decide_for_one_variant(world: World, outcome: Outcome) -> None:
    """Each has the variants that are labelled for it; what bears no label is neither's."""
    namespace = new_namespace()
    owners = {"first": "a", "second": "b", "nobodys": ""}
    variants = [variant(name, namespace=namespace) for name in owners]
    settings = undeclared(namespace, models=MODELS, controller_instance="a")
    async with staged(world, variants, settings=settings, replicas=2, reads=False) as stage:
        for name, owner in owners.items():
            document = hpa(name, namespace=namespace, annotations=NOTES)
            document["metadata"]["labels"] = {INSTANCE: owner} if owner else {}
            await stage.kube.apply(document)
        (folder := world.folder / "b").mkdir()
        theirs = {**stage.adapter.settings, "controller_instance": "b"}
        other = AdapterProcess(world.plane, world.kube, folder, theirs)
        try:
            await stage.adapter.start()
            await other.start(registered=False)
            for each, own in ((stage.adapter, "first"), (other, "second")):
                found = await eventually(
                    each.figures, lambda found, own=own: own in found, within_s=60, what=own
                )
                assert set(found) == {own}
            served = await stage.metric()
            assert [each["metricLabels"]["variant_name"] for each in served["items"]] == ["first"]
            assert served["items"][0]["metricLabels"]["controller_instance"] == "a"
            # The second one has no part in the group that HPA reads, and doesn't take it.
            assert await stage.adapter.availability()
        finally:
            await other.stop()


async def test_rights_in_one_namespace_are_enough_for_keda(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    settings = undeclared(namespace, models=MODELS)
    chat = variant("chat", namespace=namespace)
    async with staged(world, [chat], settings=settings, replicas=2, reads=False) as stage:
        for document in rights_of_the_overlay(world, namespace):
            await stage.kube.apply(document)
        adapter = stage.adapter
        adapter.service_account = (namespace, "wva")
        adapter.settings["api"] |= {"auth": "none"}
        await stage.kube.apply(hpa("chat", namespace=namespace, annotations=NOTES))
        await adapter.start(registered=False)
        await stage.decision("chat", 2, within_s=60)
        assert adapter.daemon is not None
        said = adapter.daemon.tail(50_000)
        assert "nodes" in said, "that accelerators are taken as unlimited is told"
        assert "Traceback" not in said
        assert await asked_by_keda(adapter.keda_port, namespace) == 2.0


def rights_of_the_overlay(world: World, namespace: str) -> list[dict[str, Any]]:
    """Return what overlay `namespaced` grants, put into another namespace as its comment says."""
    overlay = str(ROOT / "manifests" / "overlays" / "namespaced")
    kubectl = str(world.plane.programs / "kubectl")
    rendered = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, check=True)
    documents = [each for each in yaml.safe_load_all(rendered.stdout) if each["kind"] in RIGHTS]
    for document in documents:
        assert document["metadata"]["namespace"] == "default"
        document["metadata"]["namespace"] = namespace
        for subject in document.get("subjects", []):
            subject["namespace"] = namespace
    return documents


async def asked_by_keda(port: int, namespace: str) -> float:
    """Return the metric that KEDA would hand on to HPA."""
    wanted = messages.ScaledObjectRef(
        name="chat", namespace=namespace, scalerMetadata={"variantName": "chat"}
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        keda = stubs.ExternalScalerStub(channel)
        spec = await keda.GetMetricSpec(wanted)
        name = spec.metricSpecs[0].metricName
        request = messages.GetMetricsRequest(scaledObjectRef=wanted, metricName=name)
        answer = await keda.GetMetrics(request)
    value = answer.metricValues[0]
    return value.metricValueFloat or float(value.metricValue)
