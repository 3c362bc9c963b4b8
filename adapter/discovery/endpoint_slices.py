"""Endpoints of a Service as replicas: for pods that nothing else ties to their scale target. Pure.

discovery.k8s.io/v1 EndpointSlice. An endpoint that is going away is left out, as is one
without an address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..kube.fields import count_at, items_at, mapping_at, text_at, texts_at
from .engine_ports import METRICS_NAMES
from .pods import Owner, Pod, Stuck

__all__ = ["SERVICE_ANNOTATION", "Endpoint", "pods_of", "reduce_slice"]

SERVICE_ANNOTATION = "wva.llm-d.ai/service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What is kept of an endpoint."""

    namespace: str
    pod: str  # "" where it is none
    address: str
    url: str
    ready: bool
    node: str


def reduce_slice(document: Mapping[str, Any]) -> tuple[Endpoint, ...] | None:
    """Return what is kept of an EndpointSlice, None where there is nothing in it."""
    namespace = text_at(document, "metadata", "namespace")
    scheme, port = _port(document)
    found = []
    for each in items_at(document, "endpoints"):
        told, addresses = mapping_at(each, "conditions"), texts_at(each, "addresses")
        if not addresses or told.get("terminating") is True:
            continue
        target = mapping_at(each, "targetRef")
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        found.append(
            Endpoint(
                namespace=text_at(target, "namespace") or namespace,
                pod=text_at(target, "name") if target.get("kind") == "Pod" else "",
                address=addresses[0],
                url=f"{scheme}://{host}:{port}/metrics" if port is not None else "",
                # Absent is to be read as ready.
                ready=told.get("ready") is not False,
                node=text_at(each, "nodeName"),
            )
        )
    return tuple(found) or None


def _port(document: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return scheme and port: of the port for metrics, else of the one for HTTP, else the first."""
    ports = [port for port in items_at(document, "ports") if count_at(port, "port") is not None]
    for name in (*METRICS_NAMES, "http", ""):
        for port in ports:
            if not name or text_at(port, "name") == name:
                secure = text_at(port, "appProtocol").lower() == "https"
                return ("https" if secure else "http"), count_at(port, "port")
    return "http", None


def pods_of(
    endpoints: Iterable[Endpoint], owner: Owner, known: Mapping[tuple[str, str], Pod]
) -> tuple[Pod, ...]:
    """Return the replicas behind a Service; of a pod that is known more is said.

    Parameters
    ----------
    owner : Owner
        The scale target that they belong to.
    known : mapping
        Pods by namespace and name.
    """
    found: dict[str, Pod] = {}
    for each in endpoints:
        pod = known.get((each.namespace, each.pod)) if each.pod else None
        if pod is not None:
            found[pod.name] = replace(pod, owner=owner, ready=pod.ready and each.ready)
            continue
        name = each.pod or each.address
        found[name] = Pod(
            namespace=each.namespace,
            name=name,
            owner=owner,
            group=name,
            leader=True,
            node=each.node,
            ready=each.ready,
            leaving=False,
            stuck=Stuck.NOT,
            url=each.url,
            took_s=None,
            accelerators=("", 0),
            template="",
        )
    return tuple(found.values())
