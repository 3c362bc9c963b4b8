"""Settings and objects joined: which variants there are, where their engines are, what bounds them."""

from dataclasses import replace
from typing import Any

import pytest

from adapter.catalog import build_catalog
from adapter.collect.fleet import Group
from adapter.config import parse_settings
from adapter.discovery.autoscalers import reduce_hpa, reduce_scaled_object
from adapter.discovery.declarations import reduce_variant
from adapter.discovery.nodes import reduce_node
from adapter.discovery.pods import reduce_pod
from adapter.discovery.view import ClusterView
from adapter.discovery.workloads import reduce_workload
from adapter.discovery.world import World, join
from adapter.kube.fields import instant_s
from adapter.records import ReplicaState
from tests.helpers.kube_objects import (
    deployment,
    engine,
    hpa,
    leader_worker_set,
    node,
    pod,
    scaled_object,
    variant,
)

NOW_S = instant_s("2027-01-01T12:00:00Z")
KEY = ("default", "chat")


def view(*objects: dict[str, Any], pods_known: bool = True) -> ClusterView:
    """Return the view of a cluster with these objects."""

    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in objects if each["kind"] == kind]

    workloads = [
        reduce_workload(each, kind)
        for kind in ("Deployment", "StatefulSet", "LeaderWorkerSet")
        for each in of(kind)
    ]
    kept = (reduce_pod(each) for each in of("Pod"))
    return ClusterView(
        hpas=tuple(map(reduce_hpa, of("HorizontalPodAutoscaler"))),
        scaled_objects=tuple(map(reduce_scaled_object, of("ScaledObject"))),
        variants=tuple(map(reduce_variant, of("VariantAutoscaling"))),
        workloads={(each.namespace, each.owner): each for each in workloads},
        pods=tuple(each for each in kept if each is not None) if pods_known else None,
        nodes=tuple(each for each in map(reduce_node, of("Node")) if each is not None),
    )


def world(*objects: dict[str, Any], settings: str = "", pods_known: bool = True) -> World:
    seen = view(*objects, pods_known=pods_known)
    return join(parse_settings(settings), seen, now_unix_s=NOW_S)


def only(joined: World) -> Any:
    assert len(joined.settings.variants) == 1, joined.problems
    return joined.settings.variants[0]


def told(joined: World) -> str:
    return "\n".join(f"{each.source}: {each.message}" for each in joined.problems)


def test_an_annotated_hpa_and_its_pods_are_enough():
    joined = world(hpa(least=2, most=9), deployment(replicas=1), pod(), node())
    chat = only(joined)
    assert (chat.key, chat.model, chat.accelerator) == (KEY, "m", "H100")
    assert (chat.min_replicas, chat.max_replicas, chat.mode) == (2, 9, "active")
    assert chat.cost_per_hour is None
    assert joined.sighting.groups[KEY] == (
        Group(
            namespace="default",
            variant="chat",
            replica="chat-6f7-abcde",
            state=ReplicaState.READY,
            urls=("http://10.0.0.1:8000/metrics",),
        ),
    )
    assert (joined.sighting.current[KEY], joined.sighting.ready[KEY]) == (1, 1)
    assert joined.problems == ()


@pytest.mark.parametrize(
    ("object_", "name"),
    [
        pytest.param(hpa("a", variant_name="chat"), "chat", id="selector of the HPA's metric"),
        pytest.param(hpa("a"), "a", id="name of the HPA"),
        pytest.param(
            scaled_object("a", trigger={"type": "external", "metadata": {"variantName": "chat"}}),
            "chat",
            id="external trigger",
        ),
        pytest.param(
            scaled_object(
                "a",
                trigger={
                    "type": "prometheus",
                    "metadata": {"query": 'wva_desired_replicas{variant_name="chat"}'},
                },
            ),
            "chat",
            id="prometheus trigger",
        ),
        pytest.param(scaled_object("a"), "a", id="name of the ScaledObject"),
        pytest.param(variant("chat"), "chat", id="name of the VariantAutoscaling"),
    ],
)
def test_a_variant_is_called_what_its_consumer_asks_for(object_, name):
    assert only(world(object_)).name == name


