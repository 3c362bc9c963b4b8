"""From nothing to the first decision and back, with the commands of the handbook."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator

import pytest
import yaml

from .access import ROOT, install_access
from .adapter_pods import AdapterPods, ServiceProxy
from .engines import Engines, variant
from .kube_api import eventually, path_of
from .kubelet import Kubelet
from .load import Load
from .objects import API_SERVICE, api_service, deployment, external_name, hpa
from .outcomes import Outcome
from .stage import World, new_namespace, settings_of
from .test_outages import following

SYSTEM = "wva-system"
API_SERVICES = {"version": "apiregistration.k8s.io/v1"}
KINDS_OF_OTHERS = {
    "monitoring.coreos.com": ("v1", ["ServiceMonitor", "PrometheusRule"]),
    "keda.sh": ("v1alpha1", ["ScaledObject"]),
}
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("manifests/overlays/*/kustomization.yaml"))
EXAMPLES = sorted(
    path.name for path in ROOT.glob("manifests/examples/*.yaml") if "\nkind: " in path.read_text()
)


def definition_of_another(group: str, version: str, kind: str) -> dict[str, object]:
    """Return a definition that takes any content, for kinds that others install."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }


@pytest.fixture
async def kinds_of_others(world: World) -> None:
    """Definitions of the Prometheus operator's and KEDA's objects; they stay."""
    definitions = [
        definition_of_another(group, version, kind)
        for group, (version, kinds) in KINDS_OF_OTHERS.items()
        for kind in kinds
    ]
    for each in definitions:
        await world.kube.apply(each)
    for each in definitions:
        established = await world.kubectl(
            "wait", "--for=condition=Established", f"crd/{each['metadata']['name']}"
        )
        assert established.code == 0, established.error


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_the_api_server_accepts_an_overlay_strictly(
    world: World, outcome: Outcome, kinds_of_others: None, overlay: str
) -> None:
    folder = ROOT / "manifests" / "overlays" / overlay
    await applied_dry(world, "-k", str(folder))


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_api_server_accepts_an_example_strictly(
    world: World, outcome: Outcome, kinds_of_others: None, example: str
) -> None:
    await applied_dry(world, "-f", str(ROOT / "manifests" / "examples" / example))


async def applied_dry(world: World, *what: str) -> None:
    flags = ("--dry-run=server", "--validate=strict")
    done = await world.kubectl("apply", *flags, *what)
    assert done.code == 0, done.error
    assert "Warning" not in done.error, done.error


@pytest.fixture
async def pods(world: World) -> AsyncIterator[AdapterPods]:
    """A cluster without the adapter's objects before, and with its rights again after."""
    await make(world, "uninstall")
    async with AdapterPods(world.plane, world.kube, world.folder) as pods:
        try:
            yield pods
        finally:
            await world.kube.delete(path_of("APIService", API_SERVICE, **API_SERVICES))
            await world.kube.delete(
                path_of("Deployment", "wva", version="apps/v1", namespace=SYSTEM)
            )
    await eventually(
        lambda: world.kube.find(path_of("Namespace", SYSTEM)),
        lambda found: found is None or "deletionTimestamp" not in found["metadata"],
        within_s=60,
        what="the namespace isn't on its way out",
    )
    install_access(world.plane)


async def test_install_first_decision_uninstall(
    world: World, outcome: Outcome, pods: AdapterPods
) -> None:
    namespace = new_namespace()
    chat = variant("chat", namespace=namespace)
    kube = world.kube
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    async with contextlib.AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines([chat], {"m": Load()}))
        kubelet = Kubelet(kube, [engines, pods], [namespace, SYSTEM])
        await stack.enter_async_context(kubelet)
        await kube.apply(deployment("chat", namespace=namespace))
        installed = await make(world, "install", "IMAGE=registry.example/wva:1")
        assert "deployment.apps/wva created" in installed
        assert 'deployment "wva" successfully rolled out' in installed
        proxy = await stack.enter_async_context(ServiceProxy(pods))
        await lead_to(world, proxy.port)
        settings = settings_of([chat], engines, least=2)
        data = {"settings.yaml": yaml.safe_dump(settings)}
        await configure(world, data)
        await kube.apply(hpa("chat", namespace=namespace))
        await eventually(
            lambda: kube.get(path_of("Deployment", "chat", version="apps/v1", namespace=namespace)),
            lambda found: found["spec"]["replicas"] == 2,
            within_s=60,
            what="the first decision is followed",
        )
        autoscaler = path_of(
            "HorizontalPodAutoscaler", "chat", version="autoscaling/v2", namespace=namespace
        )
        conditions = (await kube.get(autoscaler))["status"]["conditions"]
        assert any(following(each) for each in conditions if each["type"] == "ScalingActive")
        uninstalled = await make(world, "uninstall")
        assert pods.outlived == []
        assert "deployment.apps" in uninstalled
        assert await kube.find(path_of("APIService", API_SERVICE, **API_SERVICES)) is None
        await kube.delete(autoscaler)
        await kube.delete(path_of("Deployment", "chat", version="apps/v1", namespace=namespace))
        await kube.delete(path_of("Namespace", namespace))
        for name in (namespace, SYSTEM):
            await eventually(
                lambda name=name: kube.find(path_of("Namespace", name)),
                lambda found: found is None,
                within_s=60,
                what=f"the namespace {name} is gone",
            )


async def make(world: World, target: str, *variables: str) -> str:
    """Run a target of the Makefile against this cluster; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        "make",
        "--no-print-directory",
        f"--directory={ROOT}",
        target,
        f"KUBECTL={world.plane.programs / 'kubectl'}",
        "ROLLOUT_TIMEOUT=60s",
        *variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(world.plane.admin_kubeconfig)},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def lead_to(world: World, port: int) -> None:
    """Make the Service lead to the proxy: there is no kube-proxy for its cluster address."""
    await world.kube.delete(path_of("Service", "wva", namespace=SYSTEM))
    await world.kube.apply(external_name(port=port))
    bundle = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert bundle
    service = api_service(port=port, ca_bundle="")
    del service["spec"]["caBundle"]
    service["spec"]["insecureSkipTLSVerify"] = True
    await world.kube.apply(service)


async def configure(world: World, data: dict[str, str]) -> None:
    """Change the settings as people do, and bring up a pod that has them."""
    path = path_of("ConfigMap", "wva-settings", namespace=SYSTEM)
    await world.kube.patch(path, {"data": data})
    restarted = await world.kubectl("rollout", "restart", "deployment/wva", "-n", SYSTEM)
    assert restarted.code == 0, restarted.error
    done = await world.kubectl("rollout", "status", "deployment/wva", "-n", SYSTEM, "--timeout=90s")
    assert done.code == 0, done.error
