"""The contract's names and numbers, and that the committed code is what the text says."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from adapter.keda._generated import externalscaler_pb2 as pb
from adapter.keda._generated import externalscaler_pb2_grpc as stubs

ROOT = Path(__file__).resolve().parents[3]

METHODS = {
    "IsActive": ("ScaledObjectRef", "IsActiveResponse", False),
    "StreamIsActive": ("ScaledObjectRef", "IsActiveResponse", True),
    "GetMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", False),
    "GetMetrics": ("GetMetricsRequest", "GetMetricsResponse", False),
    "StreamMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", True),
}
MESSAGES = {
    "ScaledObjectRef": {
        "name": (1, "string"),
        "namespace": (2, "string"),
        "scalerMetadata": (3, "map"),
    },
    "IsActiveResponse": {"result": (1, "bool")},
    "GetMetricSpecResponse": {"metricSpecs": (1, "MetricSpec[]")},
    "MetricSpec": {
        "metricName": (1, "string"),
        "targetSize": (2, "int64"),
        "targetSizeFloat": (3, "double"),
    },
    "GetMetricsRequest": {"scaledObjectRef": (1, "ScaledObjectRef"), "metricName": (2, "string")},
    "GetMetricsResponse": {"metricValues": (1, "MetricValue[]")},
    "MetricValue": {
        "metricName": (1, "string"),
        "metricValue": (2, "int64"),
        "metricValueFloat": (3, "double"),
    },
}


def kind(field) -> str:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return "map"
        return field.message_type.name + ("[]" if field.is_repeated else "")
    names = {field.TYPE_STRING: "string", field.TYPE_BOOL: "bool", field.TYPE_INT64: "int64"}
    return names.get(field.type, "double" if field.type == field.TYPE_DOUBLE else "other")


def test_service_and_messages_are_kedas():
    service = pb.DESCRIPTOR.services_by_name["ExternalScaler"]
    assert service.full_name == "externalscaler.ExternalScaler"
    methods = {
        m.name: (m.input_type.name, m.output_type.name, m.server_streaming) for m in service.methods
    }
    assert methods == METHODS
    assert not any(m.client_streaming for m in service.methods)
    messages = {
        name: {field.name: (field.number, kind(field)) for field in message.fields}
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }
    assert messages == MESSAGES


def test_committed_code_is_what_the_text_compiles_to(tmp_path):
    here = importlib.metadata.version("grpcio-tools")
    if here != stubs.GRPC_GENERATED_VERSION:
        pytest.skip(f"made with grpcio-tools {stubs.GRPC_GENERATED_VERSION}, {here} is installed")
    command = [
        "--proto_path=adapter/keda/_generated=adapter/keda",
        f"--python_out={tmp_path}",
        f"--grpc_python_out={tmp_path}",
        "adapter/keda/_generated/externalscaler.proto",
    ]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", *command]
    subprocess.run(protoc, check=True, cwd=ROOT, timeout=60)
    made = Path("adapter/keda/_generated")
    for name in ("externalscaler_pb2.py", "externalscaler_pb2_grpc.py"):
        assert (tmp_path / made / name).read_text() == (ROOT / made / name).read_text()
