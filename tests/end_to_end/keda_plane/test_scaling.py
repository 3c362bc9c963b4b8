"""The loop, closed through a stock KEDA: up and down, to zero and from zero."""

import asyncio
import statistics
import time

import pytest

from tests.end_to_end.control_plane.engines import ENGINE, variant
from tests.end_to_end.control_plane.kube_api import eventually
from tests.end_to_end.control_plane.outcomes import Outcome
from tests.end_to_end.control_plane.stage import (
    World,
    enough_for,
    follows_up_and_down,
    new_namespace,
)

from .keda import Keda
from .listening import listening
from .stage import KedaStage, staged_with_keda

# The cadence of an installation without any setting; only what waits for minutes is shortened.
AS_INSTALLED = {
    "interval_s": 5,
    "max_decision_age_s": 30,
    "hold_s": 600,
    "zero_after_s": 3,
    "down_window_s": 3,
}
WINDOW_S = 20.0


@pytest.mark.parametrize("kind", ["external", "external-push"])
async def test_keda_follows_a_load_up_and_down(
    world: World, outcome: Outcome, keda: Keda, kind: str
) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat]) as own:
        stage = own.stage
        await stage.replicas("chat", 1)
        await stage.decision("chat", 1)
        await own.follow("chat", kind, least=1)
        hpa = await stage.kube.get(own.hpa_path("chat"))
        (metric,) = hpa["spec"]["metrics"]
        assert metric["external"]["metric"]["name"] == "s0-wva_desired_replicas"
        assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
        await follows_up_and_down(stage, outcome)


async def sleeps(own: KedaStage, name: str) -> None:
    """Let a variant go to sleep: no load, retention over, KEDA's cooldown over."""
    own.stage.engines.set_rate(0.0)
    await eventually(
        lambda: own.count(name), lambda count: count == 0, within_s=120, what=f"{name} sleeps"
    )
    await own.stage.replicas(name, 0)


async def woken(own: KedaStage, name: str, *, rate_rps: float = 10.0) -> tuple[float, float]:
    """Send load; return the waits from the first queued request to the push and to replicas."""
    async with listening(own.address, name, own.stage.namespace) as heard:
        await eventually(lambda: heard.next(False), within_s=10, what="the stream says: asleep")
        own.stage.engines.set_rate(rate_rps)
        while not own.waiting:
            await asyncio.sleep(0.002)
        queued_s = time.monotonic()
        pushing = asyncio.create_task(heard.next(True))
        while await own.count(name) == 0:
            assert time.monotonic() - queued_s < 30, "nobody wakes it"
            await asyncio.sleep(0.01)
        scaled_s = time.monotonic() - queued_s
        pushed_s = await asyncio.wait_for(pushing, 30) - queued_s
    return pushed_s, scaled_s


async def test_to_zero_and_from_zero_within_two_seconds_of_a_request(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    async with staged_with_keda(
        world, [chat], settings=AS_INSTALLED, least=0, window_s=WINDOW_S
    ) as own:
        await own.stage.replicas("chat", 1)
        await own.follow("chat", "external-push", pollingInterval=30)
        waits = []
        for _ in range(4):
            await sleeps(own, "chat")
            waits.append(await woken(own, "chat"))
            await own.stage.settled("chat", enough_for(10.0), within_s=90)
        pushes, wakes = zip(*waits, strict=True)
        outcome.reaction_s = max(wakes)
        for what, values in (("push", pushes), ("0 to 1", wakes)):
            print(
                f"{what}: median {statistics.median(values):.3f} s, "
                f"least {min(values):.3f} s, most {max(values):.3f} s of {len(values)}"
            )
        assert max(wakes) < 2.0
        assert await own.stage.witness.failures() == []


async def test_without_a_push_the_next_poll_wakes_it(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    settings = {"settings": AS_INSTALLED, "window_s": WINDOW_S}
    async with staged_with_keda(world, [chat], least=0, replicas=0, **settings) as own:
        await own.follow("chat", "external", pollingInterval=5)
        await sleeps(own, "chat")
        _, outcome.reaction_s = await woken(own, "chat")
        assert outcome.reaction_s < 2.0 + 5.0


async def test_the_first_request_wakes_the_cheapest_that_holds_the_slo_alone(
    world: World, outcome: Outcome, keda: Keda
) -> None:
    namespace = new_namespace()
    cheap, dear = (
        variant(name, namespace=namespace, accelerator=accelerator, engine=ENGINE, cold_start_s=20)
        for name, accelerator in (("cheap", "L40S"), ("dear", "H100"))
    )
    prices = {"H100": {"cost_per_hour": 4}, "L40S": {"cost_per_hour": 1}}
    settings = {**AS_INSTALLED, "accelerators": prices}
    async with staged_with_keda(
        world, [cheap, dear], settings=settings, least=0, window_s=WINDOW_S
    ) as own:
        for each in ("cheap", "dear"):
            await own.follow(each, "external-push")
        for each in ("cheap", "dear"):
            await sleeps(own, each)
        _, outcome.reaction_s = await woken(own, "cheap", rate_rps=1.0)
        assert outcome.reaction_s < 2.0
        await own.keeps("dear", 0, for_s=5.0)
