"""The loop, closed: load, engines, adapter, stock HPA, stock Deployment, engines."""

import asyncio
from collections.abc import Callable

import pytest

from .engines import variant
from .objects import fast_behavior
from .outcomes import Outcome
from .stage import Stage, World, new_namespace, staged


async def load_of(stage: Stage, name: str, replicas: float) -> float:
    """Turn the load to what so many replicas carry; return the moment."""
    return stage.engines.set_rate(replicas * await stage.capacity_rps(name))


async def settled(
    stage: Stage,
    name: str,
    holds: Callable[[int], bool] = lambda _: True,
    *,
    within_s: float = 60.0,
) -> int:
    """Return the decision once it holds, has stood for some seconds, and HPA has followed it."""
    loop = asyncio.get_running_loop()
    deadline, since, seen = loop.time() + within_s, loop.time(), -1
    while loop.time() - since < 4.0 or not holds(seen) or stage.witness.replicas(name) != seen:
        assert loop.time() < deadline, (
            f"never settled: decided {stage.witness.decided[-5:]}, "
            f"scaled {stage.witness.scaled[-5:]}"
        )
        if stage.witness.decision(name) != seen:
            since, seen = loop.time(), stage.witness.decision(name)
        await asyncio.sleep(0.2)
    return seen


async def test_hpa_follows_a_load_up_and_down(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat]) as stage:
        await stage.replicas("chat", 1)
        changed_s = await load_of(stage, "chat", 4.5)
        up = await settled(stage, "chat", lambda count: count >= 5)
        assert up <= 6
        await stage.replicas("chat", up)
        await load_of(stage, "chat", 0.5)
        down = await settled(stage, "chat", lambda count: count <= 2)
        await stage.replicas("chat", down)
        await stage.measure(outcome, after_s=changed_s, variant="chat")
        followed, made = outcome.honoured or (0, 0)
        assert followed == made > 0
        assert outcome.failed_reads == 0


@pytest.mark.parametrize("tolerance", ["0", None], ids=["tolerance 0", "tolerance of the cluster"])
async def test_one_more_than_twelve_is_acted_on(
    world: World, outcome: Outcome, tolerance: str | None
) -> None:
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    settings = {"hpa_tolerance": 0.0 if tolerance else 0.1}
    behavior = fast_behavior(tolerance=tolerance)
    async with staged(world, [chat], settings=settings, behavior=behavior, replicas=12) as stage:
        await load_of(stage, "chat", 11.5)
        start = await settled(stage, "chat")
        share = 11.5
        while await settled(stage, "chat") == start:
            share += 0.5
            changed_s = await load_of(stage, "chat", share)
        after = stage.witness.replicas("chat")
        assert after > start
        await stage.measure(outcome, after_s=changed_s, variant="chat")
