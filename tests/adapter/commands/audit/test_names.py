import pytest

from adapter.commands.audit.names import ReplicaName, VariantName, replica_name


@pytest.mark.parametrize(
    ("labels", "label", "workload", "replica"),
    [
        pytest.param({"pod": "chat-7c9d8f6b5d-x2x4z"}, None, "chat", None, id="deployment"),
        pytest.param({"pod": "chat-12"}, None, "chat", None, id="stateful set"),
        pytest.param({"pod": "chat-0-3"}, None, "chat", None, id="leader-worker set"),
        pytest.param({"pod": "chat-b7kzx"}, None, "chat", None, id="replica set"),
        pytest.param({"pod": "chat"}, None, "chat", None, id="bare pod"),
        pytest.param({"pod": "llama-8b-prefill"}, None, "llama-8b-prefill", None, id="words stay"),
        pytest.param({"job": "vllm", "instance": "a:8000"}, None, "vllm", "a:8000", id="no pods"),
        pytest.param({"instance": "a:8000"}, None, "engines", "a:8000", id="address only"),
        pytest.param({"pod": "x-1", "app": "chat"}, "app", "chat", None, id="a label of one's own"),
        pytest.param({"pod": "x-1", "job": "j"}, "app", "j", None, id="which isn't there"),
    ],
)
def test_a_workload_is_known_by_its_labels(labels, label, workload, replica):
    found = replica_name(
        {**labels, "model_name": "m"}, model_labels=["model_name"], variant_label=label
    )
    own = replica if replica is not None else labels["pod"]
    assert found == ReplicaName(VariantName("default", workload, "m"), own)


def test_engines_that_name_no_model_serve_one_named_as_they_are():
    found = replica_name(
        {"pod": "tgi-0", "namespace": "x"}, model_labels=["model_name"], variant_label=None
    )
    assert found.variant == VariantName("x", "tgi", "tgi")