@pytest.mark.parametrize(
    ("objects", "bounds"),
    [
        pytest.param([hpa(least=None, most=3)], (1, 3), id="an HPA's default minimum"),
        pytest.param([hpa(least=0, most=3)], (0, 3), id="an HPA that may go to zero"),
        pytest.param([scaled_object()], (0, 100), id="KEDA's defaults"),
        pytest.param([scaled_object(minReplicaCount=2, maxReplicaCount=4)], (2, 4), id="KEDA"),
        pytest.param(
            [scaled_object(minReplicaCount=2, idleReplicaCount=0)], (0, 100), id="KEDA's idle count"
        ),
        pytest.param([variant()], (1, 10), id="nobody follows the variant"),
        pytest.param(
            [variant(), hpa("x", model=None, variant_name="chat", least=2, most=5)],
            (2, 5),
            id="the bounds of the variant's HPA",
        ),
        pytest.param(
            [variant(minReplicas=3, maxReplicas=7), hpa("x", model=None, variant_name="chat")],
            (3, 7),
            id="the variant's own bounds",
        ),
    ],
)
def test_bounds_come_from_who_scales(objects, bounds):
    chat = only(world(*objects, deployment()))
    assert (chat.min_replicas, chat.max_replicas) == bounds


def test_without_a_gate_a_variant_never_goes_to_zero():
    joined = world(variant(minReplicas=0), hpa(model=None, variant_name="chat"), deployment())
    assert only(joined).min_replicas == 1
    assert "can't go there: 1 it is" in told(joined)


def test_an_hpa_that_keda_made_is_not_a_second_variant():
    made = hpa(
        "keda-hpa-chat",
        target="chat",
        ownerReferences=[{"kind": "ScaledObject", "name": "chat", "controller": True}],
    )
    joined = world(scaled_object(), made, deployment())
    assert only(joined).max_replicas == 100
    assert joined.problems == ()


@pytest.mark.parametrize(
    ("objects", "winner"),
    [
        pytest.param([hpa(most=3), scaled_object(maxReplicaCount=4)], 4, id="KEDA before HPA"),
        pytest.param([variant(maxReplicas=5), hpa(most=3)], 3, id="HPA before the CRD"),
        pytest.param(
            [hpa("b", target="chat", most=3), hpa("a", target="chat", most=4)],
            4,
            id="the first of one age",
        ),
    ],
)
def test_of_two_declarations_one_counts_and_the_other_is_told_of(objects, winner):
    joined = world(*objects, deployment())
    assert only(joined).max_replicas == winner
    assert "already, which counts" in told(joined)


def test_limits_are_read_from_the_pod_template_and_decided_with():
    secret = engine("--max-num-seqs=16", "--api-key=s3cret", "--num-gpu-blocks-override=100")
    joined = world(hpa(), deployment(containers=[secret]))
    assert only(joined).engine_arguments == (
        "vllm",
        "--max-num-seqs=16",
        "--num-gpu-blocks-override=100",
    )
    catalog = build_catalog(joined.settings)
    assert (catalog.max_batch_size[0], catalog.kv_capacity_tokens[0]) == (16, 1600)


def test_the_settings_come_before_every_object():
    joined = world(
        hpa(most=3),
        deployment(),
        settings="variants: [{name: chat, model: m, accelerator: L40S, max_replicas: 7}]",
    )
    assert only(joined).max_replicas == 7
    assert "the settings declare variant chat already" in told(joined)


def test_a_target_that_can_not_be_read_is_not_at_zero():
    follower = hpa()
    follower["spec"]["scaleTargetRef"] |= {"apiVersion": "argoproj.io/v1", "kind": "Rollout"}
    joined = world(follower)
    assert (joined.sighting.current[KEY], joined.sighting.ready[KEY]) == (-1, 0)
    assert world(hpa()).sighting.current[KEY] == 0  # a Deployment that isn't there
    seen = replace(view(hpa()), listed=frozenset())
    unread = join(parse_settings(""), seen, now_unix_s=NOW_S)
    assert unread.sighting.current[KEY] == -1
    assert "isn't there" not in told(unread)


