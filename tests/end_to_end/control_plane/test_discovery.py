"""What the cluster's own objects are enough for: no variant is in the adapter's settings."""

import asyncio
import re
from typing import Any

from adapter.announce.announcer import ROUND_S

from .engines import PROFILE, variant
from .kube_api import eventually
from .objects import hpa
from .outcomes import Outcome
from .stage import Stage, World, new_namespace, staged

MANAGED = {"llm-d.ai/managed": "true", "llm-d.ai/model-id": "m"}


def undeclared(namespace: str, **more: Any) -> dict[str, Any]:
    """Return settings without models, variants and addresses; only times are shortened."""
    return {
        "sources": {"scrape": {"timeout_s": 1, "window_s": 5}},
        # Longer than the scenarios: what is there stays, whatever is learned of cold starts.
        "brakes": {"warm_up_s": 120, "max_scale_down_ratio": 1.0, "max_scale_up_factor": 100},
        "models": {},
        "variants": [],
        "kubernetes": {"enabled": True, "namespaces": [namespace]},
        **more,
    }


async def annotate(stage: Stage, name: str = "chat", **annotations: str) -> None:
    notes = {**MANAGED, **annotations}
    await stage.kube.apply(hpa(name, namespace=stage.namespace, annotations=notes))


async def test_one_annotated_hpa_gives_a_first_decision(world: World, outcome: Outcome) -> None:
    """It is made beside an adapter that knows of nothing, and its first read succeeds."""
    chat = variant("chat", namespace=new_namespace())
    settings = undeclared(chat.namespace)
    async with staged(world, [chat], settings=settings, replicas=2, reads=False) as stage:
        await stage.replicas("chat", 2)
        await stage.adapter.start()
        await stage.adapter.ready()
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
        assert outcome.failures == []


async def test_a_declared_variant_follows_its_load(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    models = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
    settings = undeclared(chat.namespace, models=models)
    async with staged(world, [chat], settings=settings, reads=False) as stage:
        await stage.adapter.start()
        await stage.adapter.ready()
        await annotate(stage, **{"wva.llm-d.ai/accelerator": "H100"})
        await stage.replicas("chat", 1)
        await stage.decision("chat", 1, within_s=60)
        await asyncio.sleep(2.0 * ROUND_S)  # changes are told between one round and the next
        changed_s = stage.engines.set_rate(14.0)
        # No cold start is declared, so that more is held ready for the growth that was seen.
        up = await stage.settled("chat", lambda count: count >= 3)
        await stage.replicas("chat", up)
        await stage.measure(outcome, after_s=changed_s, variant="chat")
        assert outcome.failures == []
        # One adapter alone tells of it, too: nothing in its settings asks for a leader.
        events = f"/api/v1/namespaces/{stage.namespace}/events?fieldSelector=reason=ScaledUp"
        told = await eventually(
            lambda: stage.kube.get(events), lambda found: found["items"], within_s=15, what="told"
        )
        assert told["items"][0]["involvedObject"]["kind"] == "HorizontalPodAutoscaler"
        # An event that is repeated has the words of its last time.
        (words,) = {each["message"] for each in told["items"]}
        before, after = re.findall(r"desired replicas of chat: (\d+) to (\d+) ", words)[0]
        assert int(after) > int(before)


async def test_a_variant_autoscaling_needs_no_annotation(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat], settings=undeclared(chat.namespace), replicas=3) as stage:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
        declaration = {
            "apiVersion": "llmd.ai/v1alpha1",
            "kind": "VariantAutoscaling",
            "metadata": {"name": "chat", "namespace": chat.namespace},
            "spec": {"scaleTargetRef": target, "modelID": "m", "variantCost": "3.5"},
        }
        await stage.kube.apply(declaration)
        await stage.decision("chat", 3, within_s=60)
        told = await stage.adapter.explain("chat", namespace=stage.namespace)
        assert told["texts"]["declared_by"] == f"VariantAutoscaling {stage.namespace}/chat"
        assert told["cost"]["replica_per_hour"]["value"] == 3.5
        path = "/apis/llmd.ai/v1alpha1/namespaces/" + stage.namespace + "/variantautoscalings/chat"
        await eventually(
            lambda: stage.kube.get(path),
            lambda found: (
                found.get("status", {}).get("desiredOptimizedAlloc", {}).get("numReplicas") == 3
            ),
            within_s=15,
            what="its status has the decision",
        )
        await stage.kube.delete(path)
        await eventually(
            stage.adapter.figures, lambda found: "chat" not in found, within_s=20, what="it is gone"
        )


async def test_pods_that_crash_are_told_of(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat], settings=undeclared(chat.namespace), replicas=2) as stage:
        stage.kubelet.crashing.add("chat")
        await annotate(stage)

        async def stuck() -> str:
            told = await stage.adapter.explain("chat", namespace=stage.namespace)
            return str(told["texts"].get("stuck", ""))

        await stage.decision("chat", 2, within_s=60)
        await eventually(
            stuck, lambda text: text.startswith("crashloop: chat-"), within_s=30, what="it is told"
        )
        stage.kubelet.crashing.clear()
        await eventually(stuck, lambda text: not text, within_s=30, what="it is over")
