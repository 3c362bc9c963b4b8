import pytest
import yaml

from adapter.commands.audit.own_hpa import Trigger, parse_own_hpas
from adapter.errors import ConfigError
from simulator.hpa_spec import Policy

from .past import HPA


def hpa(metric, **spec):
    return yaml.safe_dump(
        {
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {
                "scaleTargetRef": {"name": "chat"},
                "maxReplicas": 5,
                "metrics": [metric],
                **spec,
            },
        }
    )


def pods(name, **target):
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def scaled_object(**trigger):
    spec = {"scaleTargetRef": {"name": "chat"}, "minReplicaCount": 0, "triggers": [trigger]}
    return yaml.safe_dump({"kind": "ScaledObject", "metadata": {"name": "s"}, "spec": spec})


def test_an_hpa_is_read_with_its_bounds_metrics_and_behavior():
    (found,) = parse_own_hpas(HPA.read_text(), origin="hpa.yaml")
    assert found.target == "llama-8b"
    assert (found.spec.min_replicas, found.spec.max_replicas) == (1, 8)
    assert found.triggers == (
        Trigger(signal="kv", target=0.1),
        Trigger(signal="waiting", target=8.0),
    )
    assert found.spec.behavior.scale_down.stabilization_s == 300.0
    assert found.spec.behavior.scale_up.policies == (
        Policy("Pods", 4, 15.0),
        Policy("Percent", 100, 15.0),
    )


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        pytest.param(
            hpa(pods("vllm_num_requests_running", type="AverageValue", averageValue="40")),
            Trigger(signal="running", target=40.0),
            id="running",
        ),
        pytest.param(
            hpa(pods("DCGM_FI_DEV_GPU_UTIL", type="AverageValue", averageValue="80")),
            Trigger(signal="gpu", target=0.8),
            id="percent becomes a ratio",
        ),
        pytest.param(
            hpa(
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": "vllm:num_requests_waiting"},
                        "target": {"type": "Value", "value": "10"},
                    },
                }
            ),
            Trigger(signal="waiting", target=10.0, per_replica=False),
            id="value",
        ),
        pytest.param(
            scaled_object(
                type="prometheus",
                metadata={"query": "sum(vllm:num_requests_waiting)", "threshold": "5"},
            ),
            Trigger(signal="waiting", target=5.0),
            id="keda",
        ),
    ],
)
def test_metrics_are_known_by_their_names(text, trigger):
    (found,) = parse_own_hpas(text, origin="x")
    assert found.triggers == (trigger,)


def test_a_list_holds_several():
    one = yaml.safe_load(hpa(pods("num_requests_waiting", averageValue="1")))
    text = yaml.safe_dump({"kind": "List", "items": [one, {"kind": "Service"}, one]})
    assert len(parse_own_hpas(text, origin="x")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("kind: Deployment\n", "no HorizontalPodAutoscaler", id="nothing"),
        pytest.param("a: [", "is not YAML", id="not yaml"),
        pytest.param(hpa(pods("queue_of_mine", averageValue="1")), "can't be simulated", id="name"),
        pytest.param(
            hpa(pods("num_requests_waiting", averageValue="0")), "must be above 0", id="target"
        ),
        pytest.param(
            hpa(
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
            ),
            "cpu utilization",
            id="cpu",
        ),
        pytest.param(scaled_object(type="kafka"), "only prometheus triggers", id="kafka"),
        pytest.param(
            hpa(pods("num_requests_waiting", averageValue="1"), minReplicas=9),
            "must be 0 <= min <= max",
            id="bounds",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_own_hpas(text, origin="mine.yaml")
