"""The parts of one installation fit each other, the settings and the code."""

import re

from adapter.cluster import SECRET_SUFFIX
from adapter.config import Settings, load_settings, parse_settings
from tests.helpers.manifests import MANIFESTS, container, read, rendered, the


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


def test_replicas_keep_apart_and_share_what_they_decide() -> None:
    spec = the("Deployment")["spec"]
    (apart,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    labels = spec["template"]["metadata"]["labels"]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()
    assert spec["replicas"] == 2
    for overlay in (
        "base",
        "overlays/hpa",
        "overlays/keda",
        "overlays/prometheus",
        "overlays/cert-manager",
    ):
        (config_map,) = [o for o in rendered(overlay) if o["kind"] == "ConfigMap"]
        assert parse_settings(config_map["data"]["settings.yaml"]).high_availability.enabled
    assert the("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_role_allows_the_names_that_the_code_uses() -> None:
    settings = load_settings(MANIFESTS / "base" / "settings.yaml")
    by_resource = {
        rule["resources"][0]: rule["resourceNames"]
        for rule in the("Role")["rules"]
        if "resourceNames" in rule
    }
    service = settings.api.service_name
    assert by_resource["leases"] == [settings.high_availability.lease]
    assert by_resource["secrets"] == [f"{service}{SECRET_SUFFIX}"]
    assert by_resource["configmaps"][0] == f"{service}-state-0"