def test_the_settings_may_name_somebody_elses_target():
    joined = world(
        hpa("theirs", model=None, target="chat", tolerance="0.05"),
        deployment(replicas=1),
        pod(),
        settings="variants: [{name: mine, model: m, accelerator: L40S, target_ref: {name: chat}}]",
    )
    key = ("default", "mine")
    assert [group.replica for group in joined.sighting.groups[key]] == ["chat-6f7-abcde"]
    assert joined.standings[key].tolerance_ratio == 0.05


@pytest.mark.parametrize(
    ("notes", "problem"),
    [
        pytest.param({"llm-d.ai/model-id": ""}, "llm-d.ai/model-id is missing", id="no model"),
        pytest.param({"llm-d.ai/variant-cost": "cheap"}, "'cheap' is no number", id="cost"),
        pytest.param({"llm-d.ai/variant-cost": "-1"}, "'-1' is no number", id="negative cost"),
        pytest.param({"llm-d.ai/variant-cost": "nan"}, "'nan' is no number", id="cost of NaN"),
        pytest.param({"wva.llm-d.ai/service-class": "gold"}, "'gold' is not in", id="class"),
        pytest.param({"wva.llm-d.ai/mode": "off"}, "'off' is none of", id="mode"),
        pytest.param({"wva.llm-d.ai/pin": "-3"}, "'-3' is no number of", id="pin"),
        pytest.param({"wva.llm-d.ai/hold": "blue"}, "hold 'blue' isn't canary", id="hold"),
        pytest.param(
            {"wva.llm-d.ai/pin": "3", "wva.llm-d.ai/pin-until": "tomorrow"},
            "'tomorrow' is no time",
            id="until",
        ),
    ],
)
def test_an_annotation_that_cannot_be_read_is_told_of(notes, problem):
    joined = world(hpa(notes=notes), deployment())
    assert problem in told(joined)
    assert "HPA default/chat: " in told(joined)


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        pytest.param({}, ("active", 1, 20), id="none"),
        pytest.param({"mode": "observe"}, ("observe", 1, 20), id="observe"),
        pytest.param(
            {"mode": "observe", "mode-until": "2027-01-01T11:59:00Z"}, ("active", 1, 20), id="over"
        ),
        pytest.param({"pin": "4"}, ("active", 4, 4), id="pin"),
        pytest.param({"pin": "40"}, ("active", 20, 20), id="pin above the maximum"),
        pytest.param(
            {"pin": "4", "pin-until": "2027-01-01T13:00:00+00:00"}, ("active", 4, 4), id="until"
        ),
        pytest.param({"floor": "5"}, ("active", 5, 20), id="floor"),
        pytest.param({"floor": "50"}, ("active", 20, 20), id="floor above the maximum"),
    ],
)
def test_orders_hold_as_long_as_they_say(notes, expected):
    annotations = {f"wva.llm-d.ai/{name}": value for name, value in notes.items()}
    chat = only(world(hpa(notes=annotations), deployment()))
    assert (chat.mode, chat.min_replicas, chat.max_replicas) == expected


@pytest.mark.parametrize(
    ("note", "hold", "takes_over"),
    [
        ({"hold": "canary"}, "canary", None),
        ({"hold": "canary", "hold-until": "2027-01-01T11:59:00Z"}, None, None),
        ({"takes-over": "old"}, None, "old"),
        ({"takes-over": "gone"}, None, None),
    ],
    ids=["canary", "over", "takeover", "takeover of nobody"],
)
def test_a_variant_may_be_kept_out_of_moves_or_take_over(note, hold, takes_over):
    annotations = {f"wva.llm-d.ai/{name}": value for name, value in note.items()}
    joined = world(
        hpa(notes=annotations),
        deployment(),
        hpa(name="old", target="old"),
        deployment(name="old"),
    )
    chat = next(v for v in joined.settings.variants if v.name == "chat")
    assert (chat.hold, chat.takes_over) == (hold, takes_over)
    assert ("'gone' is no other variant of its namespace" in told(joined)) == ("gone" in str(note))


