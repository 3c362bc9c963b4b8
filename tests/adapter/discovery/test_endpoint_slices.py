"""Endpoints of a Service as replicas, and what a known pod adds to them."""

from typing import Any

import pytest

from adapter.discovery.endpoint_slices import pods_of, reduce_slice
from adapter.discovery.pods import reduce_pod
from tests.helpers.kube_objects import pod

OWNER = ("InferencePool", "chat")


def endpoint(address: str = "10.0.0.1", *, pod: str = "chat-a", **conditions: Any) -> dict:
    target = {"targetRef": {"kind": "Pod", "namespace": "default", "name": pod}} if pod else {}
    return {"addresses": [address], "conditions": conditions, "nodeName": "node-1", **target}


def slice_of(*endpoints: dict, ports: Any = ({"name": "http", "port": 8000},)) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": "chat-x1"},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


def replicas(document: dict[str, Any], *known: dict[str, Any]) -> list[Any]:
    pods = {(each.namespace, each.name): each for each in map(reduce_pod, known) if each}
    return list(pods_of(reduce_slice(document) or (), OWNER, pods))


def test_an_endpoint_is_a_replica_of_the_target():
    (found,) = replicas(slice_of(endpoint(ready=True)))
    assert (found.owner, found.name, found.node) == (OWNER, "chat-a", "node-1")
    assert (found.ready, found.url) == (True, "http://10.0.0.1:8000/metrics")


@pytest.mark.parametrize(
    ("one", "ready"),
    [
        pytest.param(endpoint(), [True], id="absent is ready"),
        pytest.param(endpoint(ready=False), [False], id="not ready"),
        pytest.param(endpoint(ready=True, terminating=True), [], id="going away"),
        pytest.param({"addresses": [], "conditions": {}}, [], id="no address"),
    ],
)
def test_what_is_ready_and_stays_counts(one, ready):
    assert [each.ready for each in replicas(slice_of(one))] == ready


@pytest.mark.parametrize(
    ("ports", "url"),
    [
        pytest.param(
            [{"name": "grpc", "port": 9000}, {"name": "metrics", "port": 9100}],
            "http://10.0.0.1:9100/metrics",
            id="metrics",
        ),
        pytest.param(
            [{"name": "a", "port": 1}, {"name": "http", "port": 2}],
            "http://10.0.0.1:2/metrics",
            id="http",
        ),
        pytest.param(
            [{"port": 443, "appProtocol": "https"}], "https://10.0.0.1:443/metrics", id="https"
        ),
        pytest.param([], "", id="a headless Service without ports"),
    ],
)
def test_the_port_is_that_for_metrics_first(ports, url):
    (found,) = replicas(slice_of(endpoint(), ports=ports))
    assert found.url == url


def test_an_address_of_six_is_in_brackets():
    (found,) = replicas(slice_of(endpoint("fd00::1")))
    assert found.url == "http://[fd00::1]:8000/metrics"


def test_of_a_known_pod_its_own_annotations_and_state_count():
    known = pod("chat-a", ready=False, notes={"wva.llm-d.ai/metrics-port": "9000"})
    (found,) = replicas(slice_of(endpoint(ready=True)), known)
    assert (found.url, found.ready) == ("http://10.0.0.1:9000/metrics", False)
    assert (found.owner, found.accelerators) == (OWNER, ("nvidia.com/gpu", 1))


def test_an_endpoint_that_is_no_pod_is_called_by_its_address():
    (found,) = replicas(slice_of(endpoint(pod="")))
    assert found.name == "10.0.0.1"


def test_a_pod_in_two_slices_is_one_replica():
    assert len(replicas(slice_of(endpoint(), endpoint("fd00::1")))) == 1


@pytest.mark.parametrize("document", [{}, slice_of()], ids=["empty", "no endpoints"])
def test_a_slice_without_endpoints_is_nothing(document):
    assert reduce_slice(document) is None
