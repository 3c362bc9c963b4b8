"""Quotas bound always, nodes where capacity is strict, and neither takes what runs."""

from dataclasses import replace
from typing import Any

import pytest

from adapter.config import parse_settings
from adapter.discovery.nodes import Quota, reduce_quota
from adapter.discovery.world import World, join
from tests.helpers.kube_objects import deployment, engine, hpa, node, pod

from .test_world import KEY, NOW_S, told, view

GPU = "nvidia.com/gpu"
STRICT = "strict_capacity: true"


def quota(hard: int, used: int, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus", "namespace": "default"},
        "spec": spec,
        "status": {
            "hard": {f"requests.{GPU}": str(hard), "pods": "10", "requests.amd.com/gpu": "2"},
            "used": {f"requests.{GPU}": str(used)},
        },
    }


def world(
    *objects: dict[str, Any], settings: str = "", quotas: tuple[Any, ...] = (), nodes: bool = True
) -> World:
    seen = replace(view(*objects), quotas=tuple(map(reduce_quota, quotas)))
    if not nodes:
        seen = replace(seen, nodes=None)
    return join(parse_settings(settings), seen, now_unix_s=NOW_S)


def test_a_quota_is_kept_by_resource():
    assert reduce_quota(quota(4, 1)) == Quota(
        namespace="default", bounds=((GPU, 4, 1), ("amd.com/gpu", 2, 0))
    )


@pytest.mark.parametrize(
    "spec", [{"scopes": ["BestEffort"]}, {"scopeSelector": {"matchExpressions": []}}], ids=str
)
def test_a_quota_for_some_pods_is_left_out(spec):
    assert reduce_quota(quota(4, 1, **spec)) is None


@pytest.mark.parametrize(
    ("hard", "used", "replicas", "left"),
    [
        pytest.param(8, 2, 1, 8, id="all that is used is ours"),
        pytest.param(8, 5, 1, 5, id="three are others'"),
        pytest.param(8, 2, 3, 8, id="asked for and not yet counted"),
        pytest.param(2, 9, 1, 2, id="lowered below what runs"),
        pytest.param(8, 8, 0, 0, id="others have it all"),
    ],
)
def test_a_quota_bounds_what_others_leave(hard, used, replicas, left):
    chat = deployment(replicas=replicas, containers=[engine(gpus=2)])
    joined = world(hpa(), chat, quotas=(quota(hard, used),))
    assert joined.settings.quotas == {"default": {GPU: left}}
    assert joined.settings.variants[0].accelerator_resource == GPU


def test_of_several_quotas_and_the_settings_the_smallest_counts():
    joined = world(
        hpa(),
        deployment(),
        quotas=(quota(8, 1), quota(6, 1)),
        settings=f"quotas: {{default: {{{GPU}: 7, H100: 3}}}}",
    )
    assert joined.settings.quotas == {"default": {GPU: 6, "H100": 3}}


def test_a_quota_of_a_namespace_without_variants_bounds_nothing():
    other = {**quota(4, 1), "metadata": {"name": "gpus", "namespace": "other"}}
    assert world(hpa(), deployment(), quotas=(other,)).settings.quotas == {}


def test_a_quota_of_accelerators_is_told():
    joined = world(hpa(), deployment(), node(), quotas=(quota(4, 1),))
    assert "quota has 1 of 4 nvidia.com/gpu used" in joined.standings[KEY].supply


@pytest.mark.parametrize(
    ("settings", "nodes", "count"),
    [
        pytest.param("", (node(gpus=8),), None, id="not strict: nodes may be added"),
        pytest.param(STRICT, (node(gpus=8),), 5, id="what others don't hold"),
        pytest.param(STRICT, (), 2, id="nothing, but for what runs"),
        pytest.param(
            f"{STRICT}\naccelerators: {{H100: {{count: 4}}}}", (node(gpus=8),), 4,
            id="a cap of the settings counts first",
        ),
        pytest.param(
            f"{STRICT}\naccelerators: {{H100: {{count: -1}}}}", (node(gpus=8),), -1,
            id="unlimited by the settings",
        ),
    ],
)  # fmt: skip
def test_nodes_bound_where_capacity_is_strict(settings, nodes, count):
    others = pod("theirs", owner=("ReplicaSet", "other-6f7"), containers=[engine(gpus=3)])
    notes = {"wva.llm-d.ai/accelerator": "H100"}
    joined = world(hpa(notes=notes), deployment(replicas=2), others, *nodes, settings=settings)
    found = joined.settings.accelerators.get("H100")
    assert (found.count if found is not None else None) == count
    assert (", which bounds it" in joined.standings[KEY].supply) == (STRICT in settings)


def test_an_accelerator_that_only_nodes_count_keeps_its_list_price():
    joined = world(hpa(), deployment(), pod(), node(), settings=STRICT)
    assert joined.settings.accelerators["H100"].cost_per_hour is None


def test_nodes_that_can_not_be_read_are_no_limit_and_told_of():
    joined = world(hpa(), deployment(), settings=STRICT, nodes=False)
    (kind,) = joined.settings.accelerators.values()
    assert kind.count == -1
    assert "strict_capacity: nodes can't be read" in told(joined)
