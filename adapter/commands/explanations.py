"""Explanations from a running adapter: through the API server, or from its own port.

Through the API server no address, certificate or token of the adapter's is needed: it passes
the caller's identity on, and the cluster's RBAC on external.metrics.k8s.io says what they see.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from adapter.errors import AdapterError, KubeApiError, KubeError

if TYPE_CHECKING:
    from adapter.kube.transport import KubeTransport

__all__ = ["AnswerError", "Asked", "directly", "through_api_server"]

TIMEOUT_S = 10.0
GROUP = "/apis/external.metrics.k8s.io/v1beta1"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
SERVICE = "wva"
NOT_FOUND, FORBIDDEN = 404, 403


class AnswerError(AdapterError):
    """The adapter can't be reached, or answered with an error."""


class Asked(NamedTuple):
    """What is to be explained: a variant, a namespace's ("team-a/"), or all that may be seen."""

    namespace: str | None  # None: the context's, or all
    variant: str

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return what an argument asks for.

        >>> Asked.parse("team-a/llama"), Asked.parse("team-a/"), Asked.parse("llama")
        (Asked(namespace='team-a', variant='llama'), Asked(namespace='team-a', variant=''), \
Asked(namespace=None, variant='llama'))
        """
        namespace, slash, variant = (text or "").rpartition("/")
        return cls(namespace if slash else None, variant)

    def under(self, base: str, collection: str, default_namespace: str) -> str:
        """Return the path of it."""
        namespace = self.namespace or (default_namespace if self.variant else "")
        if not namespace:
            return f"{base}/{collection}"
        place = f"{base}/namespaces/{quote(namespace)}/{collection}"
        return f"{place}/{quote(self.variant)}" if self.variant else place


async def through_api_server(
    transport: "KubeTransport", asked: Asked, *, namespace: str
) -> Mapping[str, Any]:
    """Return the explanation that the adapter behind the API group gives.

    `namespace` is where a variant is looked for that is named without one.

    Raises
    ------
    AnswerError
        If it doesn't; the message says what to do.
    """
    path = asked.under(GROUP, "explanations", namespace)
    try:
        return (await transport.call("GET", path, query={"format": "json"})).document
    except KubeError as exc:
        raise AnswerError(await _remedied(transport, exc)) from exc


async def _remedied(transport: "KubeTransport", exc: KubeError) -> str:
    """Return what the API server said, and what helps."""
    words = " ".join(str(exc).split())
    status = exc.status if isinstance(exc, KubeApiError) else 0
    if status == FORBIDDEN:
        return f"{words}; manifests/examples/cluster-role-view.yaml allows it to whoever may view"
    owner = await _owner(transport)
    if owner is None or owner.get("name") == SERVICE:
        # It is ours, or can't be told. A variant that isn't there is named by its answer.
        return words if status else f"{words}; wva doctor says what keeps it from answering"
    if not owner:
        return (
            "no adapter has external.metrics.k8s.io here: make install, or give --url for one that "
            "only KEDA asks"
        )
    return (
        f"external.metrics.k8s.io leads to {owner.get('namespace')}/{owner.get('name')}, which "
        "explains nothing; ask the adapter itself: kubectl -n wva-system port-forward "
        "service/wva 8443:443, then wva explain --url https://127.0.0.1:8443 --token-file TOKEN "
        "--ca-file CA"
    )


async def _owner(transport: "KubeTransport") -> Mapping[str, Any] | None:
    """Return the Service that the API group leads to; empty: there is none, None: not known."""
    try:
        found = (await transport.call("GET", API_SERVICE)).document
    except KubeApiError as exc:
        return {} if exc.status == NOT_FOUND else None
    except KubeError:
        return None
    return found.get("spec", {}).get("service") or {}


def directly(
    url: str, asked: Asked, *, ca_file: Path | None, token_file: Path | None
) -> Mapping[str, Any]:
    """Return the explanation that the adapter at `url` gives.

    Raises
    ------
    AnswerError
        If it doesn't.
    """
    place = "/".join(quote(part) for part in _parts(asked))
    full = f"{url.rstrip('/')}/explain{f'/{place}' if place else ''}"
    headers = {"accept": "application/json"}
    if token_file is not None:
        headers["authorization"] = f"Bearer {token_file.read_text().strip()}"
    try:
        context = ssl.create_default_context(cafile=ca_file)
        answer = httpx.get(full, headers=headers, verify=context, timeout=TIMEOUT_S)
    except (httpx.HTTPError, OSError) as exc:
        raise AnswerError(
            f"no answer from {full}: {exc}; a kubeconfig (KUBECONFIG) leads to a cluster's "
            "adapter, --url and --ca-file to any other"
        ) from exc
    if answer.is_error:
        raise AnswerError(f"{full} answered {answer.status_code}: {_message(answer)}")
    document: Mapping[str, Any] = answer.json()
    return document


def _parts(asked: Asked) -> tuple[str, ...]:
    if asked.variant:
        return (asked.namespace or "default", asked.variant)
    return (asked.namespace,) if asked.namespace else ()


def _message(answer: httpx.Response) -> str:
    """Return the message of a Kubernetes Status, else the body as it came."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:500]
