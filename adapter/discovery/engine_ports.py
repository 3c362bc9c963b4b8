"""Where a pod's engine can be read: scheme, port and path. Pure.

Only ports of the pod itself, at its own address: what a pod says of itself can't lead the
adapter anywhere else.
"""

from collections.abc import Mapping
from typing import Any

from ..kube.fields import count_at, items_at, mapping_at, text_at, texts_at

__all__ = ["METRICS_NAMES", "PORT_ANNOTATION", "engine_container", "metrics_url"]

PORT_ANNOTATION = "wva.llm-d.ai/metrics-port"
METRICS_NAMES = ("metrics", "http-metrics")
_ENGINES = ("vllm", "sglang")
_DEFAULT_PORTS = {"sglang": 30000}
_DEFAULT_PORT = 8000


def metrics_url(pod: Mapping[str, Any], address: str) -> str:
    """Return the URL of a pod's engine metrics.

    The port is, in this order: the annotation `wva.llm-d.ai/metrics-port` (a number or the
    name of a port) or `prometheus.io/port`; a container port called `metrics` or
    `http-metrics`; the engine's `--port`; its port called `http`, else its first; the
    engine's own default.
    """
    notes = mapping_at(pod, "metadata", "annotations")
    path = text_at(notes, "prometheus.io/path") or "/metrics"
    scheme = "https" if text_at(notes, "prometheus.io/scheme").lower() == "https" else "http"
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{_port(pod, notes)}/{path.lstrip('/')}"


def engine_container(containers: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the container that runs the engine: with accelerators, else one that is called so."""
    for container in containers:
        if any("/" in name for name in mapping_at(container, "resources", "limits")):
            return container
    for container in containers:
        if _engine_of(container):
            return container
    return containers[0] if containers else {}


def _port(pod: Mapping[str, Any], notes: Mapping[str, Any]) -> int:
    containers = list(items_at(pod, "spec", "containers"))
    named = {
        text_at(port, "name"): number
        for container in containers
        for port in items_at(container, "ports")
        if (number := count_at(port, "containerPort")) is not None
    }
    for key in (PORT_ANNOTATION, "prometheus.io/port"):
        if (number := _number(text_at(notes, key), named)) is not None:
            return number
    for name in METRICS_NAMES:
        if name in named:
            return named[name]
    return _engine_port(engine_container(containers), named)


def _engine_port(engine: Mapping[str, Any], named: Mapping[str, int]) -> int:
    words = [*texts_at(engine, "command"), *texts_at(engine, "args")]
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--port":
            number = _number(value if equals else "".join(words[at + 1 : at + 2]), named)
            if number is not None:
                return number
    own = list(items_at(engine, "ports"))
    chosen = [port for port in own if text_at(port, "name") == "http"] or own
    number = count_at(chosen[0], "containerPort") if chosen else None
    return number or _DEFAULT_PORTS.get(_engine_of(engine), _DEFAULT_PORT)


def _number(text: str, named: Mapping[str, int]) -> int | None:
    if text in named:
        return named[text]
    return int(text) if text.isdecimal() and 0 < int(text) < 65536 else None


def _engine_of(container: Mapping[str, Any]) -> str:
    words = (text_at(container, "image"), *texts_at(container, "command"))
    told = " ".join(words).lower()
    return next((engine for engine in _ENGINES if engine in told), "")
