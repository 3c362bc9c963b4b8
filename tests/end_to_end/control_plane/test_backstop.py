"""The second metric of overlay `backstop`: what HPA goes up on when the adapter is dead."""

import yaml

from .access import ROOT
from .engines import variant
from .objects import hpa
from .outcomes import Outcome
from .queue_adapter import QUEUE, serving_queues
from .stage import World, new_namespace, staged, steady

COMPONENT = ROOT / "manifests" / "components" / "backstop" / "kustomization.yaml"


def second_metric() -> dict[str, object]:
    """Return the metric that the component adds to an HPA."""
    (patch,) = yaml.safe_load(COMPONENT.read_text(encoding="utf-8"))["patches"]
    (operation,) = yaml.safe_load(patch["patch"])
    return operation["value"]


async def test_with_the_backstop_hpa_goes_up_without_the_adapter(
    world: World, outcome: Outcome
) -> None:
    async with (
        staged(world, [variant("chat", namespace=new_namespace())]) as stage,
        serving_queues(stage),
    ):
        both = hpa("chat", namespace=stage.namespace)
        both["spec"]["metrics"].append(second_metric())
        await stage.kube.apply(both)
        count = await steady(stage, 7.0)
        # While the adapter decides, the second metric asks for less: its own count stands.
        assert stage.witness.replicas("chat") == count
        status = (await stage.hpa("chat"))["status"]["currentMetrics"]
        assert [each["type"] for each in status] == ["External", "Pods"]
        assert status[1]["pods"]["metric"]["name"] == QUEUE
        stage.adapter.kill()
        changed_s = stage.engines.set_rate(24.0)
        condition = await stage.until_condition(
            "chat",
            "ScalingActive",
            lambda _: stage.witness.replicas("chat") > count,
            within_s=60,
            what="HPA goes up on waiting requests",
        )
        assert condition["status"] == "True"
        # And never down while the decision can't be read.
        stage.engines.set_rate(1.0)
        grown = stage.witness.replicas("chat")
        await stage.replicas("chat", grown, within_s=60)
        outcome.reaction_s = stage.witness.first_change_s("chat", after_s=changed_s)
        await stage.adapter.start()
        assert await stage.settled("chat", lambda n: n < grown, within_s=90) < grown
