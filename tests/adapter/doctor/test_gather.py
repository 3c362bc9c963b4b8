"""What is read of a cluster, from a stand-in for kube-apiserver on a real listener."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio import client

from adapter.doctor.evidence import Evidence, Unread
from adapter.doctor.examine import examine
from adapter.doctor.findings import Level
from adapter.doctor.gather import gather
from adapter.doctor.rights import needs
from adapter.errors import KubeUnavailableError
from adapter.kube.transport import KubeTransport
from tests.helpers.manifests import installed

from .clusters import NOW_UNIX_S, api_service, complaints, explanation, target, tolerant_hpa

EXPLANATION = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/explanations/llama-8b-h100"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/llama-8b-h100"
HPAS = "/apis/autoscaling/v2/horizontalpodautoscalers"


class Cluster:
    """Answers with what is in `documents`, 404 for the rest, and allows what isn't `denied`."""

    def __init__(self) -> None:
        own = "/namespaces/wva-system"
        self.documents: dict[str, Any] = {
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
            "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io": (
                api_service()
            ),
            f"/apis/apps/v1{own}/deployments/wva": {
                "spec": {"replicas": 1},
                "status": {"readyReplicas": 1},
            },
            f"/api/v1{own}/pods": {"items": []},
            HPAS: {"items": [tolerant_hpa()]},
            DEPLOYMENT: target(),
            EXPLANATION: explanation(),
        }
        self.refused: dict[str, int] = {}
        self.denied: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        if request.path in self.refused:
            status = {"kind": "Status", "message": "not for you", "reason": "Forbidden"}
            return web.json_response(status, status=self.refused[request.path])
        if request.method == "POST":
            asked = (await request.json())["spec"]["resourceAttributes"]
            allowed = asked["resource"] not in self.denied
            return web.json_response({"status": {"allowed": allowed}}, status=201)
        document = self.documents.get(request.path)
        if isinstance(document, str):
            return web.Response(text=document, content_type="text/plain")
        if request.path == HPAS and document is not None:
            return web.json_response(self._page(document, request.query.get("continue", "")))
        if document is None:
            return web.json_response({"kind": "Status", "message": "not found"}, status=404)
        return web.json_response(document)

    @staticmethod
    def _page(document: Any, place: str) -> Any:
        """Return a list one item a page."""
        start = int(place or 0)
        more = str(start + 1) if start + 1 < len(document["items"]) else ""
        return {"items": document["items"][start : start + 1], "metadata": {"continue": more}}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    fake = Cluster()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


async def look(cluster: Cluster) -> Evidence:
    configuration = client.Configuration(host=cluster.url)
    async with client.ApiClient(configuration) as api_client:
        return await gather(KubeTransport(api_client), "wva-system", now_unix_s=NOW_UNIX_S)


async def test_healthy_cluster_is_found_healthy(cluster: Cluster) -> None:
    seen = await look(cluster)
    assert [f for f in complaints(seen) if f.check != "clock"] == []


async def test_nothing_is_changed(cluster: Cluster) -> None:
    await look(cluster)
    writes = {(method, path) for method, path in cluster.requests if method != "GET"}
    assert {path.rpartition("/")[2] for _, path in writes} == {"subjectaccessreviews"}


async def test_missing_kind_is_no_scaled_objects_and_no_keda(cluster: Cluster) -> None:
    seen = await look(cluster)
    assert (seen.scaled_objects, seen.keda) == ((), False)


async def test_what_may_not_be_read_is_not_taken_for_absent(cluster: Cluster) -> None:
    cluster.refused = {DEPLOYMENT: 403, EXPLANATION: 503}
    seen = await look(cluster)
    (found,) = seen.targets.values()
    assert isinstance(found, Unread)
    assert "not for you" in found.reason
    levels = {f.check: f.level for f in complaints(seen)}
    assert (levels["target"], levels["signals"]) == (Level.SKIP, Level.SKIP)


async def test_a_target_of_any_kind_is_found_by_what_the_api_calls_it(cluster: Cluster) -> None:
    hpa = tolerant_hpa()
    hpa["spec"]["scaleTargetRef"] = {"apiVersion": "x.io/v1", "kind": "Policy", "name": "chat"}
    cluster.documents[HPAS] = {"items": [hpa]}
    resources = [{"name": "policies", "kind": "Policy"}, {"name": "policies/scale", "kind": "S"}]
    cluster.documents["/apis/x.io/v1"] = {"resources": resources}
    cluster.documents["/apis/x.io/v1/namespaces/default/policies/chat"] = target()
    (found,) = (await look(cluster)).targets.values()
    assert found == target()
    del cluster.documents["/apis/x.io/v1"]
    assert list((await look(cluster)).targets.values()) == [None]


