"""What stock HPA makes of the adapter's answers: cases 55 to 61 of the protocol notes."""

import asyncio
from typing import Any

import pytest

from .cluster import ControlPlane
from .engines import variant
from .kube_api import path_of
from .objects import METRIC, fast_behavior, hpa
from .outcomes import Outcome
from .stage import World, at_least_for, new_namespace, staged, steady
from .test_outages import following, frozen

# As WVA's own documentation has it: Percent and Pods policies, no tolerance, both labels.
WVA_BEHAVIOR: dict[str, Any] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}],
    },
}


def external(metric: str, **selector: str) -> dict[str, Any]:
    return {
        "type": "External",
        "external": {
            "metric": {"name": metric, "selector": {"matchLabels": selector}},
            "target": {"type": "AverageValue", "averageValue": "1"},
        },
    }


async def test_manifests_of_wva_work_unchanged(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    settings = {"hpa_tolerance": 0.1}  # what such a manifest leaves to the cluster
    chat = variant("chat", namespace=namespace)
    async with staged(world, [chat], settings=settings) as stage:
        labels = {"variant_name": "chat", "exported_namespace": namespace}
        autoscaler = hpa("chat", namespace=namespace, selector=labels, behavior=WVA_BEHAVIOR)
        await stage.kube.apply(autoscaler)
        up = await steady(stage, 24.0)
        assert await steady(stage, 2.0) < up
        await stage.measure(outcome)
        assert outcome.failures == []


async def test_hpa_says_why_it_changed_the_size(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    chat = variant("chat", namespace=namespace)
    async with staged(world, [chat], least=3) as stage:
        await stage.replicas("chat", 3)
        assert following(dict(await stage.condition("chat", "ScalingActive")))
        events = await stage.kube.get(
            path_of("Event", namespace=namespace) + "?fieldSelector=reason=SuccessfulRescale"
        )
        message = events["items"][-1]["message"]
        assert message.startswith(f"New size: 3; reason: external metric {METRIC}")
        assert message.endswith("above target")


async def test_a_second_metric_that_fails_stops_only_the_way_down(
    world: World, outcome: Outcome
) -> None:
    namespace = new_namespace()
    async with staged(world, [variant("chat", namespace=namespace)]) as stage:
        count = await steady(stage, 7.0)
        autoscaler = hpa("chat", namespace=namespace)
        autoscaler["spec"]["metrics"].append(external("nobody_serves_this", variant_name="chat"))
        await stage.kube.apply(autoscaler)
        more = await steady(stage, 24.0)
        assert more > count
        stage.engines.set_rate(0.2)
        await stage.decision("chat", 1, within_s=40)
        condition = await stage.until_condition(
            "chat", "ScalingActive", frozen, within_s=20, what="HPA names the metric that fails"
        )
        assert "nobody_serves_this" in condition["message"]
        assert METRIC in condition["message"], "our 404 lists the metrics that there are"
        assert stage.witness.replicas("chat") == more


async def test_a_selector_that_matches_two_variants_adds_them(
    world: World, outcome: Outcome
) -> None:
    namespace = new_namespace()
    variants = [variant(name, model=name, namespace=namespace) for name in ("one", "two")]
    async with staged(world, variants, least=2) as stage:
        await stage.replicas("two", 2)
        await stage.kube.apply(
            hpa("one", namespace=namespace, selector={"exported_namespace": namespace})
        )
        await stage.replicas("one", 4)


async def test_a_variant_that_is_gone_is_named_not_remembered(
    world: World, outcome: Outcome
) -> None:
    namespace = new_namespace()
    variants = [variant(name, model=name, namespace=namespace) for name in ("chat", "other")]
    async with staged(world, variants, least=2) as stage:
        await stage.replicas("chat", 2)
        kept = [each for each in stage.adapter.settings["variants"] if each["name"] != "chat"]
        stage.adapter.write_settings(variants=kept)
        condition = await stage.until_condition(
            "chat", "ScalingActive", frozen, within_s=30, what="HPA says that the metric is gone"
        )
        assert "chat" in condition["message"]
        assert stage.witness.replicas("chat") == 2
        assert following(dict(await stage.condition("other", "ScalingActive")))


async def test_the_default_sync_period_reacts_within_twenty_seconds(
    world: World, outcome: Outcome
) -> None:
    """A tick of 5 s and HPA's 15 s are the most that a change of state may take."""
    plane = world.plane
    plane.restart_controller_manager(hpa_sync_s=15.0)
    try:
        settings = {"interval_s": 5, "max_decision_age_s": 30}
        scrape = {"interval_s": 5, "timeout_s": 2, "window_s": 20}
        chat = variant("chat", namespace=new_namespace())
        async with staged(world, [chat], settings=settings, reads=False) as stage:
            stage.adapter.settings["sources"] |= {"scrape": scrape}
            await stage.adapter.start()
            await stage.follow()
            await stage.replicas("chat", 1, within_s=60)
            changed_s = stage.engines.set_rate(24.0)
            # What a first surge asked for is kept as long as a cold start may take.
            await stage.settled("chat", at_least_for(24.0), within_s=90)
            await asyncio.sleep(plane.hpa_sync_s + 2)  # a decision counts that stood for a sync
            await stage.measure(outcome, after_s=changed_s, variant="chat")
            assert outcome.reaction_s is not None
            assert outcome.reaction_s < 5 + 15 + 2
    finally:
        plane.restart_controller_manager()


@pytest.fixture
def to_zero(plane: ControlPlane) -> Any:
    """The control plane with HPAScaleToZero, on by default from 1.37."""
    gate = "--feature-gates=HPAScaleToZero=true"
    _restart(plane, gate)
    yield
    _restart(plane)


def _restart(plane: ControlPlane, *flags: str) -> None:
    plane.controller_manager.stop()
    plane.api_server.stop()
    plane.start_api_server(*flags)
    plane.start_controller_manager(*flags)


async def test_hpa_goes_to_zero_and_comes_back_where_the_cluster_may(
    to_zero: None, world: World, outcome: Outcome
) -> None:
    namespace = new_namespace()
    chat = variant("chat", namespace=namespace)
    settings = {"zero_after_s": 5}
    behavior = fast_behavior()
    async with staged(world, [chat], settings=settings, least=0, behavior=behavior) as stage:
        await stage.kube.apply(hpa("chat", namespace=namespace, least=0))
        await steady(stage, 2.0)
        stage.engines.set_rate(0.0)
        await stage.replicas("chat", 0, within_s=60)
        condition = await stage.condition("chat", "ScaledToZero")
        assert condition["status"] == "True"
        assert following(dict(await stage.condition("chat", "ScalingActive")))
