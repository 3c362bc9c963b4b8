"""The wire to the API server is cut in mid-run: nothing is forgotten, and what was missed is found."""

from .engines import PROFILE, variant
from .kube_api import eventually
from .objects import deployment, hpa
from .outcomes import Outcome
from .stage import World, new_namespace, staged
from .test_discovery import MANAGED, undeclared
from .wire import Wire

MODELS = {"m": {"service_class": "chat", "profiles": {"H100": PROFILE}}}
NOTES = {**MANAGED, "wva.llm-d.ai/accelerator": "H100"}


async def test_a_cut_watch_empties_nothing_and_catches_up(world: World, outcome: Outcome) -> None:
    namespace = new_namespace()
    chat, late = (variant(name, namespace=namespace) for name in ("chat", "late"))
    settings = undeclared(namespace, models=MODELS)
    async with (
        Wire(world.plane.url) as wire,
        staged(world, [chat, late], settings=settings, replicas=2, reads=False) as stage,
    ):
        stage.adapter.api_url = wire.url
        await stage.adapter.start()
        kube = stage.kube
        await kube.delete(f"/apis/apps/v1/namespaces/{namespace}/deployments/late")
        await kube.apply(hpa("chat", namespace=namespace, annotations=NOTES))
        await stage.decision("chat", 2, within_s=60)
        told: list[float] = []

        async def remembered() -> dict[str, float]:
            figures = await stage.adapter.figures()
            told.append(figures.get("chat", 0.0))
            return figures

        await wire.cut()
        await kube.apply(deployment("late", namespace=namespace, replicas=3))
        await kube.apply(hpa("late", namespace=namespace, annotations=NOTES))
        await eventually(
            remembered, lambda _: len(told) >= 40, within_s=30, every_s=0.2, what="8 s without it"
        )
        assert "late" not in await remembered(), "nobody told it"
        assert stage.adapter.daemon is not None
        assert "the watch broke" in (said := stage.adapter.daemon.tail(20_000)), said
        await wire.mend()
        await eventually(
            remembered, lambda found: "late" in found, within_s=45, what="the late one is found"
        )
        await stage.adapter.available()
        await stage.decision("late", 3, within_s=30)
        assert set(told) == {2.0}, "it was never forgotten and never lowered"
