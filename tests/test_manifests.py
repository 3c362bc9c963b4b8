"""The manifests fit Kubernetes' schemas, each other, the settings and the image.

Not covered by a schema here: ScaledObject and ServiceMonitor (definitions of KEDA and the
Prometheus operator) and kustomizations. The parts of a ScaledObject that have a
Kubernetes type are checked as that type.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from adapter.config import Settings, load_settings
from adapter.external_metrics.request import EXPLANATIONS
from adapter.publish import SERVED_METRICS

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "manifests"
KUBERNETES = ("1.33", "1.35", kubernetes_validate.latest_version())
WITHOUT_SCHEMA = {"ScaledObject", "ServiceMonitor"}
NOT_MANIFESTS = {"kustomization.yaml", "settings.yaml"}
KUSTOMIZATIONS = sorted(p.parent for p in MANIFESTS.rglob("kustomization.yaml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


OBJECTS = sorted(p for p in MANIFESTS.rglob("*.yaml") if p.name not in NOT_MANIFESTS)
KUBERNETES_OBJECTS = [p for p in OBJECTS if read(p)["kind"] not in WITHOUT_SCHEMA]


def name_of(path: Path) -> str:
    return str(path.relative_to(MANIFESTS))


def objects(kind: str) -> Iterator[tuple[str, Any]]:
    for path in OBJECTS:
        content = read(path)
        if content["kind"] == kind:
            yield name_of(path), content


def the(kind: str) -> Any:
    (found,) = objects(kind)
    return found[1]


def container() -> Any:
    (only,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    return only


# --- schemas -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", KUBERNETES_OBJECTS, ids=name_of)
def test_object_fits_its_schema(path: Path, version: str) -> None:
    kubernetes_validate.validate(read(path), version, strict=True)


def test_only_other_projects_kinds_go_without_a_schema() -> None:
    left_out = {read(path)["kind"] for path in set(OBJECTS) - set(KUBERNETES_OBJECTS)}
    assert left_out == WITHOUT_SCHEMA
    for path in set(OBJECTS) - set(KUBERNETES_OBJECTS):
        with pytest.raises(kubernetes_validate.utils.SchemaNotFoundError):
            kubernetes_validate.validate(read(path), KUBERNETES[-1], strict=True)


def test_schema_check_rejects_a_misspelt_key() -> None:
    broken = read(MANIFESTS / "examples" / "hpa.yaml")
    broken["spec"]["behavior"]["scaleUp"]["tolerence"] = "0"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("path", OBJECTS, ids=name_of)
def test_file_holds_one_object_and_is_named_after_it(path: Path) -> None:
    (content,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", content["kind"]).lower()
    short = {"horizontal-pod-autoscaler": "hpa"}.get(words, words)
    assert path.stem == short or path.stem.startswith(f"{short}-")


# --- kustomizations ----------------------------------------------------------------------


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


@pytest.mark.parametrize("path", [*OBJECTS, *MANIFESTS.rglob("kustomization.yaml")], ids=name_of)
def test_no_manifest_takes_the_api_service(path: Path) -> None:
    assert read(path)["kind"] != "APIService"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "apiservices" in line.split("#")[0]]


INSTALLABLE = [f for f in KUSTOMIZATIONS if read(f / "kustomization.yaml")["kind"] != "Component"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl isn't here to build with")
@pytest.mark.parametrize("folder", INSTALLABLE, ids=name_of)
def test_kustomization_builds(folder: Path) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True
    )
    for content in yaml.safe_load_all(built.stdout):
        if content["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(content, KUBERNETES[-1], strict=True)


# --- least privilege ---------------------------------------------------------------------


def roles() -> list[Path]:
    return [p for p in OBJECTS if read(p)["kind"] in {"Role", "ClusterRole"}]


@pytest.mark.parametrize("path", roles(), ids=name_of)
def test_every_rule_says_why_it_is_there(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("  - ")]
    assert len(starts) == len(read(path)["rules"])
    for start in starts:
        assert lines[start - 1].strip().startswith("# "), lines[start]


@pytest.mark.parametrize("path", roles(), ids=name_of)
def test_no_rule_is_broader_than_its_reason(path: Path) -> None:
    for rule in read(path)["rules"]:
        asked = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in asked
        assert not {"secrets", "pods/exec", "nodes/proxy"} & set(rule["resources"])
        assert not {"impersonate", "escalate", "bind", "deletecollection"} & set(rule["verbs"])


def test_people_may_read_every_served_metric_and_its_reasons_and_nothing_else() -> None:
    (view,) = [role for name, role in objects("ClusterRole") if name.startswith("examples/")]
    assert {rule.pop("apiGroups")[0] for rule in view["rules"]} == {"external.metrics.k8s.io"}
    assert view["rules"] == [
        {"resources": list(SERVED_METRICS), "verbs": ["list"]},
        {"resources": [EXPLANATIONS], "verbs": ["get", "list"]},
        {"resources": ["dashboard"], "verbs": ["list"]},
    ]


def test_bindings_name_our_account_and_nobody_else() -> None:
    account = the("ServiceAccount")["metadata"]
    bindings = [*objects("ClusterRoleBinding"), *objects("RoleBinding")]
    assert bindings
    for _, binding in bindings:
        assert binding["subjects"] == [
            {
                "kind": "ServiceAccount",
                "name": account["name"],
                "namespace": account["namespace"],
            }
        ]


def test_pod_keeps_the_restricted_profile() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    assert the("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == (
        "restricted"
    )
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(pod) & {"hostNetwork", "hostPID", "hostIPC"} == set()
    assert [v for v in pod["volumes"] if "hostPath" in v] == []


# --- one installation, several files -----------------------------------------------------


def test_ports_are_those_of_the_settings() -> None:
    settings = Settings()
    ports = {"https": settings.api.port, "grpc": settings.keda.port, "http": settings.health.port}
    assert {p["name"]: p["containerPort"] for p in container()["ports"]} == ports
    service = the("Service")
    assert {p["name"]: p["targetPort"] for p in service["spec"]["ports"]} == {p: p for p in ports}
    allowed = [p["port"] for rule in the("NetworkPolicy")["spec"]["ingress"] for p in rule["ports"]]
    assert sorted(allowed) == sorted(ports)


def test_selectors_pick_the_pod() -> None:
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    service = the("Service")
    selectors = [
        the("Deployment")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    monitor = the("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= service["metadata"]["labels"].items()


def test_mounted_settings_are_those_that_are_served() -> None:
    settings = load_settings(MANIFESTS / "base" / "settings.yaml")
    service = the("Service")["metadata"]
    assert (settings.api.service_name, settings.api.service_namespace) == (
        service["name"],
        service["namespace"],
    )
    assert settings.api.auth == "kubernetes"
    (generated,) = read(MANIFESTS / "base" / "kustomization.yaml")["configMapGenerator"]
    volumes = {v["name"]: v for v in the("Deployment")["spec"]["template"]["spec"]["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == generated["name"]
    mounts = {m["name"]: m["mountPath"] for m in container()["volumeMounts"]}
    assert f"{mounts['settings']}/{generated['files'][0]}" in container()["args"]


def test_monitor_keeps_the_label_that_old_queries_ask_for() -> None:
    (endpoint,) = the("ServiceMonitor")["spec"]["endpoints"]
    (relabeling,) = endpoint["metricRelabelings"]
    assert endpoint["port"] in {p["name"] for p in the("Service")["spec"]["ports"]}
    matched = re.fullmatch(relabeling["regex"], "wva_desired_replicas;team-a")
    assert matched is not None
    assert (matched.group(1), relabeling["targetLabel"]) == ("team-a", "exported_namespace")
    assert re.fullmatch(relabeling["regex"], "process_cpu_seconds_total;") is None


# --- examples ----------------------------------------------------------------------------

BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
        "tolerance": "0",
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 20, "periodSeconds": 60}],
        "tolerance": "0",
    },
}
SCALED_OBJECTS = [pytest.param(content, id=name) for name, content in objects("ScaledObject")]


def example_settings() -> Settings:
    return load_settings(MANIFESTS / "examples" / "settings.yaml")


def test_example_hpa_follows_a_variant_of_the_example_settings() -> None:
    hpa = the("HorizontalPodAutoscaler")
    (metric,) = hpa["spec"]["metrics"]
    assert hpa["spec"]["behavior"] == BEHAVIOR
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    assert metric["external"]["metric"]["name"] == "wva_desired_replicas"
    wanted = metric["external"]["metric"]["selector"]["matchLabels"]["variant_name"]
    (variant,) = [v for v in example_settings().variants if v.name == wanted]
    assert variant.namespace == hpa["metadata"]["namespace"]
    bounds = (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"])
    assert (variant.min_replicas, variant.max_replicas) == bounds


def test_example_settings_know_the_tolerance_of_the_examples() -> None:
    assert example_settings().hpa_tolerance == float(BEHAVIOR["scaleUp"]["tolerance"])


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_scaled_object_follows_a_variant_of_the_example_settings(content: Any) -> None:
    spec = content["spec"]
    (trigger,) = spec["triggers"]
    service = the("Service")["metadata"]
    address = f"{service['name']}.{service['namespace']}.svc:{Settings().keda.port}"
    assert trigger["type"] in {"external", "external-push"}
    assert trigger["metricType"] == "AverageValue"
    assert trigger["metadata"]["scalerAddress"] == address
    wanted = trigger["metadata"]["variantName"]
    (variant,) = [v for v in example_settings().variants if v.name == wanted]
    assert variant.namespace == content["metadata"]["namespace"]
    bounds = (spec["minReplicaCount"], spec["maxReplicaCount"])
    assert (variant.min_replicas, variant.max_replicas) == bounds


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_scaled_object_cannot_shrink_on_our_silence(content: Any) -> None:
    fallback = content["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert fallback["replicas"] >= 1


@pytest.mark.parametrize("content", SCALED_OBJECTS)
def test_behavior_of_a_scaled_object_is_a_valid_hpa_behavior(content: Any) -> None:
    behavior = content["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == BEHAVIOR
    hpa = the("HorizontalPodAutoscaler")
    hpa["spec"]["behavior"] = behavior
    kubernetes_validate.validate(hpa, KUBERNETES[-1], strict=True)


# --- image -------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(w, rest) for w, _, rest in (s.partition(" ") for s in joined.splitlines() if s)]


def last_stage() -> list[tuple[str, str]]:
    start = max(i for i, (word, _) in enumerate(instructions()) if word == "FROM")
    return instructions()[start:]


def test_image_has_two_stages_on_one_public_base() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "the copied interpreter links into its base"
    assert "/" not in bases[0], "no registry of ours or anyone's"


def test_image_runs_the_command_without_shell_or_root() -> None:
    stage = dict(last_stage())
    assert json.loads(stage["ENTRYPOINT"]) == ["/venv/bin/wva"]
    assert json.loads(stage["CMD"]) == container()["args"]
    assert "RUN" not in stage
    context = the("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert stage["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert set(map(int, stage["EXPOSE"].split())) == {
        p["containerPort"] for p in container()["ports"]
    }


def test_image_is_made_of_files_that_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert any(fnmatch("adapter/__pycache__", rule) for rule in rules)


def test_image_tag_is_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (image,) = read(MANIFESTS / "base" / "kustomization.yaml")["images"]
    assert image == {"name": container()["image"], "newTag": project["version"]}
