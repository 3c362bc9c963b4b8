"""Least privilege: what the adapter may do, and why."""

from pathlib import Path
from typing import Any

import pytest

from adapter.config import parse_settings
from adapter.discovery.source import _KINDS as WATCHED
from adapter.external_metrics.request import EXPLANATIONS
from adapter.publish import SERVED_METRICS
from tests.helpers.manifests import OBJECTS, installed, name_of, objects, read, rendered, the

BY_NAME_ALONE = "endpointslices"  # of Services that a variant names
ROLES = [p for p in OBJECTS if read(p)["kind"] in {"Role", "ClusterRole"}]
# What only changes under a name, so that nothing else of its kind is in reach.
BY_NAME = {"secrets", "configmaps", "leases", "apiservices", "clusterroles"}


@pytest.mark.parametrize("path", ROLES, ids=name_of)
def test_every_rule_says_why_it_is_there(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("  - ")]
    assert len(starts) == len(read(path)["rules"])
    for start in starts:
        assert lines[start - 1].strip().startswith("# "), lines[start]


@pytest.mark.parametrize("path", ROLES, ids=name_of)
def test_no_rule_is_broader_than_its_reason(path: Path) -> None:
    for rule in read(path)["rules"]:
        # A rule is on resources, or on paths outside all resources.
        where = [*rule.get("apiGroups", []), *rule.get("nonResourceURLs", [])]
        asked = [*where, *rule.get("resources", []), *rule["verbs"]]
        assert not any("*" in word for word in asked)
        assert not {"pods/exec", "nodes/proxy", "pods/log"} & set(asked)
        assert not {"impersonate", "escalate", "bind", "deletecollection"} & set(rule["verbs"])


@pytest.mark.parametrize("path", ROLES, ids=name_of)
def test_secrets_and_shared_objects_are_reached_by_name_alone(path: Path) -> None:
    for rule in read(path)["rules"]:
        if BY_NAME & set(rule.get("resources", [])) and rule["verbs"] != ["create"]:
            assert rule["resourceNames"], rule


def test_cluster_wide_rights_are_to_read_and_to_report() -> None:
    (role,) = [r for r in installed("ClusterRole") if r["metadata"]["name"] == "wva"]
    writes = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
        if verb not in {"get", "list", "watch"}
    }
    assert writes == {
        ("tokenreviews", "create"),
        ("subjectaccessreviews", "create"),
        ("variantautoscalings/status", "patch"),
        ("events", "create"),
        ("events", "patch"),
    }


def test_no_role_reads_secrets_of_other_namespaces() -> None:
    for role in installed("ClusterRole"):
        assert not [
            r for r in role["rules"] if {"secrets", "configmaps"} & set(r.get("resources", []))
        ]


def test_people_may_read_every_served_metric_and_its_reasons_and_nothing_else() -> None:
    (view,) = [
        role for name, role in objects("ClusterRole") if name == "examples/cluster-role-view.yaml"
    ]
    assert {rule.pop("apiGroups")[0] for rule in view["rules"]} == {"external.metrics.k8s.io"}
    assert view["rules"] == [
        {"resources": list(SERVED_METRICS), "verbs": ["list"]},
        {"resources": [EXPLANATIONS], "verbs": ["get", "list"]},
        {"resources": ["dashboard"], "verbs": ["list"]},
    ]


@pytest.mark.parametrize("overlay", ["base", "overlays/hpa", "overlays/prometheus"])
def test_bindings_name_our_account_and_a_role_that_exists(overlay: str) -> None:
    account = the("ServiceAccount")["metadata"]
    subject = {"kind": "ServiceAccount", "name": "wva", "namespace": account["namespace"]}
    roles = {(o["kind"], o["metadata"]["name"]) for o in rendered(overlay)}
    bindings = [o for o in rendered(overlay) if "roleRef" in o]
    for binding in bindings:
        assert binding["subjects"] == [subject]
        ref = binding["roleRef"]
        assert (ref["kind"], ref["name"]) in roles or ref["name"].startswith("extension-apiserver")
    bound = {(b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings}
    assert {r for r in roles if r[0] in {"Role", "ClusterRole"}} <= bound


def test_api_service_would_be_owned_by_the_role_that_may_write_it() -> None:
    (role,) = [r for r in installed("ClusterRole") if "api-service" in r["metadata"]["name"]]
    (owner,) = [r for r in role["rules"] if "clusterroles" in r["resources"]]
    assert owner["resourceNames"] == [role["metadata"]["name"]]
    named = [
        r.get("resourceNames") for r in role["rules"] if "apiservices" in r.get("resources", [])
    ]
    assert named == [None, ["v1beta1.external.metrics.k8s.io"]]


def test_what_is_watched_may_be_watched_and_nothing_else() -> None:
    (role,) = [r for r in installed("ClusterRole") if r["metadata"]["name"] == "wva"]
    watchable = {
        resource
        for rule in role["rules"]
        for resource in rule.get("resources", [])
        if "watch" in rule["verbs"]
    }
    assert watchable == {kind.resource for kind in WATCHED} | {BY_NAME_ALONE}


def test_one_namespace_needs_roles_alone() -> None:
    found = rendered("overlays/namespaced")
    assert {o["kind"] for o in found} == {
        "ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding",
        "Service", "ServiceAccount",
    }  # fmt: skip
    assert {o["metadata"]["namespace"] for o in found} == {"default"}
    (config_map,) = [o for o in found if o["kind"] == "ConfigMap"]
    settings = parse_settings(config_map["data"]["settings.yaml"])
    assert settings.kubernetes.namespaces == ("default",)
    assert (settings.api.auth, settings.api.host) == ("none", "127.0.0.1")
    watched = {kind.resource for kind in WATCHED if kind.namespaced} | {BY_NAME_ALONE}
    (role,) = [o for o in found if o["metadata"]["name"] == "wva-variants" and "rules" in o]
    (wide,) = [r for r in installed("ClusterRole") if r["metadata"]["name"] == "wva"]
    assert rights(role) == {
        (name, verb)
        for name, verb in rights(wide)
        if name in watched or name in {"variantautoscalings/status", "events"}
    }


def rights(role: Any) -> set[tuple[str, str]]:
    return {
        (name, verb)
        for rule in role["rules"]
        for name in rule.get("resources", [])
        for verb in rule["verbs"]
    }