@pytest.mark.parametrize(
    ("pods", "took_s"),
    [
        pytest.param([pod("a", ready_at="2027-01-01T00:01:30Z")], 90.0, id="created to ready"),
        pytest.param(
            [
                pod("a", ready_at="2027-01-01T00:01:00Z"),
                pod("b", ready_at="2027-01-01T00:01:10Z"),
                pod("c", ready_at="2027-01-01T00:50:00Z"),
            ],
            70.0,
            id="the middle: one may have been unready since",
        ),
        pytest.param([pod("a", ready_at="2027-01-01T00:00:00Z")], 1.0, id="within a second"),
        pytest.param([pod("a", ready_at="2027-01-01T09:00:00Z")], None, id="unready since"),
        pytest.param([pod("a", ready_at="2027-01-01T00:01:30Z", restarts=1)], None, id="restarted"),
        pytest.param([pod("a", ready=False, ready_at="2027-01-01T00:01:30Z")], None, id="unready"),
        pytest.param([pod("a")], None, id="no time"),
    ],
)
def test_a_cold_start_is_read_off_the_pods_that_are_there(pods, took_s):
    assert world(hpa(), deployment(), *pods).standings[KEY].cold_start_s == took_s


DISABLED = {"selectPolicy": "Disabled"}


@pytest.mark.parametrize(
    ("follower", "bounds", "words"),
    [
        pytest.param(
            scaled_object(notes={"autoscaling.keda.sh/paused-scale-in": "true"}, maxReplicaCount=9),
            (4, 9), "ScaleDownDisabled: the count may not fall, by autoscaling.keda.sh/paused-sc",
            id="KEDA's paused-scale-in",
        ),
        pytest.param(
            scaled_object(notes={"autoscaling.keda.sh/paused-scale-out": "True"}),
            (0, 4), "ScaleUpDisabled: the count may not rise", id="KEDA's paused-scale-out",
        ),
        pytest.param(
            scaled_object(notes={"autoscaling.keda.sh/paused-scale-in": "false"}, maxReplicaCount=9),
            (0, 9), "", id="a pause that is off",
        ),
        pytest.param(
            scaled_object(maxReplicaCount=9, advanced={
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": DISABLED}}}),
            (4, 9), "by behavior.scaleDown.selectPolicy: Disabled", id="a ScaledObject's behavior",
        ),
        pytest.param(
            hpa(most=9, behavior={"scaleUp": DISABLED}), (1, 4), "ScaleUpDisabled",
            id="an HPA's behavior",
        ),
    ],
)  # fmt: skip
def test_a_direction_that_is_closed_is_not_planned_and_told_of(follower, bounds, words):
    joined = world(follower, deployment(replicas=4))
    chat = only(joined)
    assert (chat.min_replicas, chat.max_replicas, chat.mode) == (*bounds, "active")
    assert words in "; ".join(joined.standings[KEY].limits)


def test_a_closed_direction_bounds_nothing_while_the_count_is_not_known():
    held = scaled_object(notes={"autoscaling.keda.sh/paused-scale-out": "true"}, maxReplicaCount=9)
    assert only(world(held, pods_known=False)).max_replicas == 9


@pytest.mark.parametrize(
    ("fallback", "risk"),
    [
        pytest.param(None, "", id="none"),
        pytest.param({"failureThreshold": 3, "replicas": 2}, "fallback static to 2", id="static"),
        pytest.param(
            {"replicas": 2, "behavior": "currentReplicasIfLower"},
            "fallback currentReplicasIfLower to 2",
            id="if lower",
        ),
        pytest.param({"replicas": 2, "behavior": "currentReplicasIfHigher"}, "", id="if higher"),
        pytest.param(
            {"replicas": 0, "behavior": "currentReplicas"}, "fallback currentReplicas", id="zero"
        ),
    ],
)
def test_a_fallback_that_can_lower_replicas_is_known(fallback, risk):
    follower = scaled_object(**({"fallback": fallback} if fallback else {}))
    told_of = world(follower, deployment()).standings[KEY].fallback_risk
    assert told_of.startswith(risk)
    assert bool(told_of) == bool(risk)


PULL = {"type": "external", "metadata": {"scalerAddress": "wva.wva-system.svc:6000"}}


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        pytest.param([hpa()], "never below 1, by its HPA's minReplicas; 0 needs KEDA", id="HPA"),
        pytest.param([hpa(least=0)], "its HPA goes to 0", id="HPA from 1.37 on"),
        pytest.param(
            [variant(minReplicas=0), hpa(model=None, variant_name="chat")],
            "never below 1, by its HPA's minReplicas",
            id="a variant that may, an HPA that can not",
        ),
        pytest.param(
            [scaled_object()],
            "KEDA takes it to 0 300 s after it was last asked for (cooldownPeriod); a push wakes",
            id="KEDA, push",
        ),
        pytest.param(
            [scaled_object(trigger=PULL, cooldownPeriod=60, pollingInterval=5)],
            "0 60 s after it was last asked for (cooldownPeriod); a poll wakes it, each 5 s",
            id="KEDA, pull",
        ),
        pytest.param(
            [scaled_object(minReplicaCount=2, idleReplicaCount=0)],
            "KEDA takes it to 0",
            id="KEDA's idle count",
        ),
        pytest.param(
            [scaled_object(minReplicaCount=2)],
            "never below 2, by its ScaledObject's minReplicaCount",
            id="KEDA's minimum",
        ),
    ],
)
def test_it_is_told_who_takes_a_variant_to_zero_and_back(objects, words):
    assert words in world(*objects, deployment()).standings[KEY].zero


