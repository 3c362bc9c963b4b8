"""Kustomizations list what is there, and render to what kubectl renders."""

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from adapter.config import parse_settings
from tests.helpers.kustomize import Manifest, render
from tests.helpers.manifests import (
    KUSTOMIZATIONS,
    MANIFESTS,
    OBJECTS,
    OVERLAYS,
    name_of,
    read,
    rendered,
)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=name_of)
def test_kustomization_refers_to_what_is_there(folder: Path) -> None:
    content = read(folder / "kustomization.yaml")
    listed = [
        *content.get("resources", []),
        *content.get("components", []),
        *(f for g in content.get("configMapGenerator", []) for f in g["files"]),
    ]
    for entry in listed:
        target = folder / entry
        assert target.is_file() or (target / "kustomization.yaml").is_file(), entry
    beside = {p.name for p in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert beside <= set(listed), "a file that no kustomization lists is installed by nobody"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl isn't here to build with")
@pytest.mark.parametrize("folder", OVERLAYS, ids=name_of)
def test_kubectl_renders_the_same(folder: Path) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True
    )
    assert ordered(yaml.safe_load_all(built.stdout)) == ordered(rendered(name_of(folder)))


def ordered(objects: list[Manifest]) -> list[Manifest]:
    return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))


def of_overlay(name: str, kind: str) -> list[str]:
    return [o["metadata"]["name"] for o in rendered(name) if o["kind"] == kind]


@pytest.mark.parametrize("path", OBJECTS, ids=name_of)
def test_no_manifest_is_the_api_service(path: Path) -> None:
    """Applying one would take the group from KEDA or another adapter without a word."""
    assert read(path)["kind"] != "APIService"


@pytest.mark.parametrize(
    ("overlay", "allowed"),
    [
        pytest.param("base", False, id="base"),
        pytest.param("overlays/hpa", True, id="hpa"),
        pytest.param("overlays/keda", False, id="keda"),
        pytest.param("overlays/prometheus", True, id="prometheus"),
        pytest.param("overlays/cert-manager", True, id="cert-manager"),
    ],
)
def test_only_overlays_for_hpa_create_an_api_service_and_may(overlay: str, allowed: bool) -> None:
    rules = [rule for o in rendered(overlay) for rule in o.get("rules", [])]
    assert any("apiservices" in rule.get("resources", []) for rule in rules) is allowed
    (config_map,) = [o for o in rendered(overlay) if o["kind"] == "ConfigMap"]
    assert parse_settings(config_map["data"]["settings.yaml"]).api.manage_api_service is allowed


@pytest.mark.parametrize("overlay", ["base", "overlays/hpa", "overlays/keda"])
def test_installation_needs_nobody_elses_kinds(overlay: str) -> None:
    """On a cluster without KEDA and the Prometheus operator every object is accepted."""
    groups = {o["apiVersion"].rpartition("/")[0] for o in rendered(overlay)}
    assert {group for group in groups if "." in group} <= {
        "rbac.authorization.k8s.io",
        "networking.k8s.io",
        "apiextensions.k8s.io",
    }


def test_prometheus_overlay_replaces_the_settings_alone() -> None:
    (settings,) = [o for o in rendered("overlays/prometheus") if o["kind"] == "ConfigMap"]
    assert "prometheus-operated" in settings["data"]["settings.yaml"]
    same = {
        (o["kind"], o["metadata"]["name"])
        for o in rendered("overlays/prometheus")
        if o["kind"] != "ConfigMap" and o in rendered("overlays/hpa")
    }
    every = {(o["kind"], o["metadata"]["name"]) for o in rendered("overlays/hpa")}
    assert every - same == {("ConfigMap", "wva-settings")}


