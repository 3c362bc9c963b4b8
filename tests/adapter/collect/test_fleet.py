"""Lists of replicas, from the settings and from http_sd."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect.fleet import Fleet, build_fleet, parse_groups
from adapter.config import parse_settings
from adapter.records import ReplicaState


def settings_of(*variants: str):
    listed = "\n".join(f"  - {{model: m, accelerator: H100, {one}}}" for one in variants)
    return parse_settings(f"models: {{m: {{}}}}\nvariants:\n{listed}\n")


def groups_of(*groups: dict):
    return parse_groups(json.dumps(groups).encode())


def fleet_of(settings, *groups: dict) -> Fleet:
    return build_fleet(settings, shared=groups_of(*groups) if groups else None, own={})


def entry(targets: list[str], **labels: str) -> dict:
    return {"targets": targets, "labels": labels}


def test_endpoints_are_replicas_whose_state_nobody_says() -> None:
    fleet = fleet_of(settings_of("name: a, endpoints: ['http://h:1', 'http://h:2']"))
    assert [(r.name, r.urls, r.state) for r in fleet.replicas] == [
        ("http://h:1", ("http://h:1",), None),
        ("http://h:2", ("http://h:2",), None),
    ]
    assert fleet.current.tolist() == [2]
    assert fleet.ready.tolist() == [-1]


def test_a_list_gives_replicas_states_and_counts() -> None:
    fleet = fleet_of(
        settings_of("name: a", "name: b"),
        entry(["10.0.0.1:8000"], variant="a", namespace="default", replica="a-0", state="ready"),
        entry(["10.0.0.2:8000"], variant="a", replica="a-1", state="starting"),
        entry([], variant="a", replica="a-2", state="starting"),
        entry(["10.0.0.3:8000"], variant="a", replica="a-3", state="draining"),
        entry(["10.0.0.4:8000"], variant="b"),
        entry(["10.0.0.5:8000"], variant="unknown"),
        entry(["10.0.0.6:8000"], variant="a", namespace="elsewhere"),
    )
    assert [(r.name, r.variant, r.state) for r in fleet.replicas] == [
        ("default/a-0", 0, ReplicaState.READY),
        ("default/a-1", 0, ReplicaState.STARTING),
        ("default/a-2", 0, ReplicaState.STARTING),
        ("default/a-3", 0, ReplicaState.DRAINING),
        ("default/10.0.0.4:8000", 1, ReplicaState.READY),
    ]
    assert fleet.replicas[2].urls == ()
    # A draining replica is no longer counted by its scale target.
    assert fleet.current.tolist() == [3, 1]
    assert fleet.ready.tolist() == [1, 1]


def test_ranks_of_one_replica_are_its_addresses() -> None:
    fleet = fleet_of(
        settings_of("name: a"),
        entry(["10.0.0.1:8000", "10.0.0.1:8001"], variant="a", replica="a-0"),
        entry(["10.0.0.1:8002"], variant="a", replica="a-0"),
    )
    assert [r.urls for r in fleet.replicas] == [
        ("http://10.0.0.1:8000", "http://10.0.0.1:8001", "http://10.0.0.1:8002")
    ]
    assert fleet.current.tolist() == [1]


def test_scheme_and_path_are_taken_from_the_labels() -> None:
    fleet = fleet_of(
        settings_of("name: a"),
        entry(["h:1"], variant="a", __scheme__="https", __metrics_path__="/prometheus/metrics"),
    )
    assert fleet.replicas[0].urls == ("https://h:1/prometheus/metrics",)


def test_no_list_yet_is_not_an_empty_list() -> None:
    settings = settings_of("name: a")
    assert fleet_of(settings).current.tolist() == [-1]
    empty = build_fleet(settings, shared=(), own={})
    assert empty.current.tolist() == [0]
    assert empty.ready.tolist() == [0]


def test_a_variants_own_list_needs_no_labels() -> None:
    settings = settings_of("name: a, discovery: 'http://sd/a'", "name: b, discovery: 'http://sd/b'")
    own = {
        "http://sd/a": groups_of(entry(["h:1"]), entry(["h:2"], variant="b")),
        "http://sd/b": None,
    }
    fleet = build_fleet(settings, shared=None, own=own)
    assert [(r.name, r.variant) for r in fleet.replicas] == [("default/h:1", 0)]
    assert fleet.current.tolist() == [1, -1]


def test_two_variants_with_one_endpoint_have_two_replicas() -> None:
    fleet = fleet_of(
        settings_of("name: a, endpoints: ['http://h:1']", "name: b, endpoints: ['http://h:1']")
    )
    assert [r.name for r in fleet.replicas] == ["http://h:1", "default/b/http://h:1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"<html>", "no JSON", id="html"),
        pytest.param(b"{}", "expected a JSON list", id="mapping"),
        pytest.param(b"[1]", "group 0", id="number"),
        pytest.param(b'[{"targets": "h:1"}]', "group 0", id="targets-no-list"),
        pytest.param(b'[{"targets": [1]}]', "group 0", id="target-no-string"),
        pytest.param(b'[{"targets": [], "labels": {"a": 1}}]', "group 0", id="label-no-string"),
        pytest.param(b'[{"targets": [], "labels": {"state": "well"}}]', "state 'well'", id="state"),
        pytest.param(b'[{"targets": [], "labels": {"__scheme__": "ftp"}}]', "ftp", id="scheme"),
        pytest.param(b"[" * 100_000, "JSON|nested", id="deep"),
        pytest.param(b"\xff\xfe", "no JSON", id="bytes"),
    ],
)
def test_what_is_no_list_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_groups(body)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["targets", "labels", "state", "variant"]), inner, max_size=3)))  # fmt: skip
def test_any_json_is_a_list_or_refused(content: object) -> None:
    try:
        groups = parse_groups(json.dumps(content).encode())
    except ValueError:
        return
    build_fleet(settings_of("name: a"), shared=groups, own={})