def test_an_hpa_that_keda_made_says_nothing_of_zero_in_place_of_its_scaled_object():
    owner = {"kind": "ScaledObject", "name": "chat"}
    made = hpa("keda-hpa-chat", target="chat", ownerReferences=[owner])
    joined = world(scaled_object(), made, deployment())
    assert only(joined).min_replicas == 0
    assert joined.standings[KEY].zero.startswith("KEDA takes it to 0")


@pytest.mark.parametrize("note", [{"paused": "true"}, {"paused-replicas": "2"}], ids=str)
def test_a_pause_of_keda_is_honoured(note):
    notes = {f"autoscaling.keda.sh/{name}": value for name, value in note.items()}
    assert only(world(scaled_object(notes=notes), deployment())).mode == "paused"


@pytest.mark.parametrize(
    ("objects", "name"),
    [
        pytest.param(
            [hpa(notes={"wva.llm-d.ai/accelerator": "L4"}), node()], "L4", id="annotation"
        ),
        pytest.param(
            [hpa(), deployment(pod={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}})],
            "L40S",
            id="node selector",
        ),
        pytest.param(
            [
                hpa(),
                deployment(
                    pod={
                        "affinity": {
                            "nodeAffinity": {
                                "requiredDuringSchedulingIgnoredDuringExecution": {
                                    "nodeSelectorTerms": [
                                        {
                                            "matchExpressions": [
                                                {
                                                    "key": "cloud.google.com/gke-accelerator",
                                                    "operator": "In",
                                                    "values": ["nvidia-tesla-t4"],
                                                }
                                            ]
                                        }
                                    ]
                                }
                            }
                        }
                    }
                ),
            ],
            "T4",
            id="affinity",
        ),
        pytest.param(
            [hpa(), deployment(), pod(node="b"), node("a"), node("b", product="NVIDIA-A100-SXM4")],
            "A100",
            id="node of a pod",
        ),
        pytest.param([hpa(), deployment(), node()], "H100", id="only type there is"),
        pytest.param(
            [hpa(), deployment(), node("a"), node("b", product="NVIDIA-L4")], "unknown", id="none"
        ),
    ],
)
def test_the_accelerator_is_found(objects, name):
    assert only(world(*objects)).accelerator == name


