"""What the cluster's own objects are enough for: no variant is in the adapter's settings."""

from typing import Any

from .engines import PROFILE, variant
from .objects import hpa
from .outcomes import Outcome
from .stage import Stage, World, new_namespace, staged
from .test_scaling import load_of, settled

MANAGED = {"llm-d.ai/managed": "true", "llm-d.ai/model-id": "m"}


def undeclared(namespace: str, **more: Any) -> dict[str, Any]:
    """Return settings without models, variants and addresses; only times are shortened."""
    return {
        "sources": {"scrape": {"interval_s": 1, "timeout_s": 1, "window_s": 5}},
        "models": {},
        "variants": [],
        "kubernetes": {"enabled": True, "namespaces": [namespace]},
        **more,
    }


async def annotate(stage: Stage, name: str = "chat", **annotations: str) -> None:
    notes = {**MANAGED, **annotations}
    await stage.kube.apply(hpa(name, namespace=stage.namespace, annotations=notes))


async def test_one_annotated_hpa_gives_a_first_decision(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    settings = undeclared(chat.namespace)
    async with staged(world, [chat], settings=settings, replicas=2) as stage:
        await stage.replicas("chat", 2)
        await annotate(stage)
        # What is there: nothing falls before the warm-up is over.
        await stage.decision("chat", 2, within_s=60)
        await stage.until_condition(
            "chat",
            "ScalingActive",
            lambda condition: condition.get("status") == "True",
            within_s=40,
            what="HPA reads the decision",
        )
        told = await stage.adapter.explain("chat", namespace=stage.namespace)
        assert told["texts"]["declared_by"] == f"HPA {stage.namespace}/chat"
        assert told["labels"]["accelerator_type"] != ""
        await stage.measure(outcome)


async def test_a_declared_variant_follows_its_load(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    models = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
    settings = undeclared(chat.namespace, models=models)
    async with staged(world, [chat], settings=settings) as stage:
        await annotate(stage, **{"wva.llm-d.ai/accelerator": "H100"})
        await stage.replicas("chat", 1)
        await stage.decision("chat", 1, within_s=60)
        changed_s = await load_of(stage, "chat", 3.5)
        up = await settled(stage, "chat", lambda count: count >= 3)
        await stage.replicas("chat", up)
        await stage.measure(outcome, after_s=changed_s, variant="chat")
        assert outcome.failed_reads == 0