async def test_lists_are_read_to_their_end(cluster: Cluster) -> None:
    names = []
    for number in range(3):
        hpa = tolerant_hpa()
        hpa["metadata"]["name"] = f"h{number}"
        names.append(f"h{number}")
        cluster.documents.setdefault("more", []).append(hpa)
    cluster.documents[HPAS] = {"items": cluster.documents["more"]}
    seen = await look(cluster)
    assert not isinstance(seen.hpas, Unread)
    assert [hpa["metadata"]["name"] for hpa in seen.hpas] == names


async def test_every_right_is_asked_for_the_adapters_account(cluster: Cluster) -> None:
    cluster.denied = {"nodes"}
    seen = await look(cluster)
    missing = [f for f in complaints(seen) if f.check == "rbac"]
    assert len(missing) == 2
    assert {f.subject for f in missing} == {"system:serviceaccount:wva-system:wva"}
    assert "accelerators aren't counted" in missing[0].message


async def test_before_installing_it_is_you_who_is_asked_about(cluster: Cluster) -> None:
    del cluster.documents["/apis/apps/v1/namespaces/wva-system/deployments/wva"]
    cluster.documents = {k: v for k, v in cluster.documents.items() if "apiservices" not in k}
    cluster.denied = {"clusterroles"}
    seen = await look(cluster)
    (missing,) = [f for f in examine(seen) if f.check == "rbac" and f.level is Level.FAIL]
    assert (missing.subject, missing.remedy) == ("you", "let a cluster administrator install it")


async def test_with_keda_the_api_server_is_not_asked_for_reasons(cluster: Cluster) -> None:
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
    cluster.documents[path] = api_service("keda-operator-metrics-apiserver", "keda")
    await look(cluster)
    assert ("GET", EXPLANATION) not in cluster.requests


async def test_with_keda_the_leaders_own_page_tells_of_signals(cluster: Cluster) -> None:
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
    cluster.documents[path] = api_service("keda-operator-metrics-apiserver", "keda")
    pods = "/api/v1/namespaces/wva-system/pods"
    cluster.documents[pods] = {"items": [{"metadata": {"name": n}} for n in ("wva-a", "wva-b")]}
    cluster.documents[f"{pods}/wva-a:8080/proxy/metrics"] = "wva_leader 0\n"
    labels = 'variant_name="llama-8b-h100",namespace="default",accelerator_type="H100"'
    cluster.documents[f"{pods}/wva-b:8080/proxy/metrics"] = (
        f'wva_leader 1\nwva_decision_freshness{{{labels},state="held"}} 1\n'
        f'wva_decision_freshness{{{labels},state="fresh"}} 0\n'
    )
    (signals,) = [f for f in complaints(await look(cluster)) if f.check == "signals"]
    assert (signals.level, signals.message) == (Level.WARN, "held, rises and doesn't fall: ")
    cluster.documents[f"{pods}/wva-b:8080/proxy/metrics"] = "wva_leader 1\n"
    (signals,) = [f for f in complaints(await look(cluster)) if f.check == "signals"]
    assert "doesn't know this variant" in signals.message
    cluster.refused = {f"{pods}/wva-b:8080/proxy/metrics": 403}
    (signals,) = [f for f in complaints(await look(cluster)) if f.check == "signals"]
    assert (signals.level, "not for you" in signals.message) == (Level.SKIP, True)


async def test_unreachable_cluster_is_an_error_not_a_finding(cluster: Cluster) -> None:
    cluster.refused = {"/version": 503}
    with pytest.raises(KubeUnavailableError, match="not for you"):
        await look(cluster)


async def test_clocks_are_compared_by_the_answers_date(cluster: Cluster) -> None:
    seen = await look(cluster)
    assert seen.server_unix_s is not None
    assert seen.clock_ahead_s == NOW_UNIX_S - seen.server_unix_s


async def test_command_prints_json_and_ends_with_1_on_a_failure(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.documents.pop(DEPLOYMENT)
    code, output, _ = await command(cluster.url, tmp_path)
    report = json.loads(output)
    assert [f["check"] for f in report["findings"] if f["level"] == "FAIL"] == ["target"]
    assert code == 1


async def test_command_without_an_answer_ends_with_1_and_one_line(tmp_path: Path) -> None:
    code, _, errors = await command("http://127.0.0.1:1", tmp_path)
    assert code == 1
    assert errors.startswith("wva: GET /version: ")
    assert len(errors.splitlines()) == 1


async def command(url: str, folder: Path) -> tuple[int | None, str, str]:
    """Run `wva doctor --json` with a kubeconfig that leads to `url`."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
    }
    (folder / "config").write_text(yaml.safe_dump(content), encoding="utf-8")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter", "doctor", "--json"),
        env={**os.environ, "KUBECONFIG": str(folder / "config")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(child.communicate(), timeout=30)
    return child.returncode, output.decode(), errors.decode()


def test_rights_are_those_of_the_manifests() -> None:
    roles = [*installed("ClusterRole"), *installed("Role")]
    granted = {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        if "resources" in rule and "resourceNames" not in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {(n.group, n.resource, verb) for n in needs(api_service=True) for verb in n.verbs}
    assert asked == granted
