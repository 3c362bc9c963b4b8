"""A scale target of a kind that nobody knows, scaled by stock HPA through `/scale`."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from .engines import PROFILE, variant
from .kube_api import Kube, eventually, path_of
from .looking import Looking
from .objects import deployment, hpa
from .outcomes import Outcome
from .stage import World, new_namespace, staged
from .test_discovery import MANAGED, undeclared

GROUP, VERSION = "pools.example.com", "pools.example.com/v1"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"enginepools.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "enginepools", "kind": "EnginePool"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    },
                },
            }
        ],
    },
}


def rights() -> list[dict[str, Any]]:
    """Return what manifests/examples/cluster-role-scale-target.yaml gives, for this kind."""
    api = "rbac.authorization.k8s.io"
    rule = {
        "apiGroups": [GROUP],
        "resources": ["enginepools", "enginepools/scale"],
        "verbs": ["get"],
    }
    metadata = {"name": "wva-scale-target"}
    subject = {"kind": "ServiceAccount", "name": "wva", "namespace": "wva-system"}
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [subject],
    }
    return [role, binding]


@contextlib.asynccontextmanager
async def pool(kube: Kube, name: str, *, namespace: str) -> AsyncIterator[str]:
    """Create a pool and what keeps it: as many pods as it asks for. Yield its path."""
    template = deployment(name, namespace=namespace)["spec"]["template"]
    await kube.apply(
        {
            "apiVersion": VERSION,
            "kind": "EnginePool",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": 1, "template": template},
        }
    )
    path = path_of("EnginePool", name, version=VERSION, namespace=namespace)
    keeping = Looking(partial(_keep, kube, path, name, namespace), every_s=0.2)
    keeping.start()
    try:
        yield path
    finally:
        await keeping.stop()
        await kube.delete(path)


async def _keep(kube: Kube, path: str, name: str, namespace: str) -> None:
    """Create the pods that a pool asks for and hasn't; say how many it has."""
    labels = {"pool": name}
    found = await kube.get(path)
    wanted, template = found["spec"]["replicas"], found["spec"]["template"]
    for number in range(wanted):
        metadata = {
            "name": f"{name}-{number}",
            "namespace": namespace,
            "labels": {**labels, **template["metadata"]["labels"]},
        }
        each = path_of("Pod", metadata["name"], namespace=namespace)
        if await kube.find(each) is None:
            await kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                              "spec": template["spec"]})  # fmt: skip
    status = {"replicas": wanted, "selector": f"pool={name}"}
    if found.get("status") != status:
        await kube.patch(f"{path}/status", {"status": status})


async def test_anything_with_scale_follows_its_load(world: World, outcome: Outcome) -> None:
    kube = world.kube
    await kube.apply(DEFINITION)
    established = await world.kubectl("wait", "--for=condition=Established", "crd",
                                      f"enginepools.{GROUP}")  # fmt: skip
    assert established.code == 0, established.error
    for each in rights():
        await kube.delete(
            path_of(each["kind"], each["metadata"]["name"], version=each["apiVersion"])
        )
    chat = variant("chat", namespace=new_namespace())
    models = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
    settings = undeclared(chat.namespace, models=models)
    async with (
        staged(world, [chat], settings=settings, replicas=0) as stage,
        pool(kube, "chat", namespace=stage.namespace) as path,
    ):
        follower = hpa(
            "chat", namespace=stage.namespace,
            annotations={**MANAGED, "wva.llm-d.ai/accelerator": "H100"},
        )  # fmt: skip
        follower["spec"]["scaleTargetRef"] = {
            "apiVersion": VERSION, "kind": "EnginePool", "name": "chat",
        }  # fmt: skip
        await kube.apply(follower)
        await _told(kube, stage.namespace, "needs get on EnginePool")
        frozen = await stage.until_condition(
            "chat", "ScalingActive", lambda found: found.get("status") == "False",
            within_s=30, what="HPA is told that nothing is known",
        )  # fmt: skip
        assert "neither its scale target nor any of its replicas is known" in frozen["message"]
        for each in rights():
            await kube.apply(each)
        await stage.decision("chat", 1, within_s=60)
        await eventually(
            lambda: stage.adapter.explain("chat", namespace=stage.namespace),
            lambda told: told["texts"].get("engine_arguments") == "max_batch_size 16",
            within_s=30,
            what="its pod template is read",
        )
        stage.engines.set_rate(14.0)
        await eventually(
            lambda: kube.get(path),
            lambda found: found["spec"]["replicas"] >= 3,
            within_s=60,
            what="HPA scales the pool",
        )


async def _told(kube: Kube, namespace: str, words: str) -> None:
    """Wait for an event on the HPA that says so."""
    path = path_of("Event", namespace=namespace) + "?fieldSelector=reason=InvalidConfiguration"
    await eventually(
        lambda: kube.get(path),
        lambda found: any(words in each["message"] for each in found["items"]),
        within_s=60,
        what=f"an event says {words}",
    )
