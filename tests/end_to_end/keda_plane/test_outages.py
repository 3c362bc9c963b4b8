"""The adapter gone, the engines silent: what KEDA makes of it, and that nothing falls."""

import pytest

from tests.end_to_end.control_plane.engines import variant
from tests.end_to_end.control_plane.kube_api import eventually
from tests.end_to_end.control_plane.outcomes import Outcome
from tests.end_to_end.control_plane.replicas import gauge
from tests.end_to_end.control_plane.stage import World, enough_for, new_namespace, steady

from .keda import Keda
from .stage import staged_with_keda
from .test_scaling import AS_INSTALLED, WINDOW_S, sleeps, woken

# To zero as soon as nobody asks: what is lost must not look like that.
SOON = {"zero_after_s": 3}
# What `manifests/examples/scaled-object.yaml` has, with a count above what there is.
FALLBACK = {"failureThreshold": 2, "replicas": 6, "behavior": "currentReplicasIfHigher"}


@pytest.mark.parametrize("fallback", [None, FALLBACK], ids=["no fallback", "fallback"])
async def test_a_dead_adapter_freezes_what_there_is(
    world: World, outcome: Outcome, keda: Keda, fallback: dict[str, object] | None
) -> None:
    """KEDA asks for the target, too, and falls back only where it is told one (keda#8056)."""
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], settings=SOON, least=0) as own:
        stage = own.stage
        await stage.replicas("chat", 1)
        more = {"fallback": fallback} if fallback else {}
        await own.follow("chat", "external-push", **more)
        count = await steady(stage, 8.0)
        stage.adapter.kill()
        stage.engines.set_rate(0.0)
        await own.keeps("chat", count, for_s=15.0)
        await own.start_adapter()
        await sleeps(own, "chat")
        await stage.measure(outcome)


async def test_readings_lost_for_longer_than_the_hold_reach_the_fallback(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], settings=SOON, least=0) as own:
        stage = own.stage
        await stage.replicas("chat", 1)
        await own.follow("chat", "external-push", fallback=FALLBACK)
        count = await steady(stage, 6.0)
        assert count < 6
        stage.engines.failing = True  # refused after max_decision_age_s + hold_s: 12 s
        await eventually(
            lambda: own.count("chat"), lambda now: now == 6, within_s=60, what="the fallback's 6"
        )
        await own.condition("chat", "Fallback", "True")
        stage.engines.failing = False
        await own.condition("chat", "Fallback", "False")
        await stage.settled("chat", enough_for(6.0))
        await stage.measure(outcome)


async def test_a_request_wakes_it_by_push_again_after_the_adapter_was_away(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    async with staged_with_keda(
        world, [chat], settings=AS_INSTALLED, least=0, window_s=WINDOW_S
    ) as own:
        stage = own.stage
        await own.follow("chat", "external-push", pollingInterval=30)
        await sleeps(own, "chat")
        stage.adapter.kill()
        await own.keeps("chat", 0, for_s=3.0)
        await own.start_adapter()
        await eventually(stage.adapter.figures, within_s=30, what="a decision")
        # KEDA tries its stream again 2 s after it broke, then 4, 8, ... 60.
        await eventually(
            lambda: gauge(stage.adapter, "wva_keda_open_streams"),
            within_s=90,
            what="KEDA's stream is open again",
        )
        await own.keeps("chat", 0, for_s=3.0)
        _, outcome.reaction_s = await woken(own, "chat")
        assert outcome.reaction_s < 2.0


async def test_silent_engines_never_send_a_variant_to_sleep(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], settings=SOON, least=0) as own:
        stage = own.stage
        await stage.replicas("chat", 1)
        await own.follow("chat", "external-push")
        count = await steady(stage, 4.0)
        stage.engines.failing = True
        stage.engines.set_rate(0.0)
        # Longer than retention (3 s), hold (12 s) and cooldown (3 s) together.
        await own.keeps("chat", count, for_s=25.0)
        assert await stage.witness.failures(), "after the hold a count is refused, not repeated"
        stage.engines.failing = False
        await sleeps(own, "chat")
        await stage.measure(outcome)