def test_the_accelerator_takes_the_settings_spelling():
    settings = "accelerators: {h100: {cost_per_hour: 4}}"
    assert only(world(hpa(), deployment(), node(), settings=settings)).accelerator == "h100"


@pytest.mark.parametrize(
    ("workload", "count"),
    [
        pytest.param(deployment(containers=[engine(gpus=4)]), 4, id="request"),
        pytest.param(
            deployment(containers=[engine(gpus=1), engine(gpus=1, name="other")]), 2, id="two"
        ),
        pytest.param(
            deployment(containers=[engine("--tensor-parallel-size=2", gpus=0)]), 2, id="arguments"
        ),
        pytest.param(
            deployment(containers=[engine(gpus=2, resource="gpu.intel.com/xe")]), 2, id="Intel"
        ),
        pytest.param(deployment(containers=[engine(gpus=0)]), 1, id="nothing said"),
    ],
)
def test_accelerators_of_a_replica_are_counted(workload, count):
    assert only(world(hpa(), workload)).accelerators_per_replica == count


def group_of_two(name: str, *, group: str, worker_ready: bool = True) -> list[dict[str, Any]]:
    base = "leaderworkerset.sigs.k8s.io"
    labels = {f"{base}/name": "big", f"{base}/group-index": group}
    leader = pod(
        name,
        owner=("StatefulSet", "big"),
        labels={**labels, f"{base}/worker-index": "0"},
        address="10.0.0.2",
    )
    worker = pod(
        f"{name}-1",
        owner=("StatefulSet", name),
        labels={**labels, f"{base}/worker-index": "1"},
        address="10.0.0.3",
        ready=worker_ready,
    )
    return [leader, worker]


def test_of_a_group_of_pods_only_the_leader_is_read():
    autoscaler = hpa("big")
    autoscaler["spec"]["scaleTargetRef"] = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "name": "big",
    }
    joined = world(
        autoscaler,
        leader_worker_set(replicas=2, size=2, gpus=8),
        *group_of_two("big-0", group="0"),
        *group_of_two("big-1", group="1", worker_ready=False),
    )
    assert only(joined).accelerators_per_replica == 16
    first, second = joined.sighting.groups[("default", "big")]
    assert (first.replica, first.state) == ("big-0", ReplicaState.READY)
    assert first.urls == ("http://10.0.0.2:8000/metrics",)
    assert (second.replica, second.state, second.urls) == ("big-1", ReplicaState.STARTING, ())
    assert joined.sighting.ready[("default", "big")] == 1


@pytest.mark.parametrize(
    ("change", "url"),
    [
        pytest.param({}, "http://10.0.0.1:8000/metrics", id="port called http"),
        pytest.param(
            {"notes": {"wva.llm-d.ai/metrics-port": "9000"}},
            "http://10.0.0.1:9000/metrics",
            id="annotation",
        ),
        pytest.param(
            {
                "notes": {
                    "prometheus.io/port": "9001",
                    "prometheus.io/path": "/engine/metrics",
                    "prometheus.io/scheme": "https",
                }
            },
            "https://10.0.0.1:9001/engine/metrics",
            id="annotations of Prometheus",
        ),
        pytest.param(
            {"containers": [engine("--port", "8200", ports=[])]},
            "http://10.0.0.1:8200/metrics",
            id="argument",
        ),
        pytest.param(
            {
                "containers": [
                    {"name": "proxy", "image": "proxy", "ports": [{"containerPort": 8000}]},
                    engine(ports=[{"containerPort": 8200}]),
                ]
            },
            "http://10.0.0.1:8200/metrics",
            id="the engine's, not the proxy's",
        ),
        pytest.param(
            {"containers": [engine(ports=[{"name": "metrics", "containerPort": 9400}])]},
            "http://10.0.0.1:9400/metrics",
            id="port called metrics",
        ),
        pytest.param(
            {"containers": [engine(image="lmsysorg/sglang:v0.5", ports=[])]},
            "http://10.0.0.1:30000/metrics",
            id="SGLang's own",
        ),
        pytest.param({"address": "fd00::1"}, "http://[fd00::1]:8000/metrics", id="IPv6"),
    ],
)
def test_the_engines_port_is_found(change, url):
    joined = world(hpa(), deployment(), pod(**change))
    assert joined.sighting.groups[KEY][0].urls == (url,)


