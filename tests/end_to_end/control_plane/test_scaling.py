"""The loop, closed: load, engines, adapter, stock HPA, stock Deployment, engines."""

import pytest

from .engines import variant
from .objects import fast_behavior
from .outcomes import Outcome
from .stage import World, enough_for, follows_up_and_down, new_namespace, staged


async def test_hpa_follows_a_load_up_and_down(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat]) as stage:
        await stage.replicas("chat", 1)
        await follows_up_and_down(stage, outcome)


@pytest.mark.parametrize("tolerance", ["0", None], ids=["tolerance 0", "cluster's tolerance"])
async def test_one_more_than_twelve_is_acted_on(
    world: World, outcome: Outcome, tolerance: str | None
) -> None:
    """Stock HPA leaves 12 at 12 when the metric is 13, unless its tolerance is 0."""
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    settings = {"hpa_tolerance": 0.0 if tolerance else 0.1}
    behavior = fast_behavior(tolerance=tolerance)
    async with staged(world, [chat], settings=settings, behavior=behavior, replicas=12) as stage:
        rate_rps, seen = 34.0, stage.witness
        stage.engines.set_rate(rate_rps)
        await stage.settled("chat", enough_for(rate_rps), tolerance=settings["hpa_tolerance"])
        before = after = seen.replicas("chat")
        assert before >= 11
        while after <= before:
            assert rate_rps < 60, f"{before} are still there at {rate_rps} requests/s"
            rate_rps += 0.8
            changed_s = stage.engines.set_rate(rate_rps)
            await stage.settled("chat", tolerance=settings["hpa_tolerance"])
            after = seen.replicas("chat")
        await stage.measure(outcome, after_s=changed_s, variant="chat")
        apart = abs(after - seen.decision("chat"))
        assert apart <= settings["hpa_tolerance"] * after, "HPA has what was decided"
        assert after > before * (1.0 if tolerance else 1.1)
        assert outcome.failures == []
