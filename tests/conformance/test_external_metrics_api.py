"""The external metrics API as kube-apiserver, HPA, kubectl and strangers meet it.

Cases 1 to 54 of the protocol notes, over a real TLS listener. Names and ids begin with
the case's number; those that need a control plane are listed at the end with the reason.
"""

import asyncio
import contextlib
import gzip
import json
import logging
import math
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest

from adapter.config import ApiTlsFiles
from adapter.external_metrics.request import API_PREFIX
from adapter.kube.identity import AccessQuery, Identity
from adapter.publish import SERVED_METRICS
from adapter.records import Publication
from tests.helpers.api import HPA, SERVICE, ApiHarness, metric_path
from tests.helpers.pki import SERVER, TestAuthority
from tests.helpers.publications import publication_of

DESIRED = "wva_desired_replicas"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2_BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,"
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
HPA_ACCEPT = "application/vnd.kubernetes.protobuf, */*"
AGGREGATOR = "system:kube-aggregator"
MASTERS = "system:masters"


def fleet(**changes: Any) -> Publication:
    """Two variants in namespace lab (3 and 2.5 replicas wanted) and one elsewhere."""
    publication = publication_of({"lab/a": 3, "lab/b": 2.5, "other/c": 7}, **changes)
    labels = [dict(one) for one in publication.labels]
    labels[0] |= {"env": "a", "k": "", "z": "9", "e": ""}
    labels[1] |= {"env": "b", "k": "1", "m": "1", "tier": "x"}
    object.__setattr__(publication, "labels", tuple(labels))
    publication.values["wva_utilization"][:] = [0.0004, 1.25, 0.0]
    return publication


@pytest.fixture(scope="module")
def running() -> Iterator[ApiHarness]:
    with ApiHarness() as harness:
        yield harness


@pytest.fixture
def api(running: ApiHarness) -> Iterator[ApiHarness]:
    """A running API as after a good tick; whatever a test changes is put back."""
    running.publish(fleet(published_unix_s=running.clock.unix_s()))
    reviewer = running.reviewer
    kept = set(reviewer.allowed)
    yield running
    reviewer.down, reviewer.delay_s, reviewer.allowed = False, 0.0, kept
    reviewer.tokens.clear()
    reviewer.token_reviews.clear()
    reviewer.access_reviews.clear()
    running.checks = {"decisions": ""}
    running.clock.advance(11)  # nothing that was reviewed is remembered


def status_of(response: httpx.Response) -> dict[str, Any]:
    """Return the Status in an answer, after checking that it is one."""
    status = response.json()
    assert response.headers["content-type"] == "application/json"
    assert (status["kind"], status["apiVersion"]) == ("Status", "v1")
    assert (status["status"], status["code"]) == ("Failure", response.status_code)
    assert status["reason"]
    assert status["message"]
    assert "retry-after" not in response.headers, "client-go would retry inside HPA's worker"
    return status


def values_of(response: httpx.Response) -> dict[str, str]:
    """Return variant -> value of a list."""
    assert response.status_code == 200, response.text
    document = response.json()
    assert document["kind"] == "ExternalMetricValueList"
    return {one["metricLabels"]["variant_name"]: one["value"] for one in document["items"]}


# What is asked and what comes back, where one request shows the case.


@dataclass(frozen=True)
class Row:
    """One request and its answer: `says` are parts of the Status message, `check` sees the rest."""

    name: str
    path: str
    code: int = 200
    says: tuple[str, ...] = ()
    check: Callable[[httpx.Response], None] = lambda _: None
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    user: str = HPA
    groups: tuple[str, ...] = ()


def holds(expected: dict[str, str]) -> Callable[[httpx.Response], None]:
    """Check that a list holds exactly these values."""

    def check(response: httpx.Response) -> None:
        assert values_of(response) == expected

    return check


def document(check: Callable[[Any], Any]) -> Callable[[httpx.Response], None]:
    """Check the JSON of an answer."""

    def checked(response: httpx.Response) -> None:
        assert check(response.json())

    return checked