def test_a_pod_that_goes_away_is_not_read():
    joined = world(hpa(), deployment(replicas=2), pod("a"), pod("b", leaving=True))
    assert [group.replica for group in joined.sighting.groups[KEY]] == ["a"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_is_none(phase):
    assert world(hpa(), deployment(), pod(phase=phase)).sighting.groups[KEY] == ()


def test_pods_of_others_are_nobodys():
    joined = world(
        hpa(),
        deployment(),
        pod("a", owner=("ReplicaSet", "chat-other-6f7")),
        pod("b", namespace="elsewhere"),
        pod("c", owner=("Job", "chat")),
    )
    assert joined.sighting.groups[KEY] == ()


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        pytest.param({"unschedulable": True}, "stockout", id="no node"),
        pytest.param({"waiting": "CrashLoopBackOff"}, "crashloop", id="crash loop"),
        pytest.param({"waiting": "ImagePullBackOff"}, "imagepull", id="image"),
    ],
)
def test_pods_that_cannot_start_bound_what_can_be_had(held, reason):
    joined = world(
        hpa(),
        deployment(replicas=5, readyReplicas=2),
        pod("a"),
        pod("b"),
        pod("c", ready=False),  # on its way
        pod("d", ready=False, **held),
        pod("e", ready=False, **held),
    )
    standing = joined.standings[KEY]
    assert standing.reachable == 4
    assert standing.stuck == f"{reason}: d and 1 more"
    assert (joined.sighting.current[KEY], joined.sighting.ready[KEY]) == (5, 2)


def test_pods_that_merely_start_bound_nothing():
    joined = world(hpa(), deployment(replicas=2), pod("a"), pod("b", ready=False))
    assert joined.standings[KEY].reachable is None


def test_pods_of_a_rollout_are_no_capacity():
    rolling = deployment(replicas=3, updatedReplicas=1) | {}
    rolling["status"]["replicas"] = 4
    joined = world(hpa(), rolling, *(pod(name) for name in "abcd"))
    assert joined.standings[KEY].rolling
    assert (joined.sighting.current[KEY], joined.sighting.ready[KEY]) == (3, 3)


def test_scaling_up_is_no_rollout():
    growing = deployment(replicas=5)
    growing["status"] |= {"replicas": 2, "updatedReplicas": 2}
    assert not world(hpa(), growing).standings[KEY].rolling


def test_without_the_right_to_list_pods_the_targets_counts_are_known():
    joined = world(hpa(), deployment(replicas=3), pods_known=False)
    assert (joined.sighting.current[KEY], joined.sighting.ready[KEY]) == (3, 3)
    assert joined.sighting.groups[KEY] == ()


def test_a_target_that_is_not_there_is_told_of():
    joined = world(hpa())
    assert joined.sighting.current[KEY] == 0
    assert "its scale target Deployment chat isn't there" in told(joined)


@pytest.mark.parametrize(
    ("condition", "limit"),
    [
        pytest.param(
            ("ScalingActive", "False", "FailedGetExternalMetric"), True, id="metric unknown"
        ),
        pytest.param(("ScalingActive", "True", "ValidMetricFound"), False, id="active"),
        pytest.param(("ScalingLimited", "True", "TooManyReplicas"), True, id="maximum"),
        pytest.param(("ScalingLimited", "True", "ScaleUpLimit"), True, id="policy"),
        pytest.param(("ScalingLimited", "False", "DesiredWithinRange"), False, id="within"),
        pytest.param(("AbleToScale", "True", "ScaleDownStabilized"), True, id="stabilized"),
        pytest.param(("AbleToScale", "True", "ReadyForNewScale"), False, id="able"),
        pytest.param(("AbleToScale", "False", "FailedGetScale"), True, id="unable"),
    ],
)
def test_what_holds_an_hpa_back_is_told(condition, limit):
    kind, status, reason = condition
    conditions = [{"type": kind, "status": status, "reason": reason, "message": "because"}]
    joined = world(hpa(conditions=conditions), deployment())
    assert joined.standings[KEY].limits == ((f"{reason}: because",) if limit else ())


