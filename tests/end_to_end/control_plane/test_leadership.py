"""Several replicas of the adapter: one decides, all serve, and one takes over."""

import asyncio
import time

from .engines import variant
from .installed import SYSTEM, Installed, installed
from .kube_api import eventually, path_of
from .outcomes import Outcome
from .stage import World, enough_for, new_namespace

LEASE = path_of("Lease", "wva", version="coordination.k8s.io/v1", namespace=SYSTEM)

# A fail-over takes as long as a Lease lasts; what was decided holds longer than that.
HOLDS = {"hold_s": 600}


async def leader(stage: Installed) -> str:
    """Return the name of the pod that holds the Lease."""
    lease = await stage.kube.get(LEASE)
    address = lease["metadata"]["annotations"]["wva.llm-d.ai/address"]
    return next(
        name for name, pod in stage.pods.pods.items() if address.startswith(f"{pod.address}:")
    )


async def test_a_killed_leader_is_followed_within_fifteen_seconds(
    world: World, outcome: Outcome
) -> None:
    """Load rises in the moment of the kill; no read fails, no count falls, HPA goes on."""
    chat = variant("chat", namespace=new_namespace())
    async with installed(world, [chat], replicas=2, settings=HOLDS) as stage:
        await stage.follow([chat])
        stage.engines.set_rate(7.0)
        before = await settled(stage, enough_for(7.0))
        first = await leader(stage)
        counts = [before]
        stage.pods.pods[first].daemon.kill()
        killed_s = time.monotonic()
        stage.engines.set_rate(24.0)

        async def other() -> bool:
            counts.append(await stage.replicas("chat"))
            holder = (await stage.kube.get(LEASE))["spec"]["holderIdentity"]
            return bool(holder) and await leader(stage) != first

        await eventually(other, within_s=15, what="another replica leads")
        after = await settled(stage, enough_for(24.0))
        outcome.reaction_s = time.monotonic() - killed_s
        assert after > before
        assert min(counts) >= before
        outcome.failures = await stage.failures()
        assert outcome.failures == []


async def test_lost_state_maps_change_nothing(world: World, outcome: Outcome) -> None:
    chat = variant("chat", namespace=new_namespace())
    async with installed(world, [chat], replicas=2, settings=HOLDS) as stage:
        await stage.follow([chat])
        stage.engines.set_rate(7.0)
        before = await settled(stage, enough_for(7.0))
        folder = path_of("ConfigMap", namespace=SYSTEM)
        kept = [
            each["metadata"]["name"]
            for each in (await stage.kube.get(folder))["items"]
            if each["metadata"]["name"].startswith("wva-state-")
        ]
        assert kept, "the leader persists its state"
        for name in kept:
            await stage.kube.delete(path_of("ConfigMap", name, namespace=SYSTEM))
        await stage.rollout("restart")
        await stage.rollout("status", "--timeout=120s")
        for _ in range(20):
            assert await stage.replicas("chat") >= before
            await asyncio.sleep(0.5)
        outcome.failures = await stage.failures()
        assert outcome.failures == []


async def settled(stage: Installed, holds: object, *, within_s: float = 90.0) -> int:
    """Return HPA's count once it holds and has stood for some seconds."""
    since, seen = time.monotonic(), -1
    deadline = since + within_s
    while time.monotonic() - since < 6.0 or not holds(seen):  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never settled: {seen} replicas"
        if (now := await stage.replicas("chat")) != seen:
            since, seen = time.monotonic(), now
        await asyncio.sleep(0.25)
    return seen
