"""Deletion costs against an API server: set for a step down, taken back, nothing else touched."""

from adapter.announce.deletion_cost import ANNOTATION, COST
from tests.helpers.fake_cluster import failure

from .test_announcer import HPA, Rig, rig  # noqa: F401 - a fixture

POD = "/api/v1/namespaces/default/pods/llama-1"


def annotations(rig: Rig) -> dict[str, str]:  # noqa: F811 - the fixture's value
    return rig.cluster.objects[POD]["metadata"].get("annotations") or {}


async def test_the_pods_that_should_go_are_named_and_released(rig) -> None:  # noqa: F811
    rig.cluster.put(POD, {"metadata": {"annotations": {"mine": "kept"}}})
    await rig.decide(2, texts={**HPA, "leaving_first": "llama-1"})
    assert annotations(rig) == {"mine": "kept", ANNOTATION: COST}
    written = rig.writes().count(POD)
    await rig.decide(2, texts={**HPA, "leaving_first": "llama-1"})
    assert rig.writes().count(POD) == written
    await rig.decide(3)
    assert annotations(rig) == {"mine": "kept"}


async def test_a_pod_that_is_gone_harms_nothing(rig) -> None:  # noqa: F811
    await rig.decide(2, texts={**HPA, "leaving_first": "llama-1"})
    assert rig.announcer.problem == ""


async def test_a_decision_that_is_too_old_names_nobody(rig) -> None:  # noqa: F811
    rig.cluster.put(POD, {"metadata": {}})
    await rig.decide(2, texts={**HPA, "leaving_first": "llama-1"}, age_s=100.0)
    assert annotations(rig) == {}


async def test_without_the_right_it_is_said_and_tried_again(rig) -> None:  # noqa: F811
    rig.cluster.put(POD, {"metadata": {}})
    rig.cluster.fault = lambda method, _path: (
        failure(403, "Forbidden", "pods is forbidden") if method == "PATCH" else None
    )
    await rig.decide(2, texts={**HPA, "leaving_first": "llama-1"})
    assert "forbidden" in rig.announcer.problem
    rig.cluster.fault = None
    await rig.announcer.round()
    assert annotations(rig) == {ANNOTATION: COST}
