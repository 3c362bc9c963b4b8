"""An annotated ScaledObject is the whole declaration; KEDA's own pauses are honoured."""

from operator import ge, le
from typing import Any

from tests.end_to_end.control_plane.engines import variant
from tests.end_to_end.control_plane.outcomes import Outcome
from tests.end_to_end.control_plane.stage import World, enough_for, new_namespace, steady

from .keda import Keda
from .stage import KedaStage, staged_with_keda

MANAGED = {
    "llm-d.ai/managed": "true",
    "llm-d.ai/model-id": "m",
    "wva.llm-d.ai/accelerator": "H100",
}
PAUSED = "autoscaling.keda.sh/paused"


async def declared_by_scaled_object(own: KedaStage, **spec: Any) -> None:
    """Start an adapter that knows no variant, and declare one."""
    settings = own.stage.adapter.settings
    settings["variants"] = []
    del settings["sources"]["discovery"]
    settings["kubernetes"] = {"enabled": True, "namespaces": [own.stage.namespace]}
    await own.start_adapter()
    await own.follow("chat", "external-push", annotations=MANAGED, **spec)
    await own.stage.decision("chat", 1, within_s=60)


async def annotate(own: KedaStage, **notes: str | None) -> None:
    named = {f"{PAUSED}{key}": value for key, value in notes.items()}
    await own.stage.kube.patch(own.path("chat"), {"metadata": {"annotations": named}})


async def test_an_annotated_scaled_object_declares_a_variant(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], starts=False) as own:
        stage = own.stage
        await declared_by_scaled_object(own, least=1, most=3)
        assert await own.count("chat") == 1
        # KEDA hands the annotations on to its HPA, which declares nothing of its own.
        hpa = await stage.kube.get(own.hpa_path("chat"))
        assert hpa["metadata"]["annotations"]["llm-d.ai/managed"] == "true"
        assert list(await stage.adapter.figures()) == ["chat"]
        stage.engines.set_rate(30.0)
        await stage.settled("chat", lambda count: count == 3)  # maxReplicaCount
        explained = await stage.adapter.explain("chat", namespace=stage.namespace)
        assert explained["binding"] == "MaxReplicas"
        await stage.measure(outcome)


async def test_paused_annotations_hold_keda_and_the_decision(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], starts=False) as own:
        stage = own.stage
        await declared_by_scaled_object(own, least=1)
        count = await steady(stage, 6.0)
        await annotate(own, **{"": "true"})
        await own.condition("chat", "Paused", "True")
        stage.engines.set_rate(14.0)
        await own.keeps("chat", count, for_s=6.0)
        assert (await stage.adapter.figures())["chat"] == count
        await annotate(own, **{"": None})
        up = await stage.settled("chat", enough_for(14.0), within_s=90)
        await annotate(own, **{"-scale-in": "true"})
        await own.condition("chat", "Paused", "True")
        stage.engines.set_rate(2.0)
        await own.keeps("chat", up, for_s=10.0, may=ge)
        await annotate(own, **{"-scale-in": None})
        down = await stage.settled("chat", enough_for(2.0), within_s=90)
        await annotate(own, **{"-scale-out": "true"})
        await own.condition("chat", "Paused", "True")
        stage.engines.set_rate(14.0)
        await own.keeps("chat", down, for_s=10.0, may=le)
        await annotate(own, **{"-scale-out": None})
        await stage.settled("chat", enough_for(14.0), within_s=90)
