import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import BadRequestError, NoMatchError
from adapter.external_metrics.request import API_PREFIX, parse_request
from adapter.kube.identity import AccessQuery

GROUP = {"group": "external.metrics.k8s.io", "version": "v1beta1"}


def access(method: str, path: str, query: bytes = b"") -> AccessQuery | None:
    return parse_request(method, path.encode(), query).access


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        pytest.param(
            "GET",
            "/namespaces/lab/m1",
            b"",
            {"verb": "list", "namespace": "lab", "resource": "m1"},
            id="read",
        ),
        pytest.param(
            "HEAD",
            "/namespaces/lab/m1",
            b"",
            {"verb": "list", "namespace": "lab", "resource": "m1"},
            id="head",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/M1",
            b"",
            {"verb": "list", "namespace": "lab", "resource": "m1"},
            id="lower-case-for-rbac",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/m1/foo",
            b"",
            {"verb": "get", "namespace": "lab", "resource": "m1", "name": "foo"},
            id="named",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/m1/foo/scale",
            b"",
            {
                "verb": "get",
                "namespace": "lab",
                "resource": "m1",
                "name": "foo",
                "subresource": "scale",
            },
            id="subresource",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/m1",
            b"watch=true",
            {"verb": "watch", "namespace": "lab", "resource": "m1"},
            id="watch",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/m1",
            b"watch",
            {"verb": "watch", "namespace": "lab", "resource": "m1"},
            id="watch-without-a-value",
        ),
        pytest.param(
            "GET",
            "/namespaces/lab/m1",
            b"watch=0",
            {"verb": "list", "namespace": "lab", "resource": "m1"},
            id="no-watch",
        ),
        pytest.param(
            "POST",
            "/namespaces/lab/m1",
            b"",
            {"verb": "create", "namespace": "lab", "resource": "m1"},
            id="post",
        ),
        pytest.param(
            "PUT",
            "/namespaces/lab/m1/x",
            b"",
            {"verb": "update", "namespace": "lab", "resource": "m1", "name": "x"},
            id="put",
        ),
        pytest.param(
            "PATCH",
            "/namespaces/lab/m1/x",
            b"",
            {"verb": "patch", "namespace": "lab", "resource": "m1", "name": "x"},
            id="patch",
        ),
        pytest.param(
            "DELETE",
            "/namespaces/lab/m1/x",
            b"",
            {"verb": "delete", "namespace": "lab", "resource": "m1", "name": "x"},
            id="delete",
        ),
        pytest.param(
            "DELETE",
            "/namespaces/lab/m1",
            b"",
            {"verb": "deletecollection", "namespace": "lab", "resource": "m1"},
            id="delete-all",
        ),
        pytest.param("GET", "/m1", b"", {"verb": "list", "resource": "m1"}, id="cluster-scope"),
    ],
)
def test_resources(method, path, query, expected):
    assert access(method, API_PREFIX + path, query) == AccessQuery(**GROUP, **expected)


@pytest.mark.parametrize(
    ("method", "path", "verb", "normal"),
    [
        pytest.param("GET", "/apis", "get", "/apis", id="groups"),
        pytest.param("GET", "/apis/", "get", "/apis", id="slash-at-the-end"),
        pytest.param("GET", API_PREFIX, "get", API_PREFIX, id="group-version"),
        pytest.param("GET", f"{API_PREFIX}/", "get", API_PREFIX, id="group-version-slash"),
        pytest.param("POST", "/openapi/v2", "post", "/openapi/v2", id="post"),
        pytest.param("GET", "/", "get", "/", id="root"),
        pytest.param("GET", "/%61pis", "get", "/apis", id="decoded-once"),
        pytest.param("GET", "/%2561pis", "get", "/%61pis", id="not-twice"),
    ],
)
def test_other_paths(method, path, verb, normal):
    request = parse_request(method, path.encode(), b"")
    assert request.path == normal
    assert request.access == AccessQuery(verb=verb, path=normal)


def test_an_explanation_needs_the_permission_to_read_the_metric_in_its_namespace():
    request = parse_request("GET", b"/explain/lab/a", b"format=text")
    assert request.access == AccessQuery(
        **GROUP, verb="list", namespace="lab", resource="wva_desired_replicas"
    )
    assert (request.namespace, request.resource) == ("lab", "a")
    assert parse_request("GET", b"/explain", b"").access is None


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param(
            "datadogmetric@ns:a%7Cb%20c", "datadogmetric@ns:a|b c", id="special-characters"
        ),
        pytest.param("m%C3%A4", "mä", id="utf-8"),
        pytest.param("m+1", "m+1", id="plus-is-a-plus-in-a-path"),
    ],
)
def test_metric_names_are_decoded_once(raw, name):
    assert parse_request("GET", f"{API_PREFIX}/namespaces/lab/{raw}".encode(), b"").resource == name


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{API_PREFIX}/namespaces/lab/a%2Fb", id="encoded-slash"),
        pytest.param(f"{API_PREFIX}/namespaces//m1", id="empty-namespace"),
        pytest.param("/explain//a", id="empty-part"),
        pytest.param("/explain%2Flab/a", id="disguised-path"),
        pytest.param("/healthz%2F..%2Fapis", id="disguised-health"),
    ],
)
def test_paths_that_read_back_as_others_name_nothing(path):
    with pytest.raises(NoMatchError, match="could not find the requested resource"):
        parse_request("GET", path.encode(), b"")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        pytest.param(b"/a%FF", b"", id="path-not-utf-8"),
        pytest.param(b"/apis", b"labelSelector=%FF", id="query-not-utf-8"),
        pytest.param(b"/apis", b"a=\xff", id="query-not-ascii"),
        pytest.param(b"/apis", b"&".join([b"a=1"] * 100), id="too-many-fields"),
    ],
)
def test_what_is_not_text_is_a_bad_request(path, query):
    with pytest.raises(BadRequestError):
        parse_request("GET", path, query)


def test_of_a_repeated_field_the_first_counts_and_plus_is_a_blank():
    request = parse_request("GET", b"/apis", b"labelSelector=a+in+%28b%29&labelSelector=c")
    assert request.parameters["labelSelector"] == "a in (b)"


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_any_bytes_are_a_request_or_an_error_of_ours(path, query):
    try:
        request = parse_request("GET", b"/" + path, query)
    except (BadRequestError, NoMatchError):
        return
    assert request.access is not None or request.segments[0] == "explain"
    assert request.path == "/" or not request.path.endswith("/")
