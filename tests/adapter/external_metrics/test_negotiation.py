import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import NotAcceptableError
from adapter.external_metrics.discovery import AGGREGATED_FORMS
from adapter.external_metrics.negotiation import Offer, negotiate, wants_gzip
from adapter.external_metrics.wire import LIST_FORMS

LIST, TABLE, TABLE_BETA = LIST_FORMS
LEGACY, V2, V2_BETA = AGGREGATED_FORMS
KUBECTL_TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,"
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
AGGREGATOR = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", LIST, id="nothing-asked"),
        pytest.param("application/vnd.kubernetes.protobuf, */*", LIST, id="hpa"),
        pytest.param("application/json, */*", LIST, id="kubectl-raw"),
        pytest.param(KUBECTL_TABLE, TABLE, id="kubectl-get"),
        pytest.param(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io", TABLE_BETA, id="old-table"
        ),
        pytest.param("application/json;charset=utf-8", LIST, id="other-parameters-ignored"),
        pytest.param("application/*", LIST, id="half-wildcard"),
        pytest.param("APPLICATION/JSON", LIST, id="any-case"),
        pytest.param(
            "application/json;as=Table;v=v9;g=meta.k8s.io,*/*;q=0.1", LIST, id="falls-back"
        ),
        pytest.param(
            "application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9",
            TABLE,
            id="quality-decides",
        ),
        pytest.param("application/json;q=nonsense", LIST, id="bad-quality-is-one"),
    ],
)
def test_lists(accept, form):
    assert negotiate(accept, LIST_FORMS) == form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param(AGGREGATOR, V2, id="aggregator"),
        pytest.param(AGGREGATOR.split(",")[1], V2_BETA, id="only-beta"),
        pytest.param("application/json", LEGACY, id="plain"),
        pytest.param("*/*", LEGACY, id="anything"),
        pytest.param(f"{AGGREGATOR},application/json", V2, id="kubectl"),
    ],
)
def test_discovery(accept, form):
    assert negotiate(accept, AGGREGATED_FORMS) == form


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("application/vnd.kubernetes.protobuf", id="protobuf-alone"),
        pytest.param("application/json;q=0", id="refused-by-quality"),
        pytest.param("text/html", id="html"),
        pytest.param("json", id="no-media-type"),
        pytest.param("*/json", id="impossible-wildcard"),
        pytest.param(",".join(["text/a"] * 40) + ",application/json", id="endless-list"),
    ],
)
def test_what_there_is_not_is_not_acceptable(accept):
    with pytest.raises(NotAcceptableError, match="application/json"):
        negotiate(accept, LIST_FORMS)


def test_the_content_type_names_the_form():
    assert V2.content_type == (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0", False),
        ("identity", False),
        ("", False),
        ("gzipped", False),
    ],
)
def test_gzip(header, wanted):
    assert wants_gzip(header) is wanted


@given(st.text(max_size=60))
def test_any_header_gives_an_offer_or_not_acceptable(accept):
    with contextlib.suppress(NotAcceptableError):
        assert negotiate(accept, LIST_FORMS) in LIST_FORMS
    assert wants_gzip(accept) in {True, False}
    assert Offer("a/b").content_type == "a/b"