def test_the_strictest_class_counts_for_all_variants_of_a_model():
    settings = "service_classes: {gold: {priority: 1}, lead: {priority: 9}}"
    joined = world(
        hpa("a", notes={"wva.llm-d.ai/service-class": "lead"}),
        hpa("b", notes={"wva.llm-d.ai/service-class": "gold"}),
        hpa("c"),
        settings=settings,
    )
    assert [each.service_class for each in joined.settings.variants] == ["gold"] * 3
    assert "the strictest counts for all of them: gold" in told(joined)


def test_a_model_may_be_declared_by_a_name_that_its_engines_serve():
    joined = world(
        hpa(model="meta/llama"),
        deployment(containers=[engine("--served-model-name", "llama", "chat-model")]),
        settings="models: {llama-8b: {served_names: [meta/llama]}}",
    )
    assert only(joined).model == "llama-8b"
    served = joined.settings.models["llama-8b"].served_names
    assert served == ("meta/llama", "llama", "chat-model")


def test_the_names_of_lora_adapters_are_the_models():
    arguments = ("--served-model-name", "llama", "--lora-modules", "sql=/adapters/sql")
    more = ('{"name": "chat", "path": "/adapters/chat"}', "/no/name", "--max-loras", "2")
    joined = world(hpa(model="llama"), deployment(containers=[engine(*arguments, *more)]))
    assert joined.settings.models["llama"].served_names == ("sql", "chat")


@pytest.mark.parametrize(
    ("instance", "label", "taken"),
    [("", "", True), ("", "blue", False), ("blue", "blue", True), ("blue", "", False)],
)
def test_an_instance_takes_what_is_labelled_for_it(instance, label, taken):
    labels = {"wva.llmd.ai/controller-instance": label} if label else {}
    settings = f"controller_instance: {instance}" if instance else ""
    joined = world(hpa(labels=labels), deployment(), settings=settings)
    assert bool(joined.settings.variants) is taken


def test_accelerators_that_others_do_not_hold_are_told():
    others = pod("theirs", owner=("ReplicaSet", "other-6f7"), containers=[engine(gpus=3)])
    joined = world(
        hpa(), deployment(), pod(), others, node(gpus=8), node("off", unschedulable=True)
    )
    assert joined.standings[KEY].supply == "5 H100 on nodes that others don't hold"


def test_nodes_that_may_not_be_read_are_no_limit():
    seen = replace(view(hpa(), deployment()), nodes=None)
    joined = join(parse_settings(""), seen, now_unix_s=NOW_S)
    assert joined.standings[KEY].supply == "no limit known: nodes can't be read"


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param({"spec": None}, id="no spec"),
        pytest.param({"spec": {"scaleTargetRef": "chat", "metrics": {}}}, id="wrong types"),
        pytest.param({"status": {"conditions": [None, 3, {}]}}, id="conditions"),
    ],
)
def test_an_object_of_another_shape_breaks_nothing(spoiled):
    joined = world({**hpa(), **spoiled}, hpa("fine"), deployment("fine"))
    assert ("default", "fine") in {each.key for each in joined.settings.variants}


def test_replicas_on_a_cordoned_node_are_about_to_go():
    objects = (
        hpa(),
        deployment(replicas=2),
        pod("chat-6f7-a", node="node-1"),
        pod("chat-6f7-b", node="node-2"),
        node("node-1", unschedulable=True),
        node("node-2"),
    )
    assert world(*objects).standings[KEY].departing == 1
    assert world(*objects[:4], node("node-1"), node("node-2")).standings[KEY].departing == 0
