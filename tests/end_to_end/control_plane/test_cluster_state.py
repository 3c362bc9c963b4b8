"""What happens to pods and objects decides, too: variants are found, not declared in settings."""

import asyncio
from typing import Any

from .engines import PROFILE, variant
from .kube_api import eventually, path_of
from .nodes import MachineRoom, Node
from .objects import deployment, hpa
from .outcomes import Outcome
from .stage import APPS, Stage, World, at_least_for, new_namespace, staged

ACCELERATOR = "wva.llm-d.ai/accelerator"
COST = "llm-d.ai/variant-cost"
L40S = Node("node-l40s", gpus=1, product="NVIDIA-L40S")
VARIANTS = {"version": "llmd.ai/v1alpha1"}


def found(namespace: str, *accelerators: str) -> dict[str, Any]:
    """Return settings that give profiles and leave the variants to the cluster's objects."""
    profiles = dict.fromkeys(accelerators or ("H100",), PROFILE)
    return {
        "sources": {"scrape": {"timeout_s": 1, "window_s": 5}},
        "models": {"m": {"service_class": "chat", "profiles": profiles}},
        "variants": [],
        "kubernetes": {"enabled": True, "namespaces": [namespace]},
    }


async def declare(stage: Stage, name: str, *, model: str = "m", **more: Any) -> None:
    """Annotate a variant's HPA, which declares it."""
    notes = {"llm-d.ai/managed": "true", "llm-d.ai/model-id": model, **more.pop("notes", {})}
    await stage.kube.apply(hpa(name, namespace=stage.namespace, annotations=notes, **more))


async def one(stage: Stage) -> None:
    """Start the adapter with one declared variant that has its first decision."""
    await stage.adapter.start()
    await stage.adapter.ready()
    await declare(stage, "chat", notes={ACCELERATOR: "H100"})
    await stage.decision("chat", 1, within_s=60)


async def carrying(stage: Stage, rate_rps: float) -> int:
    """Set a load, and return the count that carries it once its replicas are ready."""
    stage.engines.set_rate(rate_rps)
    count = await stage.settled("chat", at_least_for(rate_rps))
    await stage.replicas("chat", count)
    return count