def test_cert_managers_files_are_where_the_settings_look_for_them() -> None:
    found = rendered("overlays/cert-manager")
    (config_map,) = [o for o in found if o["kind"] == "ConfigMap"]
    tls = parse_settings(config_map["data"]["settings.yaml"]).api.tls
    assert tls is not None
    (deployment,) = [o for o in found if o["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "tls"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "tls"]
    certificates = {o["spec"]["secretName"]: o for o in found if o["kind"] == "Certificate"}
    serving = certificates[volume["secret"]["secretName"]]
    # The API server checks exactly this name, and so do replicas of each other.
    assert serving["spec"]["dnsNames"] == ["wva.wva-system.svc"]
    # What cert-manager puts into a Secret.
    places = {tls.cert_file.name: tls.cert_file, tls.key_file.name: tls.key_file}
    places[tls.ca_file.name if tls.ca_file else ""] = tls.ca_file or tls.cert_file
    assert places.keys() == {"tls.crt", "tls.key", "ca.crt"}
    assert {str(path.parent) for path in places.values()} == {mount["mountPath"]}


def variant_overlay(tmp_path: Path, component: str, example: str) -> Manifest:
    """Return an example as somebody's kustomization with a component renders it."""
    shutil.copy(MANIFESTS / "examples" / example, tmp_path)
    shutil.copytree(MANIFESTS / "components" / component, tmp_path / component)
    text = f"kind: Kustomization\nresources: [{example}]\ncomponents: [{component}]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    (only,) = render(tmp_path)
    return only


@pytest.mark.parametrize(
    ("example", "place"),
    [
        pytest.param("hpa.yaml", (), id="hpa"),
        pytest.param(
            "scaled-object.yaml", ("advanced", "horizontalPodAutoscalerConfig"), id="scaled-object"
        ),
    ],
)
def test_tolerance_component_ends_rounding(
    tmp_path: Path, example: str, place: tuple[str, ...]
) -> None:
    spec = variant_overlay(tmp_path, "tolerance", example)["spec"]
    for key in place:
        spec = spec[key]
    behavior = spec["behavior"]
    assert behavior["scaleUp"]["tolerance"] == behavior["scaleDown"]["tolerance"] == "0"


def test_tolerance_component_makes_a_valid_hpa(tmp_path: Path) -> None:
    hpa = variant_overlay(tmp_path, "tolerance", "hpa.yaml")
    kubernetes_validate.validate(hpa, "1.35", strict=True)


def test_components_leave_other_peoples_hpas_alone(tmp_path: Path) -> None:
    before = read(MANIFESTS / "examples" / "hpa.yaml")
    del before["metadata"]["annotations"]
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(before), encoding="utf-8")
    shutil.copytree(MANIFESTS / "components" / "tolerance", tmp_path / "tolerance")
    text = "kind: Kustomization\nresources: [theirs.yaml]\ncomponents: [tolerance]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    assert render(tmp_path) == [before]


def test_deletion_costs_need_one_right_more_and_that_alone(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS / "base", tmp_path / "base")
    shutil.copytree(MANIFESTS / "components" / "pod-deletion-cost", tmp_path / "costs")
    text = "kind: Kustomization\nresources: [base]\ncomponents: [costs]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    before, after = (
        next(
            o["rules"]
            for o in found
            if o["kind"] == "ClusterRole" and o["metadata"]["name"] == "wva"
        )
        for found in (rendered("base"), render(tmp_path))
    )
    added = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    assert after == [*before, added]


def test_backstop_is_a_metric_that_does_not_die_with_the_adapter() -> None:
    (hpa,) = rendered("overlays/backstop")
    ours, backstop = hpa["spec"]["metrics"]
    assert ours["external"]["metric"]["name"] == "wva_desired_replicas"
    assert backstop["type"] == "Pods", "External metrics have one backend: the adapter"
    rules = read(MANIFESTS / "examples" / "prometheus-adapter-rules.yaml")["rules"]["custom"]
    assert backstop["pods"]["metric"]["name"] in {rule["name"]["as"] for rule in rules}
    assert [rule["seriesQuery"].partition("{")[0] for rule in rules] == [
        "vllm:num_requests_waiting"
    ]


def test_backstop_changes_nothing_else_of_the_example() -> None:
    (hpa,) = rendered("overlays/backstop")
    example = read(MANIFESTS / "examples" / "hpa.yaml")
    example["spec"]["metrics"].append(hpa["spec"]["metrics"][1])
    assert hpa == example


# --- the resolver itself -----------------------------------------------------------------


def test_unknown_part_of_a_kustomization_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n", encoding="utf-8")
    with pytest.raises(NotImplementedError, match="namePrefix"):
        render(tmp_path)


def test_deletion_of_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "patches:\n  - patch: '{$patch: delete, kind: Secret, metadata: {name: x}}'\n",
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="nothing to delete"):
        render(tmp_path)
