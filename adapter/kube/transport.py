"""Requests to the Kubernetes API and what comes back: JSON, watches, errors that are ours.

The client library gives configuration (service account, kubeconfig, token rotation, TLS)
and connections; of its models nothing is used. It knows no resource: who calls gives the
path. It retries nothing and caches nothing.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from ..errors import ConfigError, KubeApiError, KubeUnavailableError

__all__ = ["APPLY", "JSON", "MERGE", "Answer", "KubeTransport", "connect"]

TIMEOUT_S = 10.0

JSON = "application/json"
# Content types of a PATCH: who else owns a field is told by the first, not by the second.
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object, and the headers that it came with."""

    document: Mapping[str, Any]
    headers: Mapping[str, str]


@asynccontextmanager
async def connect() -> AsyncIterator["KubeTransport"]:
    """Open connections with the pod's service account, else with the kubeconfig.

    Raises
    ------
    ConfigError
        If neither is there.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as in_cluster:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as outside:
            raise ConfigError(
                f"no Kubernetes API to talk to: {in_cluster} {outside} "
                "Run in a pod, set KUBECONFIG, or (on 127.0.0.1 only) set api.auth: none"
            ) from outside
    async with client.ApiClient(configuration) as api_client:
        api_client.user_agent = "wva-adapter"
        yield KubeTransport(api_client)


class KubeTransport:
    """Talks to the API server that `api_client` is connected to."""

    def __init__(self, api_client: Any, *, timeout_s: float = TIMEOUT_S) -> None:
        self._client = api_client
        self.timeout_s = timeout_s

    @property
    def host(self) -> str:
        """Return the API server's address, a URL."""
        return str(self._client.configuration.host)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send one request and return the answer.

        Raises
        ------
        KubeApiError
            If the API server refuses; `status` says how.
        KubeUnavailableError
            If it can't be reached, is overloaded (429, 5xx), or its answer is no JSON object.
        """
        response = await self._request(
            method,
            path,
            body=body,
            query=query,
            content_type=content_type,
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
        )
        return Answer(_parsed(await _read(response, f"{method} {path}")), response.headers)

    async def text(self, path: str) -> str:
        """Return what a path answers that is no JSON: a page that the API server proxies.

        Raises
        ------
        KubeError
            As `call`.
        """
        response = await self._request("GET", path, timeout_s=self.timeout_s, accept="text/plain")
        return (await _read(response, f"GET {path}")).decode(errors="replace")

    async def authorization(self) -> str:
        """Return the Authorization header that this process shows, "" if it shows none."""
        shown = (await self._client.configuration.auth_settings()).get("BearerToken", {})
        return str(shown.get("value") or "")

    async def watch(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        watch_s: float,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """Yield the events of a watch until the API server ends it, after `watch_s` at most.

        `opened` is called once the API server has accepted it: there may be nothing to yield
        for a long time.

        Raises
        ------
        KubeError
            As `call`; also if the watch breaks or says nothing for longer than it may last.
        """
        response = await self._request(
            "GET",
            path,
            query={**query, "watch": "true", "timeoutSeconds": str(max(1, round(watch_s)))},
            timeout_s=watch_s + self.timeout_s,
        )
        if opened is not None:
            opened()
        try:
            async for line in _lines(response):
                yield _parsed(line)
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> aiohttp.ClientResponse:
        """Send one request; return the response once its head says that it succeeded."""
        request = await self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout)
            if answer.status >= 400:
                raise _failure(answer.status, await answer.read(), f"{method} {path}")
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise KubeUnavailableError(f"{method} {path}: {_words(exc)}") from exc
        response: aiohttp.ClientResponse = answer.response
        return response


async def _read(response: aiohttp.ClientResponse, what: str) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise KubeUnavailableError(f"{what}: {_words(exc)}") from exc


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield lines of any length: an event holds a whole object."""
    try:
        pending = bytearray()
        async for chunk in response.content.iter_any():
            pending += chunk
            *whole, rest = pending.split(b"\n")
            pending = bytearray(rest)
            for line in whole:
                if line.strip():
                    yield bytes(line)
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise KubeUnavailableError(f"the watch broke: {_words(exc)}") from exc


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as exc:
        raise KubeUnavailableError(f"the API server's answer is not JSON: {raw[:80]!r}") from exc
    if not isinstance(document, Mapping):
        raise KubeUnavailableError(f"the API server's answer is not an object: {raw[:80]!r}")
    return document


def _failure(status: int, raw: bytes, what: str) -> KubeApiError | KubeUnavailableError:
    try:
        document = _parsed(raw)
    except KubeUnavailableError:
        document = {}
    message = f"{what}: {document.get('message') or raw[:200].decode(errors='replace')}"
    if status >= 500 or status == 429:
        return KubeUnavailableError(f"{status}: {message}")
    return KubeApiError(status, str(document.get("reason", "")), message)