async def test_half_the_replicas_silent_lower_nothing(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    settings = found(chat.namespace)
    async with staged(world, [chat], settings=settings, reads=False) as stage:
        await one(stage)
        await carrying(stage, 14.0)
        ready = [each.name for each in stage.engines.cluster.replicas]
        stage.engines.silent |= set(ready[::2])
        await asyncio.sleep(4)  # until a scrape has timed out, nobody knows
        held, since = stage.witness.replicas("chat"), len(stage.witness.scaled)
        await asyncio.sleep(12)
        assert all(m.count >= held for m in stage.witness.scaled[since:])
        stage.engines.silent.clear()


async def test_a_rolling_update_in_a_ramp_lowers_nothing(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    settings = found(chat.namespace)
    async with staged(world, [chat], settings=settings, reads=False) as stage:
        await one(stage)
        count = await carrying(stage, 10.0)
        since = len(stage.witness.scaled)
        changed = deployment("chat", namespace=chat.namespace)
        changed["spec"]["template"]["metadata"]["annotations"] = {"revision": "2"}
        del changed["spec"]["replicas"]
        path = path_of("Deployment", "chat", namespace=chat.namespace, **APPS)
        await stage.kube.patch(path, {"spec": {"template": changed["spec"]["template"]}})
        stage.engines.set_rate(20.0)
        await eventually(
            lambda: stage.kube.get(path),
            lambda seen: (
                seen["status"].get("updatedReplicas") == seen["spec"]["replicas"]
                and seen["status"].get("replicas") == seen["spec"]["replicas"]
                and seen["spec"]["replicas"] >= 20.0 / 3.8
            ),
            within_s=90,
            what="all replicas are of the new revision, and enough",
        )
        assert all(m.count >= count for m in stage.witness.scaled[since:])
        await stage.measure(outcome)


async def test_a_tier_without_nodes_spills_to_the_next(world: World, outcome: Outcome) -> None:
    """The cheap variant's further pods find no node; the dear one carries what is left."""
    namespace = new_namespace()
    cheap = variant("cheap", namespace=namespace, accelerator="L40S")
    dear = variant("dear", namespace=namespace)
    room = MachineRoom((L40S, Node("node-h100")))
    settings = found(namespace, "L40S", "H100")
    tiers = [cheap, dear]
    async with staged(world, tiers, settings=settings, room=room, reads=False) as stage:
        for each, product in ((cheap, L40S.product), (dear, Node("").product)):
            await stage.kube.apply(deployment(each.name, namespace=namespace, accelerator=product))
        await stage.adapter.start()
        await stage.adapter.ready()
        await declare(stage, "cheap", notes={ACCELERATOR: "L40S", COST: "1"})
        await declare(stage, "dear", notes={ACCELERATOR: "H100", COST: "10"})
        for each in tiers:
            await stage.decision(each.name, 1, within_s=60)
        changed_s = stage.engines.set_rate(16.0)
        await eventually(
            lambda: stage.kube.get(path_of("Deployment", "dear", namespace=namespace, **APPS)),
            lambda seen: seen["status"].get("readyReplicas", 0) >= 3,
            within_s=60,
            what="the dear tier carries what the cheap one can't",
        )
        outcome.reaction_s = stage.witness.first_change_s("dear", after_s=changed_s)
        cheap_asked = stage.witness.replicas("cheap")
        assert cheap_asked <= 3, "one more than serve, and no run for nodes that aren't there"


async def test_a_crash_loop_spills_to_the_other_variant(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    cheap = variant("cheap", namespace=namespace, accelerator="L40S")
    dear = variant("dear", namespace=namespace)
    settings = found(namespace, "L40S", "H100")
    async with staged(world, [cheap, dear], settings=settings, reads=False) as stage:
        await stage.adapter.start()
        await stage.adapter.ready()
        await declare(stage, "cheap", notes={ACCELERATOR: "L40S", COST: "1"})
        await declare(stage, "dear", notes={ACCELERATOR: "H100", COST: "10"})
        for name in ("cheap", "dear"):
            await stage.replicas(name, 1)
            await stage.decision(name, 1, within_s=60)
        stage.kubelet.crashing.add("cheap")  # from now on none of its pods stays up
        changed_s = stage.engines.set_rate(16.0)
        await eventually(
            lambda: stage.kube.get(path_of("Deployment", "dear", namespace=namespace, **APPS)),
            lambda seen: seen["status"].get("readyReplicas", 0) >= 3,
            within_s=60,
            what="the other variant carries what the broken one can't",
        )
        outcome.reaction_s = stage.witness.first_change_s("dear", after_s=changed_s)


async def test_two_models_and_three_variants_follow_cost(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    cheap = variant("cheap", namespace=namespace, accelerator="L40S")
    dear = variant("dear", namespace=namespace)
    other = variant("other", model="n", namespace=namespace)
    settings = found(namespace, "L40S", "H100")
    settings["models"]["n"] = {"service_class": "chat", "profiles": {"H100": PROFILE}}
    everything = [cheap, dear, other]
    async with staged(world, everything, settings=settings, reads=False) as stage:
        await stage.adapter.start()
        await stage.adapter.ready()
        await declare(stage, "cheap", notes={ACCELERATOR: "L40S", COST: "1"})
        await declare(stage, "dear", notes={ACCELERATOR: "H100", COST: "10"})
        await declare(stage, "other", model="n", notes={ACCELERATOR: "H100", COST: "10"})
        for each in everything:
            await stage.decision(each.name, 1, within_s=60)
        stage.engines.set_rate(14.0)
        stage.engines.set_rate(10.0, model="n")
        count = await stage.settled("other", at_least_for(10.0))
        await stage.settled("cheap", lambda count: count >= 3)
        await stage.settled("dear", lambda count: count <= 2)
        assert stage.witness.replicas("cheap") > stage.witness.replicas("dear")
        assert count >= 3
        await stage.measure(outcome)


async def test_a_variant_autoscaling_object_gets_its_conditions(
    world: World, outcome: Outcome
) -> None:
    chat = variant("chat", namespace=new_namespace())
    settings = found(chat.namespace)
    async with staged(world, [chat], settings=settings, reads=False) as stage:
        # Whoever leads tells of it; that is asked for with the Lease.
        stage.adapter.settings["high_availability"] = {"enabled": True}
        await stage.adapter.start()
        await stage.adapter.ready()
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
        await stage.kube.apply(
            {
                "apiVersion": VARIANTS["version"],
                "kind": "VariantAutoscaling",
                "metadata": {
                    "name": "chat",
                    "namespace": chat.namespace,
                    "labels": {"inference.optimization/acceleratorName": "H100"},
                },
                "spec": {"scaleTargetRef": target, "modelID": "m", "variantCost": "10.0"},
            }
        )
        await stage.kube.apply(hpa("chat", namespace=chat.namespace))
        stage.engines.set_rate(7.0)
        count = await stage.settled("chat", at_least_for(7.0), within_s=90)
        path = path_of("VariantAutoscaling", "chat", namespace=chat.namespace, **VARIANTS)

        async def conditions() -> dict[str, str]:
            status = (await stage.kube.get(path)).get("status", {})
            return {each["type"]: each["status"] for each in status.get("conditions", [])}

        wanted = dict.fromkeys(("TargetResolved", "MetricsAvailable", "OptimizationReady"), "True")
        await eventually(
            conditions, lambda seen: seen == wanted, within_s=40, what="its conditions"
        )
        await eventually(
            lambda: stage.kube.get(path),
            lambda seen: seen["status"]["desiredOptimizedAlloc"]["numReplicas"] >= 2,
            within_s=30,
            what=f"the count that was decided ({count})",
        )
        await stage.measure(outcome)
