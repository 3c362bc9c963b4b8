"""A first installation as a person lives it: what docs/operations.md shows is what comes out."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from .access import install_access
from .adapter_pods import AdapterPods, ServiceProxy
from .daemons import free_port
from .engines import Engines, variant
from .installed import API_SERVICES, APPS, SYSTEM, api_service_condition, make
from .kube_api import Kube, eventually, path_of
from .kubelet import Kubelet
from .load import Load
from .nodes import MachineRoom
from .objects import API_SERVICE, api_service, deployment, external_name, hpa
from .outcomes import Outcome
from .stage import World
from .transcripts import Transcripts

NAMESPACE, NAME, MODEL = "default", "llama-8b-h100", "llama-3.1-8b"
DEPLOYMENT = path_of("Deployment", NAME, namespace=NAMESPACE, **APPS)
DEFINITION = path_of(
    "CustomResourceDefinition", "variantautoscalings.llmd.ai", version="apiextensions.k8s.io/v1"
)
RAW = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/wva_desired_replicas"


CONDITIONS = "| grep -A5 ^Conditions"
COLUMNS = "-o custom-columns=REASON:.reason,MESSAGE:.message"


def hpa_path(name: str) -> str:
    return path_of("HorizontalPodAutoscaler", name, version="autoscaling/v2", namespace=NAMESPACE)


HPA = hpa_path(NAME)


@dataclass
class Story:
    """What a first installation happens in."""

    kube: Kube
    engines: Engines
    pods: AdapterPods
    proxy: ServiceProxy
    say: Transcripts

    async def reached(self) -> None:
        """Lead the API server to the pods, and wait until it finds them available."""
        # Changed as it is, so that the next `kubectl apply` finds what it applied.
        own = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
        spec = {"type": "ExternalName", "externalName": self.proxy.host, **dict.fromkeys(own)}
        await self.kube.patch(path_of("Service", "wva", namespace=SYSTEM), {"spec": spec})
        await eventually(
            lambda: api_service_condition(self.kube),
            lambda found: found.get("status") == "True",
            within_s=60,
            what="the APIService is Available",
        )

    async def asked_for(self, at_least: int) -> int:
        found = await eventually(
            lambda: self.kube.get(DEPLOYMENT),
            lambda found: found["spec"]["replicas"] >= at_least,
            within_s=90,
            what=f"HPA asks for {at_least}",
        )
        return int(found["spec"]["replicas"])

    async def condition(self, kind: str, words: str) -> None:
        """Wait until a condition of the HPA says so."""
        await eventually(
            lambda: self.kube.get(HPA),
            lambda found: any(
                each["type"] == kind and words in f"{each['reason']} {each['message']}"
                for each in found.get("status", {}).get("conditions", [])
            ),
            within_s=120,
            what=f"{kind}: {words}",
        )

    async def event(self, reason: str) -> None:
        path = path_of("Event", namespace=NAMESPACE) + f"?fieldSelector=reason={reason}"
        await eventually(
            lambda: self.kube.get(path), lambda found: found["items"], within_s=60, what=reason
        )


@contextlib.asynccontextmanager
async def beginning(world: World) -> AsyncIterator[Story]:
    """Give a cluster without anything of ours, and with a model that is served."""
    kube = world.kube
    chat = variant(NAME, model=MODEL, namespace=NAMESPACE)
    await make(world, "uninstall")
    await kube.delete(DEFINITION)
    await _gone(kube)
    async with contextlib.AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines([chat], {MODEL: Load()}))
        # A pod knows by this that it is one.
        pods = AdapterPods(
            world.plane, kube, world.folder, environment={"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        )
        await stack.enter_async_context(pods)
        stack.push_async_callback(_end, world)
        kubelet = Kubelet(kube, [engines, pods], [NAMESPACE, SYSTEM], room=MachineRoom())
        await stack.enter_async_context(kubelet)
        await kube.apply(deployment(NAME, namespace=NAMESPACE, replicas=1))
        proxy = await stack.enter_async_context(ServiceProxy(pods))
        yield Story(kube, engines, pods, proxy, Transcripts(world.plane, world.folder))


async def _gone(kube: Kube) -> None:
    await eventually(
        lambda: kube.find(path_of("Namespace", SYSTEM)),
        lambda found: found is None,
        within_s=60,
        what=f"the namespace {SYSTEM} is gone",
    )


async def _end(world: World) -> None:
    """Leave a cluster in which other scenarios run the adapter themselves."""
    kube = world.kube
    await kube.delete(path_of("APIService", API_SERVICE, **API_SERVICES))
    for kind, version in (
        ("HorizontalPodAutoscaler", "autoscaling/v2"),
        ("Deployment", "apps/v1"),
        ("ReplicaSet", "apps/v1"),
        ("Pod", "v1"),
        ("Event", "v1"),
    ):
        path = path_of(kind, version=version, namespace=NAMESPACE)
        await kube.delete(path, gracePeriodSeconds=0)
    await make(world, "uninstall")
    await _gone(kube)
    await asyncio.to_thread(install_access, world.plane)


async def test_a_first_installation_is_what_the_handbook_shows(
    world: World, outcome: Outcome
) -> None:
    async with beginning(world) as story:
        await before(story)
        await install(story)
        await first_decision(story)
        await upgrade(story)
        await what_goes_wrong(story)
        await uninstall(story)
    if os.environ.get("WVA_WRITE_DOCS") == "1":
        story.say.write()
    assert story.say.differences() == []


async def before(story: Story) -> None:
    await story.say.show("before", "wva doctor")
    kube, port = story.kube, free_port()
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}})
    metrics = "keda-operator-metrics-apiserver"
    await kube.apply(external_name(metrics, namespace="keda", port=port))
    theirs = api_service(port=port, ca_bundle="", name=metrics, namespace="keda")
    theirs["spec"] |= {"insecureSkipTLSVerify": True}
    del theirs["spec"]["caBundle"]
    await kube.apply(theirs)
    await story.say.show("foreign", "wva doctor | grep -A1 apiservice")
    await story.say.show("foreign", "wva explain default/llama-8b-h100")
    await kube.delete(path_of("APIService", API_SERVICE, **API_SERVICES))
    await kube.delete(path_of("Namespace", "keda"))


async def install(story: Story) -> None:
    await story.say.show("install", "make install IMAGE=registry.example.com/wva-adapter:0.1.0")
    await story.reached()
    await story.say.show("installed", "kubectl -n wva-system get pods,lease")
    await story.say.show("installed", "kubectl get apiservice v1beta1.external.metrics.k8s.io")


async def first_decision(story: Story) -> None:
    say = story.say
    await say.show("first", "kubectl apply -f manifests/examples/hpa.yaml")
    await story.condition("ScalingActive", "ValidMetricFound")
    await say.show("first", "kubectl get hpa")
    await say.show("first", f"kubectl get --raw {RAW} | python3 -m json.tool")
    story.engines.set_rate(14.0, model=MODEL)
    count = await story.asked_for(3)
    await story.event("ScaledUp")
    await eventually(
        lambda: story.kube.get(DEPLOYMENT),
        lambda found: found["status"].get("readyReplicas", 0) >= count,
        within_s=60,
        what="they are ready",
    )
    await say.show("scaled", "kubectl get hpa,deployment")
    await say.show("scaled", "kubectl describe hpa llama-8b-h100")
    await say.show("explained", "wva explain default/llama-8b-h100")
    await say.show("explained", "wva explain")
    await say.show("after", "wva doctor")


async def upgrade(story: Story) -> None:
    before = (await story.kube.get(DEPLOYMENT))["spec"]["replicas"]
    await story.say.show("upgrade", "make install IMAGE=registry.example.com/wva-adapter:0.2.0")
    await story.reached()
    await story.say.show("upgrade", "kubectl get hpa")
    assert (await story.kube.get(DEPLOYMENT))["spec"]["replicas"] >= before


async def too_small_a_maximum(story: Story) -> None:
    say = story.say
    change = '{"spec": {"maxReplicas": 2}}'
    await say.show("maximum", f"kubectl patch hpa llama-8b-h100 --type=merge -p '{change}'")
    await story.event("ResourceConstrained")
    await story.condition("ScalingLimited", "TooManyReplicas")
    await say.show("maximum", f"kubectl describe hpa llama-8b-h100 {CONDITIONS}")
    await say.show(
        "maximum", f"kubectl get events --field-selector reason=ResourceConstrained {COLUMNS}"
    )
    await story.kube.patch(HPA, {"spec": {"maxReplicas": 20}})


async def declarations(story: Story) -> None:
    say, kube = story.say, story.kube
    await kube.apply(deployment("other", namespace=NAMESPACE))
    await kube.apply(follower("other", {"variant_name": "llama-8b-h10"}))
    await said(kube, "other", "FailedGetExternalMetric")
    await say.show("selector", f"kubectl describe hpa other {CONDITIONS}")

    notes = {
        "llm-d.ai/managed": "true",
        "llm-d.ai/model-id": "mistral",
        "wva.llm-d.ai/service-class": "gold",
    }
    await kube.apply(follower("mistral-7b", {"variant_name": "mistral-7b"}, notes))
    await story.event("InvalidConfiguration")
    await say.show(
        "target", f"kubectl get events --field-selector reason=InvalidConfiguration {COLUMNS}"
    )
    for name in ("other", "mistral-7b"):
        await kube.delete(hpa_path(name))


async def what_goes_wrong(story: Story) -> None:
    await too_small_a_maximum(story)
    await declarations(story)
    say = story.say
    nobody = "--as system:serviceaccount:default:default"
    await say.show("forbidden", f"kubectl get --raw {RAW} {nobody}")

    story.pods.reconfigure(max_decision_age_s=10, hold_s=10)
    await asyncio.sleep(6)
    story.engines.failing = True
    await story.condition("ScalingActive", "FailedGetExternalMetric")
    await say.show("lost", f"kubectl describe hpa llama-8b-h100 {CONDITIONS}")
    await say.show("lost", "wva explain default/llama-8b-h100", cut=6)
    story.engines.failing = False
    await story.condition("ScalingActive", "ValidMetricFound")

    settings = story.pods.folder / "settings.yaml"
    settings.write_text("interval: 5\nvariants:\n  - {name: a, model: m}\n", encoding="utf-8")
    await say.show("settings", f"wva check --settings {settings}")


async def uninstall(story: Story) -> None:
    await story.say.show("uninstall", "make uninstall")
    await story.say.show("uninstall", "kubectl get namespace wva-system")


def follower(name: str, labels: dict[str, str], notes: dict[str, str] | None = None) -> Any:
    """Return an HPA on the Deployment of its name."""
    return hpa(name, namespace=NAMESPACE, most=5, selector=labels, annotations=notes)


async def said(kube: Kube, name: str, words: str) -> None:
    await eventually(
        lambda: kube.get(hpa_path(name)),
        lambda found: any(
            each["reason"] == words for each in found.get("status", {}).get("conditions", [])
        ),
        within_s=60,
        what=f"{name} has {words}",
    )
