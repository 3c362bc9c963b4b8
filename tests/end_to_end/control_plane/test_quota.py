"""A ResourceQuota is a bound of the decision, before the API server refuses pods for it."""

from .engines import PROFILE, variant
from .kube_api import eventually, path_of
from .nodes import GPU
from .objects import hpa
from .outcomes import Outcome
from .stage import APPS, World, new_namespace, staged
from .test_discovery import MANAGED, undeclared

QUOTA = 3


async def test_a_quota_of_gpus_is_not_asked_past(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    models = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
    settings = undeclared(chat.namespace, models=models)
    async with staged(world, [chat], settings=settings) as stage:
        await world.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "gpus", "namespace": stage.namespace},
                "spec": {"hard": {f"requests.{GPU}": str(QUOTA)}},
            }
        )
        notes = {**MANAGED, "wva.llm-d.ai/accelerator": "H100"}
        await world.kube.apply(hpa("chat", namespace=stage.namespace, annotations=notes))
        await stage.replicas("chat", 1)
        await stage.decision("chat", 1, within_s=60)
        stage.engines.set_rate(20.0)  # more than five replicas carry
        await stage.decision("chat", QUOTA, within_s=60)
        told = await eventually(
            lambda: stage.adapter.explain("chat", namespace=stage.namespace),
            lambda found: found["binding"] == "Capacity",
            within_s=30,
            what="the quota binds",
        )
        assert f"of {QUOTA} {GPU} used" in told["texts"]["accelerators"]
        events = path_of("Event", namespace=stage.namespace)
        await eventually(
            lambda: stage.kube.get(f"{events}?fieldSelector=reason=ResourceConstrained"),
            lambda found: found["items"],
            within_s=30,
            what="an event says what is short",
        )
        deployment = path_of("Deployment", "chat", namespace=stage.namespace, **APPS)
        assert (await stage.kube.get(deployment))["spec"]["replicas"] == QUOTA
        refused = await stage.kube.get(f"{events}?fieldSelector=reason=FailedCreate")
        assert refused["items"] == [], "no pod was asked for that the quota refuses"
