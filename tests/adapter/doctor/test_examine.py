"""One thing is wrong, and the doctor says that, how bad it is, and what mends it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapter.doctor.evidence import Evidence, Right, Unread
from adapter.doctor.examine import examine
from adapter.doctor.findings import Level

from .clusters import (
    ACCOUNT,
    NAME,
    api_service,
    complaints,
    example,
    explanation,
    healthy,
    target,
    tolerant_hpa,
    tolerant_scaled_object,
)


def hpa(change: Callable[[Any], None]) -> Evidence:
    broken = tolerant_hpa()
    change(broken)
    return healthy(hpas=(broken,))


def scaled(change: Callable[[Any], None] = lambda _: None) -> Evidence:
    broken = tolerant_scaled_object()
    change(broken)
    return healthy(hpas=(), scaled_objects=(broken,), keda=True)


def put(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        *path, last = keys
        for key in path:
            content = content[key] if isinstance(key, int) else content.setdefault(key, {})
        content[last] = value

    return change


def drop(*keys: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        *path, last = keys
        for key in path:
            content = content[key]
        del content[last]

    return change


def says(kind: str, status: str, reason: str) -> Callable[[Any], None]:
    found = {"type": kind, "status": status, "reason": reason, "message": "its words"}
    return put("status", value={"conditions": [found]})


EXTERNAL = ("spec", "metrics", 0, "external")
BEHAVIOR = ("spec", "behavior")
KEDA_BEHAVIOR = ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior")
TRIGGER = ("spec", "triggers", 0)

INSTALLATION = [
    pytest.param(
        healthy(version={"minor": "28+", "gitVersion": "v1.28.3"}),
        "WARN",
        "older than 1.29",
        id="old Kubernetes",
    ),
    pytest.param(
        healthy(deployment={"spec": {"replicas": 2}, "status": {}}),
        "FAIL",
        "none of 2 pods",
        id="no pod ready",
    ),
    pytest.param(
        healthy(deployment={"spec": {"replicas": 2}, "status": {"readyReplicas": 1}}),
        "WARN",
        "1 of 2 pods",
        id="one pod of two",
    ),
    pytest.param(
        healthy(
            pods=(
                {
                    "metadata": {"name": "wva-1"},
                    "status": {
                        "containerStatuses": [
                            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}
                        ]
                    },
                },
            )
        ),
        "FAIL",
        "ImagePullBackOff: no",
        id="image can't be pulled",
    ),
    pytest.param(
        healthy(api_service=api_service("keda-operator-metrics-apiserver", "keda")),
        "FAIL",
        "keda/keda-operator-metrics-apiserver has it",
        id="APIService is KEDA's, an HPA asks us",
    ),
    pytest.param(
        replace(scaled(), api_service=api_service("other", "monitoring")),
        "WARN",
        "monitoring/other has it",
        id="APIService is another's, KEDA asks us",
    ),
    pytest.param(healthy(api_service=None), "FAIL", "there is none", id="no APIService"),
    pytest.param(
        healthy(api_service=api_service(insecureSkipTLSVerify=True)),
        "WARN",
        "isn't checked",
        id="certificate isn't checked",
    ),
    pytest.param(
        healthy(
            api_service={
                **api_service(),
                "status": {
                    "conditions": [
                        {"type": "Available", "status": "False", "reason": "FailedDiscoveryCheck"}
                    ]
                },
            }
        ),
        "FAIL",
        "FailedDiscoveryCheck",
        id="APIService isn't available",
    ),
    pytest.param(
        healthy(rights=(Right(ACCOUNT, "list", "pods", "engines aren't found", allowed=False),)),
        "FAIL",
        "may not list pods: engines aren't found",
        id="a right is missing",
    ),
    pytest.param(
        healthy(rights=(Right(ACCOUNT, "list", "pods", "", None, why_unknown="403: no"),)),
        "SKIP",
        "403: no",
        id="rights can't be asked",
    ),
    pytest.param(
        healthy(lease={"spec": {"holderIdentity": "", "renewTime": None}}),
        "FAIL",
        "nobody holds",
        id="no leader",
    ),
    pytest.param(
        healthy(lease={"spec": {"holderIdentity": "a", "renewTime": "2027-01-15T07:58:00Z"}}),
        "FAIL",
        "hasn't renewed for 120 s",
        id="leader is gone",
    ),
    pytest.param(
        healthy(lease={"spec": {"holderIdentity": "a", "renewTime": "2027-01-15T08:05:00Z"}}),
        "WARN",
        "300 s in the future",
        id="leader's clock is ahead",
    ),
    pytest.param(healthy(clock_ahead_s=-42.0), "WARN", "42 s behind", id="our clock is behind"),
    pytest.param(healthy(clock_ahead_s=None), "SKIP", "no date", id="no date in the answer"),
]

HPAS = [
    pytest.param(
        hpa(put(*EXTERNAL, "target", value={"type": "Value", "value": "1"})),
        "FAIL",
        "would multiply",
        id="target type Value",
    ),
    pytest.param(
        hpa(put(*EXTERNAL, "target", "averageValue", value="2")),
        "FAIL",
        "AverageValue 2",
        id="AverageValue 2",
    ),
    pytest.param(hpa(drop(*EXTERNAL, "metric", "selector")), "FAIL", "adds up", id="no selector"),
    pytest.param(
        hpa(put(*EXTERNAL, "metric", "selector", "matchLabels", "exported_namespace", value="x")),
        "FAIL",
        "its own namespace alone",
        id="selects another namespace",
    ),
    pytest.param(
        hpa(put("spec", "maxReplicas", value=1)), "WARN", "nothing to decide", id="min is max"
    ),
    pytest.param(
        hpa(drop(*BEHAVIOR, "scaleUp", "policies")),
        "WARN",
        "at most doubles",
        id="no scaleUp policy",
    ),
    pytest.param(
        hpa(put(*BEHAVIOR, "scaleDown", "selectPolicy", value="Disabled")),
        "WARN",
        "scaleDown has selectPolicy Disabled",
        id="scaleDown disabled",
    ),
    pytest.param(
        hpa(drop(*BEHAVIOR, "scaleDown", "stabilizationWindowSeconds")),
        "WARN",
        "300 s more",
        id="default window",
    ),
    pytest.param(
        hpa(drop(*BEHAVIOR, "scaleUp", "tolerance")), "WARN", "tolerance 0.1", id="tolerance"
    ),
    pytest.param(
        hpa(put("spec", "metrics", value=[])), "FAIL", "no metric of ours", id="no metric"
    ),
    pytest.param(
        hpa(says("ScalingActive", "False", "FailedGetExternalMetric")),
        "FAIL",
        "ScalingActive False, FailedGetExternalMetric: its words",
        id="HPA can't read the metric",
    ),
    pytest.param(
        hpa(says("ScalingLimited", "True", "TooManyReplicas")),
        "WARN",
        "more than maxReplicas 20",
        id="at maxReplicas",
    ),
    pytest.param(healthy(hpas=Unread("403: no")), "SKIP", "403: no", id="HPAs can't be listed"),
]

SCALED_OBJECTS = [
    pytest.param(
        scaled(put(*TRIGGER, "metricType", value="Value")), "FAIL", "would multiply",
        id="metricType Value",
    ),
    pytest.param(
        scaled(put(*TRIGGER, "metadata", "scalerAddress", value="wva.other.svc:6000")), "WARN",
        "isn't in wva-system", id="address elsewhere",
    ),
    pytest.param(
        scaled(put("spec", "minReplicaCount", value=0)), "WARN", "polling alone", id="zero by polling"
    ),
    pytest.param(
        scaled(put("spec", "fallback", "behavior", value="static")), "WARN",
        "fallback static to 1 can lower replicas", id="fallback static",
    ),
    pytest.param(
        scaled(put("spec", "fallback", value={"failureThreshold": 3, "replicas": 2})), "WARN",
        "fallback static to 2", id="fallback of KEDA's default",
    ),
    pytest.param(
        scaled(put("spec", "fallback", "replicas", value=0)), "WARN", "to sleep", id="fallback to 0"
    ),
    pytest.param(
        scaled(drop(*KEDA_BEHAVIOR, "scaleUp", "tolerance")), "WARN", "tolerance 0.1", id="tolerance"
    ),
    pytest.param(
        scaled(put("metadata", "annotations", "autoscaling.keda.sh/paused", value="true")), "WARN",
        "paused by", id="paused",
    ),
    pytest.param(
        scaled(says("Ready", "False", "TriggerError")), "FAIL", "TriggerError: its words",
        id="not ready",
    ),
    pytest.param(
        scaled(says("Fallback", "True", "FallbackExists")), "FAIL", "serves its fallback",
        id="in fallback",
    ),
    pytest.param(
        scaled(put("spec", "triggers", value=[{"type": "cpu", "metadata": {}}])), "FAIL",
        "no trigger leads to us", id="no trigger of ours",
    ),
    pytest.param(
        scaled(
            put(
                "spec",
                "triggers",
                value=[{"type": "prometheus", "metadata": {"query": "wva_desired_replicas"}}],
            )
        ),
        "WARN", "reads as 0", id="prometheus trigger that ignores silence",
    ),
]  # fmt: skip

VARIANTS = [
    pytest.param(
        healthy(targets={}), "FAIL", "scales Deployment llama-8b-h100, which isn't there",
        id="no target",
    ),
    pytest.param(
        healthy(targets={(NAME[0], "Deployment", NAME[1]): Unread("403: no")}), "SKIP", "403: no",
        id="target can't be read",
    ),
    pytest.param(
        healthy(targets={(NAME[0], "Deployment", NAME[1]): target(terminationGracePeriodSeconds=5)}),
        "WARN", "pods have 5 s to end, requests take about 10 s", id="grace is shorter than requests",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(measured={})}), "SKIP", "isn't known",
        id="length of requests isn't known",
    ),
    pytest.param(
        healthy(explanations={}), "FAIL", "doesn't know this variant", id="unknown to the adapter"
    ),
    pytest.param(
        healthy(explanations={NAME: Unread("503: no decision yet")}), "SKIP", "no decision yet",
        id="explanation can't be read",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(freshness={"state": "held"}, message="p1: timeout")}),
        "WARN", "p1: timeout", id="held",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(freshness={"state": "refused"})}), "FAIL", "refused",
        id="refused",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(message="p1: no TTFT")}), "WARN", "p1: no TTFT",
        id="a signal is missing",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(labels={"service_class": "premium"})}), "WARN",
        "accelerator isn't known", id="unknown accelerator",
    ),
    pytest.param(
        healthy(explanations={NAME: explanation(labels={"accelerator_type": "H100"})}), "WARN",
        "no service class", id="no class",
    ),
]  # fmt: skip


def test_healthy_installation_has_nothing_to_complain_about() -> None:
    assert complaints(healthy()) == []
    checks = {finding.check for finding in examine(healthy())}
    assert checks >= {
        "kubernetes", "adapter", "apiservice", "rbac", "leader", "clock", "hpa", "target", "grace",
        "signals",
    }  # fmt: skip


def test_healthy_scaled_object_has_nothing_to_complain_about() -> None:
    assert complaints(scaled()) == []


@pytest.mark.parametrize(
    ("seen", "level", "words"), [*INSTALLATION, *HPAS, *SCALED_OBJECTS, *VARIANTS]
)
def test_one_thing_is_wrong(seen: Evidence, level: str, words: str) -> None:
    found = [finding for finding in complaints(seen) if words in finding.message]
    assert len(found) == 1, complaints(seen)
    assert found[0].level is Level(level)
    assert found[0].remedy or level == "SKIP"


@pytest.mark.parametrize(("seen", "level", "words"), [*HPAS, *SCALED_OBJECTS])
def test_a_mend_is_a_command_on_the_object(seen: Evidence, level: str, words: str) -> None:
    for finding in complaints(seen):
        if finding.check in {"hpa", "scaledobject"} and finding.remedy.startswith("kubectl"):
            assert finding.remedy.split()[:3] == ["kubectl", "-n", "default"]


def test_before_installing_what_is_there_already_is_checked() -> None:
    seen = healthy(deployment=None, api_service=None, lease=None, rights=(), explanations={})
    levels = {(f.check, f.level) for f in examine(seen)}
    assert ("adapter", Level.SKIP) in levels
    assert ("apiservice", Level.OK) in levels
    assert ("hpa", Level.OK) in levels
    assert ("signals", Level.SKIP) in levels
    assert Level.FAIL not in {level for _, level in levels}


def test_two_hpas_on_one_target_are_both_told() -> None:
    other = tolerant_hpa()
    other["metadata"]["name"] = "second"
    seen = healthy(hpas=(tolerant_hpa(), other))
    shared = [f.subject for f in complaints(seen) if "work against each other" in f.message]
    assert shared == ["default/llama-8b-h100", "default/second"]


def test_hpas_of_others_and_of_keda_are_left_alone() -> None:
    theirs, kedas = tolerant_hpa(), tolerant_hpa()
    theirs["metadata"].pop("annotations")
    theirs["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu"}}]
    kedas["metadata"]["ownerReferences"] = [{"kind": "ScaledObject", "name": "x"}]
    seen = healthy(hpas=(theirs, kedas))
    assert [f.check for f in examine(seen)].count("hpa") == 0
    assert any("no HPA and no ScaledObject" in f.message for f in complaints(seen))


def test_old_clusters_are_not_asked_for_tolerance() -> None:
    old = {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    seen = healthy(version=old, hpas=(example("hpa.yaml"),))
    assert complaints(seen) == []
