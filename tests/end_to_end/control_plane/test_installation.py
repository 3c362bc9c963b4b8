"""From nothing to the first decision and back, with the commands of the handbook."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.helpers.pki import SERVER, TestAuthority

from .access import ROOT
from .daemons import free_port
from .engines import variant
from .installed import API_SERVICES, SYSTEM, installed, make
from .kube_api import eventually, path_of
from .objects import API_SERVICE, api_service, external_name
from .outcomes import Outcome
from .stage import World, new_namespace

KINDS_OF_OTHERS = {
    "cert-manager.io": ("v1", ["Certificate", "Issuer"]),
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


async def test_install_first_decision_uninstall(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    chat = variant("chat", namespace=namespace)
    kube = world.kube
    async with installed(world, [chat], least=2) as stage:
        await stage.follow([chat])
        await stage.scaled("chat", 2)
        described = await world.kubectl("describe", "hpa", "chat", "-n", namespace)
        assert "ValidMetricFound" in described.out
        outcome.failures = await stage.failures()
        assert outcome.failures == []
        uninstalled = await make(world, "uninstall")
        assert "deployment.apps" in uninstalled
        assert stage.pods.outlived == [], "it ends before its grace does"
        assert await kube.find(path_of("APIService", API_SERVICE, **API_SERVICES)) is None
        assert await kube.find(path_of("Namespace", SYSTEM)) is None
        await kube.delete(path_of("Deployment", "chat", version="apps/v1", namespace=namespace))
        await kube.delete(path_of("Namespace", namespace))
        await eventually(
            lambda: kube.find(path_of("Namespace", namespace)),
            lambda found: found is None,
            within_s=60,
            what="a namespace is deleted as before",
        )


async def test_a_foreign_apiservice_stays_its_owners(world: World, outcome: Outcome) -> None:
    """KEDA has it: we serve KEDA, say whose it is, and leave it behind as it was."""
    kube, chat = world.kube, variant("chat", namespace=new_namespace())
    path = path_of("APIService", API_SERVICE, **API_SERVICES)
    async with other_adapter(world) as port:
        await kube.apply(external_name("keda", namespace="default", port=port))
        theirs = api_service(port=port, ca_bundle="", name="keda", namespace="default")
        theirs["spec"] |= {"insecureSkipTLSVerify": True}
        del theirs["spec"]["caBundle"]
        await kube.apply(theirs)
        before = (await kube.get(path))["spec"]
        async with installed(world, [chat]) as stage:
            await asyncio.sleep(12)
            assert (await kube.get(path))["spec"] == before
            said = [pod.daemon.tail(100_000) for pod in stage.pods.pods.values()]
            assert any("leads to Service default/keda" in each for each in said)
            await make(world, "uninstall")
            assert (await kube.get(path))["spec"] == before


@contextlib.asynccontextmanager
async def other_adapter(world: World) -> AsyncIterator[int]:
    """Serve the API group as somebody else who has it; yield the port."""
    resource = {"name": "theirs", "singularName": "", "namespaced": True, "verbs": ["get"]}
    document = {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "external.metrics.k8s.io/v1beta1",
        "resources": [{**resource, "kind": "ExternalMetricValueList"}],
    }

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(document, status=404 if request.path == "/apis" else 200)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = TestAuthority("theirs")
    authority.issue("keda", uses=(SERVER,), hosts=("localhost",)).load_into(context, world.folder)
    app = web.Application()
    app.router.add_get("/{anything:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port(), ssl_context=context).start()
    try:
        yield port
    finally:
        await runner.cleanup()
