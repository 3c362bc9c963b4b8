"""The adapter behind the API server's aggregation layer: cases 1 to 19 of the protocol notes.

One adapter for all of them, at a constant decision of three replicas.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from .cluster import ControlPlane
from .kube_api import eventually, path_of
from .objects import METRIC
from .outcomes import Outcome
from .shared_stage import front_proxy, resting
from .stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2_BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
PROBE = {"X-Remote-User": "system:kube-aggregator", "X-Remote-Group": "system:masters"}
NO_GROUPS = {"X-Remote-User": "system:kube-aggregator"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with resting(plane, tmp_path_factory.mktemp("aggregation")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(lab: Stage) -> AsyncIterator[httpx.AsyncClient]:
    """A client that the adapter takes for the API server's front proxy."""
    base = f"https://127.0.0.1:{lab.adapter.port}"
    async with httpx.AsyncClient(base_url=base, verify=front_proxy(lab), trust_env=False) as client:
        yield client


async def test_probes_find_it_available(
    lab: Stage, proxy: httpx.AsyncClient, outcome: Outcome
) -> None:
    condition = await lab.adapter.availability()
    assert (condition["status"], condition["message"]) == ("True", "all checks passed")
    async with asyncio.timeout(1):
        answers = await asyncio.gather(*(proxy.get(GROUP_VERSION, headers=PROBE) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5


async def test_a_metric_reads_the_same_through_the_api_server(lab: Stage, outcome: Outcome) -> None:
    (item,) = (await lab.metric())["items"]
    assert item["value"] == "3"
    assert item["metricLabels"]["variant_name"] == "chat"


async def test_kubectl_lists_the_group_and_prints_a_table(lab: Stage, outcome: Outcome) -> None:
    kubectl = lab.world.kubectl
    listed = await kubectl("api-resources", "--api-group=external.metrics.k8s.io", "--no-headers")
    assert listed.code == 0
    assert METRIC in listed.out
    table = await kubectl("get", f"{METRIC}.external.metrics.k8s.io", "-n", lab.namespace)
    assert table.code == 0, table.error
    assert "chat" in table.out
    raw = await kubectl("get", "--raw", f"{GROUP_VERSION}/namespaces/{lab.namespace}/{METRIC}")
    assert '"value":"3"' in raw.out.replace(" ", "")


async def test_the_aggregators_discovery_is_answered_and_cached(
    lab: Stage, proxy: httpx.AsyncClient, outcome: Outcome
) -> None:
    both = {"Accept": f"{V2},{V2_BETA}", **PROBE}
    found = await proxy.get("/apis", headers=both)
    assert "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" in found.headers["content-type"]
    (group,) = found.json()["items"]
    assert group["metadata"]["name"] == "external.metrics.k8s.io"
    assert all("responseKind" in each for each in group["versions"][0]["resources"])
    again = {"If-None-Match": found.headers["etag"], **both}
    assert (await proxy.get("/apis", headers=again)).status_code == 304
    plain = await proxy.get("/apis", headers={"Accept": "application/json", **PROBE})
    assert plain.json()["kind"] == "APIGroupList"
    beta = await proxy.get("/apis", headers={"Accept": V2_BETA, **PROBE})
    assert "v=v2beta1" in beta.headers["content-type"]
    assert beta.json()["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


@pytest.mark.parametrize("path", [GROUP_VERSION, f"{GROUP_VERSION}/"], ids=["plain", "slash"])
async def test_discovery_without_groups_is_allowed_by_rbac(
    lab: Stage, proxy: httpx.AsyncClient, outcome: Outcome, path: str
) -> None:
    answer = await proxy.get(path, headers={"Accept": "application/json", **NO_GROUPS})
    assert answer.status_code == 200
    document = answer.json()
    assert document["groupVersion"] == "external.metrics.k8s.io/v1beta1"
    assert document["resources"]
    assert all(each["verbs"] == ["get"] for each in document["resources"])


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3"], ids=["v2", "v3"])
async def test_openapi_makes_no_noise(
    lab: Stage, proxy: httpx.AsyncClient, outcome: Outcome, path: str
) -> None:
    answer = await proxy.get(path, headers={"X-Remote-User": "system:aggregator"})
    assert answer.status_code == 200
    log = lab.world.plane.api_server.log.read_text(errors="replace")
    since = log[log.rfind("Serving securely") :]
    faults = [
        line
        for line in since.splitlines()
        if "loading OpenAPI spec" in line and "v1beta1.external.metrics.k8s.io" in line
    ]
    # 503 is the API server's own word for an adapter of another scenario that was down.
    assert not [line for line in faults if "ResponseCode: 503" not in line]


async def test_probes_need_no_credentials(lab: Stage, outcome: Outcome) -> None:
    base = f"https://127.0.0.1:{lab.adapter.port}"
    async with httpx.AsyncClient(verify=lab.adapter.context(), trust_env=False) as client:
        for path in ("/livez", "/readyz", "/healthz"):
            answer = await client.get(base + path)
            assert (answer.status_code, answer.text) == (200, "ok"), path
        checks = await client.get(f"{base}/readyz?verbose")
        assert "decisions" in checks.text


async def test_version_is_told(lab: Stage, proxy: httpx.AsyncClient, outcome: Outcome) -> None:
    assert "gitVersion" in (await proxy.get("/version", headers=PROBE)).json()


async def test_only_tls_1_2_and_later_is_spoken(lab: Stage, outcome: Outcome) -> None:
    for version, spoken in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        context = lab.adapter.context()
        context.minimum_version = context.maximum_version = version
        assert await _greets(lab, context) is spoken
    old = lab.adapter.context()
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert await _greets(lab, old) is False


async def test_engines_down_leave_it_available_and_namespaces_deletable(
    lab: Stage, outcome: Outcome
) -> None:
    kube = lab.kube
    lab.engines.failing = True
    try:
        raw = f"{GROUP_VERSION}/namespaces/{lab.namespace}/{METRIC}"
        refused = await eventually(
            lambda: kube.client.get(raw),
            lambda answer: answer.status_code == 503,
            within_s=30,
            what="the decision is refused",
        )
        assert "refused" in refused.json()["message"]
        assert "retry-after" not in refused.headers
        assert (await lab.adapter.availability())["status"] == "True"
        doomed = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "doomed"}}
        await kube.apply(doomed)
        await kube.delete(path_of("Namespace", "doomed"))
        await eventually(
            lambda: kube.find(path_of("Namespace", "doomed")),
            lambda found: found is None,
            within_s=30,
            what="the namespace is gone",
        )
    finally:
        lab.engines.failing = False


async def _greets(lab: Stage, context: ssl.SSLContext) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", lab.adapter.port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return False
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return True