def typed(content_type: str, version: str) -> Callable[[httpx.Response], None]:
    """Check an aggregated discovery document and its label."""

    def check(response: httpx.Response) -> None:
        assert response.headers["content-type"] == content_type
        found = response.json()
        assert found["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        (group,) = found["items"]
        assert group["metadata"]["name"] == "external.metrics.k8s.io"
        resources = group["versions"][0]["resources"]
        assert [one["resource"] for one in resources] == list(SERVED_METRICS)
        assert all(one["responseKind"]["kind"] for one in resources)

    return check


def read(selector: str, *, metric: str = DESIRED, namespace: str = "lab") -> str:
    """Return the address of a read; `selector` is already encoded."""
    query = f"?labelSelector={selector}" if selector else ""
    return metric_path(metric, namespace) + query


ROWS = [
    Row("10-aggregated-v2", "/apis", headers={"accept": f"{V2},{V2_BETA}"}, check=typed(V2, "v2")),
    Row("11-legacy-groups", "/apis", headers={"accept": "application/json"},
        check=document(lambda d: d["kind"] == "APIGroupList" and d["groups"][0]["name"])),
    Row("11-group", "/apis/external.metrics.k8s.io",
        check=document(lambda d: d["kind"] == "APIGroup")),
    Row("12-aggregated-v2beta1", "/apis", headers={"accept": V2_BETA},
        check=typed(V2_BETA, "v2beta1")),
    Row("14-resources-without-groups", API_PREFIX, user=AGGREGATOR,
        headers={"accept": "application/json"},
        check=document(lambda d: d["groupVersion"] == "external.metrics.k8s.io/v1beta1"
                       and all(one["verbs"] == ["get"] for one in d["resources"]))),
    Row("17-openapi-v2-without-groups", "/openapi/v2", user="system:aggregator",
        check=document(lambda d: d["swagger"] == "2.0")),
    Row("17-openapi-v3-without-groups", "/openapi/v3", user="system:aggregator",
        check=document(lambda d: list(d["paths"]) == [API_PREFIX[1:]])),
    Row("18-version", "/version", check=document(lambda d: d["gitVersion"] == "v1.2.3")),
    Row("20-hpa", read("variant_name%3Da"), headers={"accept": HPA_ACCEPT}, check=holds({"a": "3"})),
    Row("21-protobuf-alone", read(""), 406, ("application/json",),
        headers={"accept": "application/vnd.kubernetes.protobuf"}),
    Row("22-lower-cased", read("variant_name%3Da"), check=holds({"a": "3"})),
    Row("23-as-written", read("variant_name%3Da", metric="WVA_Desired_Replicas"),
        check=holds({"a": "3"})),
    Row("24-no-selector", read(""), check=holds({"a": "3", "b": "2500m"})),
    Row("24-empty-selector", metric_path() + "?labelSelector=", check=holds({"a": "3", "b": "2500m"})),
    Row("24-conjunction", read("env%3Da%2Cz%3D9"), check=holds({"a": "3"})),
    Row("25-set-based", read("env+in+%28a%2Cb%29%2Ck%2C%21m%2Ctier+notin+%28x%29%2Cz%3D9"),
        check=holds({"a": "3"})),
    Row("25-notin-matches-the-absent", read("tier+notin+%28x%29"), check=holds({"a": "3"})),
    Row("25-unequal-matches-the-absent", read("tier%21%3Dx"), check=holds({"a": "3"})),
    Row("25-blank-as-percent-20", read("env%20in%20(b)"), check=holds({"b": "2500m"})),
    Row("26-empty-value", read("e%3D"), check=holds({"a": "3"})),
    Row("27-no-set", read("a+in+b"), 400, ("unable to parse requirement: found 'b', expected: '('",)),
    Row("27-no-key", read("%3Dx"), 400, ("found '='",)),
    Row("28-two-variants", read("model_name%3Dllama-3.1-8b"), check=holds({"a": "3", "b": "2500m"})),
    Row("28-one-each", read("variant_name%3Db"), check=holds({"b": "2500m"})),
    Row("29-unknown-metric", read("", metric="m1"), 404, ("'m1'", "'lab'", DESIRED)),
    Row("30-no-match", read("variant_name%3Dnone"), 404, (DESIRED, "variant_name=none", "2: a, b")),
    Row("30-no-variant", read("", namespace="empty"), 404, ("'empty'", "none")),
    Row("33-fraction", read("variant_name%3Db"), check=holds({"b": "2500m"})),
    Row("33-small", read("variant_name%3Da", metric="wva_utilization"), check=holds({"a": "1m"})),
    Row("33-zero", read("", metric="wva_utilization", namespace="other"), check=holds({"c": "0"})),
    Row("37-other-namespace", read("variant_name%3Dc"), 404, ("'lab'",)),
    Row("37-all-namespaces", read("", namespace="%2A"), 400, ("'*'",)),
    Row("38-limit-is-ignored", metric_path() + "?limit=500&pretty=true&x=y&timeoutSeconds=5",
        check=holds({"a": "3", "b": "2500m"})),
    Row("39-named", metric_path() + "/foo", 404, ("'foo'",), user="root", groups=(MASTERS,)),
    *(
        Row(f"39-{method.lower()}", metric_path(), 405, (method,), method=method, user="root",
            groups=(MASTERS,))
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    ),
    Row("39-post-without-permission", metric_path(), 403, ("cannot create",), method="POST"),
    Row("39-post-to-discovery", "/apis", 405, method="POST", user="root", groups=(MASTERS,)),
    Row("40-json-stays-a-list", metric_path() + "?limit=500", headers={"accept": "application/json"},
        check=holds({"a": "3", "b": "2500m"})),
    Row("41-encoded-name", metric_path("datadogmetric@ns:a%7Cb%20c"), 404, ("datadogmetric@ns:a|b c",)),
    Row("41-encoded-once", metric_path("a%2541"), 404, ("'a%41'",)),
    Row("41-encoded-slash", metric_path("a%2Fb"), 404),
    Row("39-cluster-scope", f"{API_PREFIX}/{DESIRED}", 404, ("namespaced",)),
    Row("39-namespace-alone", f"{API_PREFIX}/namespaces/lab", 404, user="root", groups=(MASTERS,)),
    Row("39-unknown-path", "/nothing/here", 404, user="root", groups=(MASTERS,)),
    Row("39-other-version", "/apis/external.metrics.k8s.io/v1/namespaces/lab/m1", 404, user="root",
        groups=(MASTERS,)),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_request(api: ApiHarness, row: Row) -> None:
    with api.proxied(row.user, groups=row.groups) as client:
        response = client.request(row.method, row.path, headers=row.headers)
        assert response.status_code == row.code, response.text
        if row.code >= 400:
            message = status_of(response)["message"]
            assert all(part in message for part in row.says), message
        row.check(response)
        if row.method == "GET":
            head = client.head(row.path, headers=row.headers)
            assert (head.status_code, head.content) == (row.code, b"")
            assert head.headers["content-length"] == response.headers["content-length"]


class TestServing:
    @contextlib.contextmanager
    def probing(self, api: ApiHarness) -> Iterator[Callable[[], list[int]]]:
        """Give what kube-apiserver does every 30 s: five requests at once, with no Accept."""
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(api.proxied(AGGREGATOR, groups=(MASTERS,))) for _ in range(5)
            ]
            for client in clients:
                del client.headers["accept"]
            pool = stack.enter_context(ThreadPoolExecutor(5))
            yield lambda: [r.status_code for r in pool.map(lambda c: c.get(API_PREFIX), clients)]

    def test_case_01_the_availability_probe(self, api):
        with self.probing(api) as probe:
            began = time.monotonic()
            assert probe() == [200] * 5
            assert time.monotonic() - began < 1

    def test_case_02_it_succeeds_while_everything_behind_is_down(self, api):
        api.reviewer.down = True
        api.publish(fleet(age_s=math.inf))
        with self.probing(api) as probe:
            assert probe() == [200] * 5

    def test_case_03_and_case_15_it_succeeds_before_the_first_publication(self):
        with ApiHarness() as api, self.probing(api) as probe, api.proxied() as client:
            assert probe() == [200] * 5
            resources = client.get(API_PREFIX).json()["resources"]
            assert [one["name"] for one in resources] == list(SERVED_METRICS)
            assert (
                "no decision has been published yet" in status_of(client.get(read("")))["message"]
            )

    def test_case_03_before_it_is_known_whom_to_trust_nothing_is_forbidden(self):
        with ApiHarness(trust=False) as api:
            api.wait(lambda: "can't be used" in api.keeper.problem)
            with api.proxied(AGGREGATOR, groups=(MASTERS,)) as client:
                response = client.get(API_PREFIX)
                assert response.status_code == 503, "anything but 4xx"
                assert "extension-apiserver-authentication" in status_of(response)["message"]
            api.set_trust(api.trust())
            with self.probing(api) as probe:
                assert probe() == [200] * 5

    def test_case_04_the_certificate_is_for_the_service_s_name(self, api):
        with api.client() as client:
            url = f"https://127.0.0.1:{api.port}/livez"
            response = client.get(url, extensions={"sni_hostname": SERVICE})
            assert response.text == "ok"
            wrong = {"sni_hostname": f"{SERVICE}.cluster.local"}
            with (
                pytest.raises(httpx.ConnectError, match="Hostname mismatch"),
                api.client() as other,
            ):
                other.get(url, extensions=wrong)

    def test_case_05_a_replaced_certificate_file_is_served_without_a_restart(self, tmp_path):
        authority = TestAuthority()
        files = ApiTlsFiles(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")

        def write() -> bytes:
            one = authority.issue("wva", uses=(SERVER,))
            files.cert_file.write_text(one.pem)
            files.key_file.write_text(one.key_pem)
            return one.der

        def served() -> bytes:
            return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", api.port)))

        first = write()
        with ApiHarness(files=files) as api, api.client() as client:
            assert client.get("/livez").text == "ok"
            assert served() == first
            second = write()
            api.call(api.tls.refresh)
            assert served() == second
            assert client.get("/livez").text == "ok", "kept connections go on"

    def test_case_06_a_rotated_front_proxy_authority_is_accepted(self, api):
        new = TestAuthority("front-proxy-ca-2")
        rotated = {**api.trust(), "requestheader-client-ca-file": new.pem}
        old_client, new_proxy = api.proxied(), new.issue("front-proxy-client")
        with old_client, api.client(new_proxy, headers={"x-remote-user": HPA}) as client:
            assert old_client.get(read("")).status_code == 200
            with pytest.raises(httpx.TransportError):
                client.get(read(""))
            api.set_trust(rotated)
            assert client.get(read("")).status_code == 200
            assert old_client.get(read("")).status_code == 401, "the old one counts no longer"
            api.set_trust(api.trust())

    @pytest.mark.parametrize(
        ("version", "accepted"),
        [
            pytest.param(ssl.TLSVersion.TLSv1_3, True, id="tls-1.3"),
            pytest.param(ssl.TLSVersion.TLSv1_2, True, id="tls-1.2"),
            pytest.param(ssl.TLSVersion.TLSv1_1, False, id="tls-1.1"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
    def test_case_07_tls_versions(self, api, version, accepted):
        context = api.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with httpx.Client(verify=context, trust_env=False) as client:
            outcome = contextlib.nullcontext() if accepted else pytest.raises(httpx.ConnectError)
            with outcome:
                assert client.get(f"https://127.0.0.1:{api.port}/livez").text == "ok"

    def test_case_08_requests_that_are_under_way_are_answered_on_the_way_down(self):
        with ApiHarness() as api, api.proxied() as client, api.client() as idle:
            api.publish(fleet())
            assert idle.get("/readyz").text == "ok"
            api.reviewer.delay_s = 0.5
            with ThreadPoolExecutor(1) as pool:
                under_way = pool.submit(client.get, read(""))
                api.wait(lambda: api.reviewer.access_reviews)
                api.checks = {"decisions": "draining"}
                assert idle.get("/readyz").status_code == 503
                api.call(api.server.stop)
                began = time.monotonic()
                assert values_of(under_way.result()) == {"a": "3", "b": "2500m"}
            api._thread.join(10)
            assert time.monotonic() - began < 5
            with pytest.raises(httpx.ConnectError), api.client() as late:
                late.get("/livez")


class TestDiscovery:
    @pytest.mark.parametrize(
        ("path", "accept"),
        [
            ("/apis", V2),
            ("/apis", V2_BETA),
            ("/apis", "application/json"),
            ("/openapi/v2", "application/json"),
            ("/openapi/v3", "*/*"),
        ],
    )
    def test_case_13_what_is_known_is_not_sent_again(self, api, path, accept):
        with api.proxied() as client:
            first = client.get(path, headers={"accept": accept})
            etag = first.headers["etag"]
            again = client.get(path, headers={"accept": accept, "if-none-match": etag})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
            other = client.get(path, headers={"accept": accept, "if-none-match": '"other"'})
            assert other.status_code == 200
            assert other.content == first.content

    def test_case_13_each_form_has_its_own_etag(self, api):
        with api.proxied() as client:
            etags = {
                client.get("/apis", headers={"accept": accept}).headers["etag"]
                for accept in (V2, V2_BETA, "application/json")
            }
        assert len(etags) == 3

    @pytest.mark.parametrize("path", ["/apis", "/apis/external.metrics.k8s.io", API_PREFIX])
    def test_case_16_a_slash_at_the_end_changes_nothing(self, api, path):
        with api.proxied() as client:
            with_slash = client.get(f"{path}/")
            assert with_slash.status_code == 200
            assert with_slash.content == client.get(path).content

    def test_case_17_the_openapi_root_leads_to_the_document(self, api):
        with api.proxied("system:aggregator") as client:
            root = client.get("/openapi/v3").json()
            address = root["paths"][API_PREFIX.removeprefix("/")]["serverRelativeURL"]
            found = client.get(address)
            assert found.json()["openapi"].startswith("3.")
            assert address.endswith(found.headers["etag"].strip('"'))

    def test_case_19_health_needs_no_credentials(self, api):
        with api.client() as client:
            for name in ("livez", "readyz", "healthz"):
                response = client.get(f"/{name}")
                assert (response.status_code, response.text) == (200, "ok")
            assert "[+]decisions ok" in client.get("/readyz?verbose").text
            api.checks = {"decisions": "the loop is silent", "other": ""}
            response = client.get("/readyz")
            assert response.status_code == 503
            assert "[-]decisions failed: the loop is silent" in response.text
            assert "[+]other ok" in response.text
            assert client.get("/livez").text == "ok"
            assert client.get("/livez/ping").status_code == 403, "exactly these paths"

    def test_case_19_health_ignores_a_bad_credential(self, api):
        with api.client(headers={"authorization": "Bearer nobody"}) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/apis").status_code == 401


class TestReads:
    @pytest.mark.parametrize("age_s", [700.0, math.inf], ids=["too-old", "never-read"])
    def test_case_31_what_is_too_old_is_refused_with_a_reason(self, api, age_s):
        api.publish(fleet(age_s=age_s, message="2 of 2 replicas silent: http://e1:8000 (Timeout)"))
        with api.proxied() as client:
            response = client.get(read("variant_name%3Da"))
            assert response.status_code == 503
            status = status_of(response)
            assert status["reason"] == "ServiceUnavailable"
            assert "http://e1:8000 (Timeout)" in status["message"]
            assert ("700 s old, above the limit of 30 s" in status["message"]) == (age_s == 700)

    def test_case_31_age_goes_on_while_nothing_comes(self, api):
        with api.proxied() as client:
            path = read("variant_name%3Da")
            assert values_of(client.get(path)) == {"a": "3"}
            api.clock.advance(31)
            assert values_of(client.get(path)) == {"a": "3"}, "held"
            api.clock.advance(600)
            assert "published nothing for 631 s" in status_of(client.get(path))["message"]

    def test_case_32_a_refusal_comes_at_once(self, api):
        api.publish(fleet(age_s=math.inf))
        with api.proxied() as client:
            client.get("/livez")
            began = time.monotonic()
            assert client.get(read("")).status_code == 503
            assert time.monotonic() - began < 1

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(math.nan, id="34-nan"),
            pytest.param(-1.0, id="34-negative"),
            pytest.param(math.inf, id="34-infinite"),
            pytest.param(9.3e15, id="35-overflows"),
        ],
    )
    def test_case_34_and_case_35_what_hpa_would_misread_is_never_sent(self, api, value):
        publication = fleet()
        publication.values[DESIRED][0] = value
        api.publish(publication)
        with api.proxied() as client:
            for selector in ("variant_name%3Da", ""):
                response = client.get(read(selector))
                assert response.status_code == 503
                assert DESIRED in status_of(response)["message"]
            assert values_of(client.get(read("variant_name%3Db"))) == {"b": "2500m"}

    def test_case_36_items_decode_in_kubernetes(self, api):
        now_unix_s = api.clock.unix_s()
        api.publish(fleet(published_unix_s=now_unix_s, age_s=7.0))
        with api.proxied() as client:
            (item,) = client.get(read("variant_name%3Da")).json()["items"]
        assert set(item) <= {"metricName", "metricLabels", "timestamp", "window", "value"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item["timestamp"])
        read_unix_s = datetime.fromisoformat(item["timestamp"]).timestamp()
        assert read_unix_s == int(now_unix_s - 7)
        labels = item["metricLabels"]
        assert all(isinstance(value, str) for value in labels.values())
        assert labels["exported_namespace"] == labels["namespace"] == "lab"
        assert item["metricName"] == DESIRED
        assert item["value"] == "3"

    @pytest.mark.parametrize("query", ["watch=true", "watch=1", "watch"])
    def test_case_38_there_is_no_watch(self, api, query):
        api.reviewer.allow(HPA, "watch", "*")
        with api.proxied() as client:
            response = client.get(f"{metric_path()}?{query}")
            assert response.status_code == 405
            assert status_of(response)["reason"] == "MethodNotAllowed"
            assert client.get(f"{metric_path()}?watch=false").status_code == 200

    def test_case_40_kubectl_get_prints_a_table(self, api):
        publication = fleet()
        publication.reading_age_s[1] = 700.0
        api.publish(publication)
        with api.proxied() as client:
            response = client.get(f"{metric_path()}?limit=500", headers={"accept": TABLE})
        table = response.json()
        assert response.headers["content-type"] == "application/json"
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert [row["cells"][:3] for row in table["rows"]] == [
            ["a", "3", "fresh"],
            ["b", "<unknown>", "refused"],
        ]
        assert {len(row["cells"]) for row in table["rows"]} == {len(table["columnDefinitions"])}

    def test_case_42_large_answers_are_compressed_for_those_who_ask(self, api):
        api.publish(publication_of({f"lab/v{i}": i for i in range(300)}))
        with api.proxied() as client:
            plain = client.get(read(""), headers={"accept-encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert int(plain.headers["content-length"]) == len(plain.content) > 32 * 1024
            packed = client.get(read(""), headers={"accept-encoding": "gzip"})
            assert packed.headers["content-encoding"] == "gzip"
            assert packed.content == plain.content
            assert int(packed.headers["content-length"]) < len(plain.content) / 5
            small = client.get(read("variant_name%3Dv1"), headers={"accept-encoding": "gzip"})
            assert "content-encoding" not in small.headers

    def test_case_42_the_length_is_right_on_the_wire(self, api):
        api.publish(publication_of({f"lab/v{i}": i for i in range(300)}))
        answer = api.raw(
            f"GET {read('')} HTTP/1.1\r\nhost: x\r\nx-remote-user: {HPA}\r\n"
            "accept-encoding: gzip\r\nconnection: close\r\n\r\n".encode(),
            credential=api.front_proxy,
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        assert length == len(body)
        assert len(json.loads(gzip.decompress(body))["items"]) == 300

    def test_case_42_a_connection_carries_many_requests(self, api):
        with api.proxied() as client:
            client.get("/livez")
            ports = set()
            for i in range(150):
                with client.stream("GET", read("variant_name%3Da")) as response:
                    ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
                    response.read()
                    assert response.status_code == 200, i
        assert len(ports) == 1

    async def test_case_43_fifty_at_once(self, api):
        request = (
            f"GET {read('variant_name%3Da')} HTTP/1.1\r\nhost: x\r\nx-remote-user: {HPA}\r\n\r\n"
        ).encode()
        context = api.context(api.front_proxy)
        streams = [
            await asyncio.open_connection(
                "127.0.0.1", api.port, ssl=context, server_hostname="localhost"
            )
            for _ in range(50)
        ]

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
            began = time.process_time()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            took_s = time.process_time() - began
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            return took_s

        # Client and server share this process, whose own time is what a quiet machine's clock
        # would show; of a few rounds the best shows the server.
        rounds = [
            float(np.percentile(await asyncio.gather(*(ask(*one) for one in streams)), 99))
            for _ in range(5)
        ]
        for _, writer in streams:
            writer.transport.abort()
        assert min(rounds) < 0.1
        assert max(rounds) < 5

    def test_case_44_the_audit_id_is_echoed(self, api):
        audit_id = "b882eee0-5805-44a4-a12f-e5630054bcb5"
        with api.proxied() as client:
            for path in (read(""), "/apis", "/nothing", read("a+in+b")):
                response = client.get(path, headers={"audit-id": audit_id})
                assert response.headers["audit-id"] == audit_id
            assert "audit-id" not in client.get("/apis", headers={"audit-id": "a b;c"}).headers


class TestCallers:
    def test_case_45_headers_without_a_certificate_are_nobody_s(self, api):
        with api.client(headers={"x-remote-user": "admin", "x-remote-group": MASTERS}) as client:
            response = client.get(read(""))
        assert response.status_code == 403
        status = status_of(response)
        assert status["message"] == (
            f'{DESIRED}.external.metrics.k8s.io is forbidden: User "system:anonymous" cannot list '
            f'resource "{DESIRED}" in API group "external.metrics.k8s.io" in the namespace "lab"'
        )
        assert status["details"] == {"group": "external.metrics.k8s.io", "kind": DESIRED}

    def test_case_46_an_ordinary_certificate_is_who_it_says_and_not_what_headers_say(self, api):
        headers = {"x-remote-user": "admin", "x-remote-group": MASTERS}
        alice = api.kube_ca.issue("alice", organizations=("dev",))
        with api.client(alice, headers=headers) as client:
            assert 'User "alice"' in status_of(client.get(read("")))["message"]
            api.reviewer.allow("dev", "list", DESIRED)
            api.clock.advance(11)
            assert client.get(read("")).status_code == 200

    def test_case_46_nor_if_it_has_the_front_proxy_s_name(self, api):
        impostor = api.kube_ca.issue("front-proxy-client")
        with api.client(impostor, headers={"x-remote-user": HPA}) as client:
            response = client.get(read(""))
            assert response.status_code == 403
            assert 'User "front-proxy-client"' in status_of(response)["message"]

    def test_case_47_a_front_proxy_of_another_name_is_refused(self, api):
        other = api.proxy_ca.issue("another")
        with api.client(other, headers={"x-remote-user": HPA}) as client:
            response = client.get(read(""))
        assert response.status_code == 401
        assert response.json() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Unauthorized",
            "reason": "Unauthorized",
            "details": {"group": "external.metrics.k8s.io", "kind": DESIRED},
            "code": 401,
        }

    def test_case_48_no_allowed_names_allow_any_front_proxy(self, api):
        other = api.proxy_ca.issue("another")
        api.set_trust(api.trust(names=()))
        with api.client(other, headers={"x-remote-user": HPA}) as client:
            assert client.get(read("")).status_code == 200
        api.set_trust(api.trust())

    def test_case_49_groups_and_extra_reach_the_access_review(self, api):
        groups = ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
        with api.proxied("bob", groups=groups) as client:
            name = "X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id"
            client.get(read(""), headers={name: "JTI=1", "X-Remote-Uid": "7"})
        (identity, query), *_ = api.reviewer.access_reviews
        assert identity == Identity(
            "bob",
            groups=groups,
            extra=(("authentication.kubernetes.io/credential-id", ("JTI=1",)),),
        )
        assert query == AccessQuery(
            verb="list",
            namespace="lab",
            group="external.metrics.k8s.io",
            version="v1beta1",
            resource=DESIRED,
        )

    def test_case_50_a_front_proxy_s_user_without_groups_is_authenticated(self, api):
        with api.proxied("bob") as client:
            client.get("/openapi/v2")
        (identity, query), *_ = api.reviewer.access_reviews
        assert identity.groups == ("system:authenticated",)
        assert query == AccessQuery(verb="get", path="/openapi/v2")

    @pytest.mark.parametrize(
        ("token", "code", "says"),
        [
            pytest.param("allowed", 200, "", id="may"),
            pytest.param("known", 403, 'User "carol" cannot list', id="may-not"),
            pytest.param("garbage", 401, "Unauthorized", id="garbage"),
            pytest.param("", 403, 'User "system:anonymous" cannot list', id="none"),
        ],
    )
    def test_case_51_tokens(self, api, token, code, says):
        api.reviewer.tokens |= {"allowed": Identity(HPA), "known": Identity("carol")}
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with api.client(headers=headers) as client:
            response = client.get(read(""))
        assert response.status_code == code
        assert code == 200 or says in status_of(response)["message"]

    def test_case_52_reviews_are_kept_for_ten_seconds(self, api):
        api.reviewer.tokens["t"] = Identity("dave")
        api.reviewer.allow("dave", "list", DESIRED)
        with api.client(headers={"authorization": "Bearer t"}) as client:
            assert [client.get(read("")).status_code for _ in range(5)] == [200] * 5
            assert len(api.reviewer.token_reviews) == len(api.reviewer.access_reviews) == 1
            api.reviewer.allowed.discard(("dave", "list", DESIRED))
            assert client.get(read("")).status_code == 200
            api.clock.advance(10.1)
            assert client.get(read("")).status_code == 403

    def test_case_53_without_the_api_server_nobody_new_gets_in(self, api):
        api.reviewer.tokens["t"] = Identity("dave")
        api.reviewer.down = True
        with api.client(headers={"authorization": "Bearer t"}) as client:
            assert client.get(read("")).status_code == 401
        with api.proxied("erin") as client:
            response = client.get(read(""))
            assert response.status_code == 500
            assert "Internal Server Error" in status_of(response)["message"]
        with api.proxied(AGGREGATOR, groups=(MASTERS,)) as client:
            assert client.get(API_PREFIX).status_code == 200

    def test_case_54_who_can_be_trusted_is_asked_for_until_it_is_known(self, caplog):
        caplog.set_level(logging.ERROR)
        with ApiHarness(trust=False) as api:
            api.wait(lambda: "can't be used" in api.keeper.problem)
            with api.proxied(AGGREGATOR, groups=(MASTERS,)) as client:
                assert client.get("/livez").text == "ok"
                api.checks = {"authentication": api.keeper.problem}  # as the app composes it
                assert "extension-apiserver-authentication" in client.get("/readyz").text
            (record,) = caplog.records
            assert "extension-apiserver-authentication" in record.getMessage()
            assert "trying again" in record.getMessage()
            api.set_trust(api.trust())
            with api.proxied(AGGREGATOR, groups=(MASTERS,)) as client:
                assert client.get(API_PREFIX).status_code == 200
                api.checks = {"authentication": api.keeper.problem}
                assert client.get("/readyz").text == "ok"


class TestHostile:
    """Beyond the numbered cases: whatever comes, the answer is a Status, or the connection ends."""

    def exchange(self, api: ApiHarness, *parts: bytes) -> tuple[int, dict[str, Any]]:
        head, _, body = api.raw(*parts).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    @pytest.mark.parametrize(
        ("parts", "code"),
        [
            pytest.param(
                [b"GET /apis?x=" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"],
                414,
                id="long-url",
            ),
            pytest.param([b"GET /"] + [b"a" * 30_000] * 8, 431, id="endless-url"),
            pytest.param(
                [b"GET /apis HTTP/1.1\r\n"] + [b"x-a: " + b"b" * 30_000 + b"\r\n"] * 8,
                431,
                id="endless-headers",
            ),
            pytest.param(
                [b"GET /apis HTTP/1.1\r\nx-a: "] + [b"b" * 30_000] * 8, 431, id="endless-header"
            ),
            pytest.param([b"nonsense\r\n\r\n"], 400, id="not-http"),
            pytest.param([b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n"], 400, id="not-ascii"),
            pytest.param(
                [b"GET /%ff%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
                400,
                id="not-utf-8",
            ),
            pytest.param([b"CONNECT other:443 HTTP/1.1\r\nhost: x\r\n\r\n"], 400, id="connect"),
            pytest.param(
                [b"GET /apis HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n"],
                400,
                id="bad-length",
            ),
            pytest.param(
                [b"GET /apis?labelSelector=%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
                400,
                id="query-not-utf-8",
            ),
        ],
    )
    def test_bad_requests(self, api, parts, code):
        found, status = self.exchange(api, *parts)
        assert (found, status["code"], status["kind"]) == (code, code, "Status")

    def test_the_server_lives_on(self, api):
        for _ in range(20):
            api.raw(b"\x00" * 100)
        with api.client() as client:
            assert client.get("/livez").text == "ok"

    def test_a_websocket_upgrade_is_just_a_get(self, api):
        upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        with api.client() as client:
            assert client.get("/livez", headers=upgrade).text == "ok"

    def test_a_selector_of_ten_kilobytes_is_answered(self, api):
        names = "%2C".join(f"v{i}" for i in range(1500))
        with api.proxied() as client:
            response = client.get(read(f"variant_name+in+%28a%2C{names}%29"))
            assert values_of(response) == {"a": "3"}

    def test_a_head_that_never_ends_is_cut_off(self, monkeypatch):
        monkeypatch.setattr("adapter.external_metrics.protocol.HEAD_TIMEOUT_S", 0.1)
        with ApiHarness() as api:
            assert api.raw() == b"", "nothing was ever asked"
            assert api.raw(b"GET /apis HTTP/1.1\r\nx: ") == b""

    def test_connections_are_bounded(self, monkeypatch):
        monkeypatch.setattr("adapter.external_metrics.protocol.MAX_CONNECTIONS", 3)
        with ApiHarness() as api, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(api.client()) for _ in range(4)]
            assert [client.get("/livez").status_code for client in clients[:3]] == [200] * 3
            with pytest.raises(httpx.TransportError):
                clients[3].get("/livez")

    def test_requests_in_a_row_without_waiting_are_answered_in_order(self, api):
        one = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        last = b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        answer = api.raw(one * 3 + last)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"200", b"403"]

    def test_a_fault_of_ours_is_a_status_that_gives_nothing_away(self, api, caplog):
        def broken() -> dict[str, str]:
            raise RuntimeError("secret detail")

        kept = api.checks
        try:
            type(api).checks = property(lambda _: broken())
            del api.__dict__["checks"]
            with api.client() as client:
                response = client.get("/readyz")
        finally:
            del type(api).checks
            api.checks = kept
        assert response.status_code == 500
        assert "secret" not in status_of(response)["message"]
        assert "secret detail" in caplog.text


NEEDS_A_CONTROL_PLANE = {
    9: "a namespace's deletion is the control plane's",
}


def test_every_case_is_here_or_excused():
    """Discovery (10) and describe (29) through kubectl come with the control plane, too."""
    named = {int(row.name[:2]) for row in ROWS}
    for tests in (TestServing, TestDiscovery, TestReads, TestCallers):
        for name in vars(tests):
            named |= {int(number) for number in re.findall(r"case_(\d\d)", name)}
    assert named | NEEDS_A_CONTROL_PLANE.keys() == set(range(1, 55))
    assert named.isdisjoint(NEEDS_A_CONTROL_PLANE)


def test_without_authentication_everybody_may_read():
    with ApiHarness(open_to_all=True) as api, api.client() as client:
        api.publish(fleet())
        assert values_of(client.get(read(""))) == {"a": "3", "b": "2500m"}
        assert client.get("/explain").status_code == 200
        assert client.post(read("")).status_code == 405


def test_answers_are_counted_by_kind_and_status(api):
    api.answers.clear()
    with api.proxied() as client:
        for path in (read(""), read("", metric="x"), "/apis", "/explain", "/livez", "/x"):
            client.get(path)
    api.wait(lambda: len(api.answers) == 6)
    assert api.answers == [
        ("metric", 200),
        ("metric", 404),
        ("discovery", 200),
        ("explain", 200),
        ("health", 200),
        ("other", 404),
    ]
