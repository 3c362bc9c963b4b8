"""A trigger's metadata: what it means, and which key is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import BadRequestError, ForbiddenError
from adapter.keda.metadata import KEYS, ScalerRef, check_namespace, parse_scaler_ref


def ref(**changes) -> ScalerRef:
    fields = {
        "owner": "so",
        "owner_namespace": "team-a",
        "variant": "so",
        "namespace": "team-a",
        "metric": "wva_desired_replicas",
    }
    return ScalerRef(**{**fields, **changes})


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({}, ref(), id="all-defaults"),
        pytest.param({"variantName": "llama"}, ref(variant="llama"), id="variant"),
        pytest.param({"namespace": "team-b"}, ref(namespace="team-b"), id="other-namespace"),
        pytest.param(
            {"metricName": "WVA_Utilization"}, ref(metric="wva_utilization"), id="metric-any-case"
        ),
        pytest.param(
            {
                "scalerAddress": "wva.wva-system.svc:6000",
                "enableTLS": "true",
                "unsafeSsl": "false",
                "tlsCertFile": "/old",
                "passwordFromEnv": "PASSWORD",
                "variantName": "llama",
            },
            ref(variant="llama"),
            id="kedas-own-keys-are-ignored",
        ),
    ],
)
def test_good_metadata(metadata, expected):
    assert parse_scaler_ref("so", "team-a", metadata) == expected


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        pytest.param({"variantname": "x"}, "'variantname'", id="misspelt-key"),
        pytest.param({"threshold": "1"}, "'threshold'", id="key-of-another-scaler"),
        pytest.param({"variantName": ""}, "variantName is empty", id="empty-variant"),
        pytest.param({"namespace": ""}, "namespace is empty", id="empty-namespace"),
        pytest.param({"metricName": ""}, "metricName is empty", id="empty-metric"),
        pytest.param({"variantName": "x" * 254}, "variantName has 254", id="too-long"),
        pytest.param({"variantName": "a b"}, "variantName: 'a b'", id="blank-inside"),
        pytest.param({"namespace": "a\nb"}, "namespace: 'a\\nb'", id="line-break"),
    ],
)
def test_bad_metadata_names_the_key(metadata, named):
    with pytest.raises(BadRequestError) as caught:
        parse_scaler_ref("so", "team-a", metadata)
    assert named in str(caught.value)


def test_unknown_key_tells_the_known_ones():
    with pytest.raises(BadRequestError, match=", ".join(KEYS)):
        parse_scaler_ref("so", "team-a", {"variant": "x"})


def test_scaled_object_without_a_namespace_is_refused():
    with pytest.raises(BadRequestError, match="ScaledObject's namespace is empty"):
        parse_scaler_ref("so", "", {})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=4))
def test_any_metadata_gives_a_reference_or_our_error_of_bounded_length(metadata):
    try:
        told = ""
        got = parse_scaler_ref("so", "team-a", metadata)
    except BadRequestError as exc:
        told = str(exc)
    if told:
        assert len(told) < 500
    else:
        assert got.variant == metadata.get("variantName", "so")
        assert got.namespace == metadata.get("namespace", "team-a")


@pytest.mark.parametrize(
    ("asked", "listed", "allowed"),
    [
        pytest.param("team-a", (), True, id="own"),
        pytest.param("team-b", (), False, id="other"),
        pytest.param("team-b", ("team-b",), True, id="listed"),
        pytest.param("team-b", ("team-c",), False, id="another-is-listed"),
        pytest.param("team-b", ("*",), True, id="all-are-listed"),
    ],
)
def test_namespaces(asked, listed, allowed):
    one = ref(namespace=asked)
    if allowed:
        check_namespace(one, listed)
        return
    with pytest.raises(ForbiddenError, match=r"'team-a' may not ask .*'team-b'.*keda.namespaces"):
        check_namespace(one, listed)
