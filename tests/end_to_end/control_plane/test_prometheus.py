"""Engines read through a real Prometheus instead of one by one."""

import shutil

import pytest

from .engines import variant
from .kube_api import eventually
from .outcomes import Outcome
from .prometheus_server import PrometheusServer
from .stage import World, new_namespace, staged
from .test_outages import frozen

PROGRAM = shutil.which("prometheus")


@pytest.mark.skipif(PROGRAM is None, reason="no prometheus here (Debian: apt install prometheus)")
async def test_engines_are_read_through_prometheus(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    chat = variant("chat", namespace=namespace)
    async with staged(world, [chat], reads=False) as stage:
        assert PROGRAM is not None
        server = PrometheusServer(PROGRAM, world.folder, targets_url=stage.engines.targets_url)
        server.start()
        try:
            own = dict(stage.adapter.settings["variants"][0])
            own["series"] = {"namespace": namespace, "variant": "chat"}
            source = {"url": server.url, "timeout_s": 1, "window_s": 15}
            stage.adapter.settings |= {"sources": {"prometheus": source}, "variants": [own]}
            await stage.adapter.start()
            # Until Prometheus has scraped, nothing is known and reads are refused.
            await eventually(stage.metric, within_s=60, what="a first decision")
            await stage.follow()
            stage.engines.set_rate(14.0)
            await stage.settled("chat", lambda count: count >= 4)
            stage.engines.set_rate(2.0)
            # A rate over 15 s falls for 15 s; what it still asked for is kept for a cold start.
            await stage.settled("chat", lambda count: count <= 2, within_s=150)
            await stage.measure(outcome)
            assert outcome.failures == []
            server.daemon.kill()
            condition = await stage.until_condition(
                "chat", "ScalingActive", frozen, within_s=40, what="HPA is frozen"
            )
            assert "is refused" in condition["message"]
        finally:
            server.stop()
