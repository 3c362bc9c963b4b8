"""/explain over a real listener: who may see which reasons, and in which form."""

from collections.abc import Iterator

import pytest

from adapter.records import Reason, SourceFault
from tests.helpers.api import HPA, ApiHarness
from tests.helpers.publications import publication_of, report_of

DESIRED = "wva_desired_replicas"


@pytest.fixture(scope="module")
def api() -> Iterator[ApiHarness]:
    with ApiHarness() as harness:
        fault = SourceFault(
            source="http://engine:8000",
            reason=Reason.TIMEOUT,
            message="no answer in 2 s",
            since_s=0.0,
        )
        harness.publish(
            publication_of(
                {"lab/a": 3, "lab/b": 1, "other/c": 7},
                details={"input.arrival_rate_rps": 12.5, "bound.model_replicas": 3.0},
                message="1 of 2 replicas silent",
                report=report_of(faults=(fault,), settings_error="line 3: nonsense"),
            )
        )
        harness.reviewer.allow("lab-reader", "list", f"lab/{DESIRED}")
        harness.reviewer.allow("lab-reader", "list", "elsewhere/x")
        yield harness


def test_everything_to_those_who_may_read_everywhere(api):
    with api.proxied(HPA) as client:
        summary = client.get("/explain").json()
    assert [(one["namespace"], one["variant"]) for one in summary["variants"]] == [
        ("lab", "a"),
        ("lab", "b"),
        ("other", "c"),
    ]
    first = summary["variants"][0]
    assert (first["desired_replicas"], first["current_replicas"]) == (3.0, 2.0)
    assert (first["state"], first["binding"]) == ("fresh", "Demand")
    assert first["message"] == "1 of 2 replicas silent"
    assert summary["faults"] == [
        {"source": "http://engine:8000", "reason": "timeout", "message": "no answer in 2 s"}
    ]
    assert summary["settings_error"] == "line 3: nonsense"


def test_a_tenant_sees_his_namespaces_and_no_one_s_sources(api):
    with api.proxied("lab-reader") as client:
        summary = client.get("/explain").json()
        assert {one["namespace"] for one in summary["variants"]} == {"lab"}
        assert summary["faults"] == []
        assert summary["settings_error"] == ""
        assert client.get("/explain/lab").json()["variants"] == summary["variants"]
        assert client.get("/explain/lab/a").status_code == 200
        for path in ("/explain/other", "/explain/other/c", "/explain/none/x"):
            response = client.get(path)
            assert response.status_code == 403, path
            assert "cannot list" in response.json()["message"]


def test_the_api_group_leads_to_the_same_reasons(api):
    group = "/apis/external.metrics.k8s.io/v1beta1"
    with api.proxied("lab-reader") as client:
        for plain, grouped in [
            ("/explain", "/explanations"),
            ("/explain/lab", "/namespaces/lab/explanations"),
            ("/explain/lab/a", "/namespaces/lab/explanations/a"),
        ]:
            (one, other) = (client.get(plain), client.get(group + grouped))
            assert (one.status_code, other.status_code) == (200, 200)
            assert one.json().keys() == other.json().keys()
        for path, code in [
            ("/namespaces/other/explanations", 403),
            ("/namespaces/lab/explanations/none", 404),
            ("/namespaces/lab/explanations/a/more", 404),
        ]:
            assert client.get(group + path).status_code == code, path


def test_discovery_lists_metrics_alone(api):
    with api.proxied("lab-reader") as client:
        listed = client.get("/apis/external.metrics.k8s.io/v1beta1").json()["resources"]
    assert not [one["name"] for one in listed if not one["name"].startswith("wva_")]


@pytest.mark.parametrize("user", ["stranger", None], ids=["known", "anonymous"])
def test_who_may_read_nowhere_is_refused(api, user):
    with api.proxied(user) if user else api.client() as client:
        for path in ("/explain", "/explain/lab", "/explain/lab/a"):
            response = client.get(path)
            assert response.status_code == 403
            assert response.json()["kind"] == "Status"


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        pytest.param("", "*/*", "application/json", id="curl"),
        pytest.param("", "application/json", "application/json", id="json"),
        pytest.param("", "text/plain", "text/plain; charset=utf-8", id="text"),
        pytest.param("", "text/plain;q=0.5, application/json", "application/json", id="prefers"),
        pytest.param("?format=text", "*/*", "text/plain; charset=utf-8", id="text-by-query"),
        pytest.param("?format=json", "text/plain", "application/json", id="json-by-query"),
    ],
)
@pytest.mark.parametrize("path", ["/explain", "/explain/lab", "/explain/lab/a"])
def test_forms(api, path, query, accept, content_type):
    with api.proxied(HPA) as client:
        response = client.get(path + query, headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    if content_type == "application/json":
        assert response.json()["sequence"] == 1
    else:
        assert "1 of 2 replicas silent" in response.text


def test_the_overview_as_text_is_a_table(api):
    with api.proxied(HPA) as client:
        lines = client.get("/explain?format=text").text.splitlines()
    assert lines[1].split() == [
        "NAMESPACE", "VARIANT", "DESIRED", "NOW", "STATE", "READ", "BECAUSE", "MISSING",
    ]  # fmt: skip
    assert lines[2].split()[:5] == ["lab", "a", "3", "2", "fresh"]
    assert lines[-2:] == [
        "http://engine:8000: no answer in 2 s",
        "settings not reloaded: line 3: nonsense",
    ]


def test_a_variant_s_numbers_are_there(api):
    with api.proxied(HPA) as client:
        explained = client.get("/explain/lab/a").json()
        assert explained["inputs"]["arrival_rate_rps"]["value"] == 12.5
        assert explained["bounds"]["model_replicas"]["value"] == 3.0
        text = client.get("/explain/lab/a", headers={"accept": "text/plain"}).text
        assert "12.5" in text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/explain/lab/none", 404),
        ("/explain/lab/a/more", 404),
        ("/explain/", 200),
        ("/explain/lab/", 200),
    ],
)
def test_other_addresses(api, path, code):
    with api.proxied(HPA) as client:
        response = client.get(path)
        assert response.status_code == code
        assert code == 200 or response.json()["kind"] == "Status"


def test_explanations_go_on_when_the_value_is_refused(api):
    api.clock.advance(1000)
    try:
        with api.proxied(HPA) as client:
            explained = client.get("/explain/lab/a").json()
            assert explained["freshness"]["state"] == "refused"
            (first, *_) = client.get("/explain").json()["variants"]
            assert (first["state"], first["desired_replicas"]) == ("refused", None)
            assert "unknown" in client.get("/explain?format=text").text
            assert client.post("/explain").status_code == 405
    finally:
        api.clock.advance(-1000)


def test_before_the_first_publication():
    with ApiHarness() as api, api.proxied(HPA) as client:
        response = client.get("/explain")
        assert response.status_code == 503
        assert "no decision has been published yet" in response.json()["message"]


def test_what_was_never_read_says_so():
    with ApiHarness() as api, api.proxied(HPA) as client:
        api.publish(publication_of({"lab/a": 3}, age_s=float("inf")))
        (one,) = client.get("/explain").json()["variants"]
        assert (one["age_s"], one["state"]) == (None, "refused")
        assert "never" in client.get("/explain?format=text").text
