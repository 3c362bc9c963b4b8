"""What the API server says of callers: token and access reviews, and whom to trust.

The one implementation of the API's `Reviewer` against a real cluster. It speaks JSON
through the client library's transport and nothing of its models. It decides nothing and
caches nothing: who asks too often is the caller's affair.

Requests: authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1
SubjectAccessReview, and the ConfigMap kube-system/extension-apiserver-authentication.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from ..errors import ConfigError, KubeApiError, KubeUnavailableError
from .identity import AccessQuery, Identity

__all__ = ["KubeReviewer", "connect_reviewer"]

TIMEOUT_S = 10.0
RETRY_PAUSES_S = (0.5, 0.75, 1.125, 1.7)  # five tries, as generic API servers make
# Shorter than the minute in which a rotated CA must be in force: a watch that has silently
# died is replaced by a fresh read in time.
WATCH_S = 45.0

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
TRUST_CONFIG_MAP = "extension-apiserver-authentication"


@asynccontextmanager
async def connect_reviewer() -> AsyncIterator["KubeReviewer"]:
    """Open a reviewer with the pod's service account, else with the kubeconfig.

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
                f"no Kubernetes API to ask who callers are: {in_cluster} {outside} "
                "Run in a pod, set KUBECONFIG, or (on 127.0.0.1 only) set api.auth: none"
            ) from outside
    async with client.ApiClient(configuration) as api_client:
        api_client.user_agent = "wva-adapter"
        yield KubeReviewer(api_client)


class KubeReviewer:
    """Asks the API server that `api_client` is connected to."""

    def __init__(
        self,
        api_client: Any,
        *,
        timeout_s: float = TIMEOUT_S,
        retry_pauses_s: tuple[float, ...] = RETRY_PAUSES_S,
        watch_s: float = WATCH_S,
    ) -> None:
        self._client = api_client
        self._timeout_s = timeout_s
        self._retry_pauses_s = retry_pauses_s
        self._watch_s = watch_s

    async def review_token(self, token: str) -> Identity | None:
        """Return whose token it is, None if it is nobody's.

        Raises
        ------
        KubeError
            If the review can't be made.
        """
        status = await self._review(
            _TOKEN_REVIEWS,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token},
            },
        )
        user = status.get("user")
        if status.get("authenticated") is not True or not isinstance(user, Mapping):
            return None
        extra = user.get("extra") or {}
        return Identity(
            username=str(user.get("username", "")),
            uid=str(user.get("uid", "")),
            groups=tuple(user.get("groups") or ()),
            extra=tuple(sorted((key, tuple(values)) for key, values in extra.items())),
        )

    async def review_access(self, identity: Identity, query: AccessQuery) -> bool:
        """Return whether `identity` has the permission.

        Raises
        ------
        KubeError
            If the review can't be made.
        """
        spec = {
            "user": identity.username,
            "uid": identity.uid,
            "groups": list(identity.groups),
            "extra": {key: list(values) for key, values in identity.extra},
            **_attributes(query),
        }
        status = await self._review(
            _ACCESS_REVIEWS,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": spec,
            },
        )
        return status.get("allowed") is True and status.get("denied") is not True

    async def trust_settings(self) -> AsyncGenerator[Mapping[str, str]]:
        """Yield the data of the trust ConfigMap: at once, and after each change.

        Ends when the watch does; the caller starts again.

        Raises
        ------
        KubeError
            If it can't be read; `KubeApiError` with status 404 if it doesn't exist.
        """
        document = await self._call("GET", f"{_CONFIG_MAPS}/{TRUST_CONFIG_MAP}")
        yield _data(document)
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={TRUST_CONFIG_MAP}",
            "resourceVersion": str(document.get("metadata", {}).get("resourceVersion", "")),
            "timeoutSeconds": str(max(1, round(self._watch_s))),
        }
        timeout_s = self._watch_s + self._timeout_s
        response = await self._request("GET", _CONFIG_MAPS, query=query, timeout_s=timeout_s)
        try:
            async for line in _lines(response.response):
                event = _parsed(line)
                if event.get("type") in {"ERROR", "DELETED"}:
                    return  # too old, or gone: the next read says which
                yield _data(event.get("object", {}))
        finally:
            response.response.close()

    async def _review(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the status of a review, asked again while the API server is unavailable."""
        for pause_s in self._retry_pauses_s:
            try:
                return _status(await self._call("POST", path, body=body))
            except KubeUnavailableError:
                await asyncio.sleep(pause_s)
        return _status(await self._call("POST", path, body=body))

    async def _call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        response = await self._request(method, path, body=body, timeout_s=self._timeout_s)
        try:
            raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise KubeUnavailableError(f"{method} {path}: {_words(exc)}") from exc
        return _parsed(raw)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Send one request; return the response once its head says that it succeeded."""
        request = await self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            response = await self._client.call_api(*request, _request_timeout=timeout)
            if response.status >= 400:
                raise _failure(response.status, await response.read(), f"{method} {path}")
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise KubeUnavailableError(f"{method} {path}: {_words(exc)}") from exc
        return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for line in response.content:
            if line.strip():
                yield line
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise KubeUnavailableError(f"the watch broke: {_words(exc)}") from exc


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _attributes(query: AccessQuery) -> dict[str, Any]:
    if query.path:
        return {"nonResourceAttributes": {"path": query.path, "verb": query.verb}}
    attributes = {
        "namespace": query.namespace,
        "verb": query.verb,
        "group": query.group,
        "version": query.version,
        "resource": query.resource,
        "subresource": query.subresource,
        "name": query.name,
    }
    return {"resourceAttributes": {key: value for key, value in attributes.items() if value}}


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as exc:
        raise KubeUnavailableError(f"the API server's answer is not JSON: {raw[:80]!r}") from exc
    if not isinstance(document, Mapping):
        raise KubeUnavailableError(f"the API server's answer is not an object: {raw[:80]!r}")
    return document


def _status(document: Mapping[str, Any]) -> Mapping[str, Any]:
    status = document.get("status")
    if not isinstance(status, Mapping):
        raise KubeUnavailableError("the API server's answer to a review has no status")
    return status


def _data(document: Mapping[str, Any]) -> Mapping[str, str]:
    return dict(document.get("data") or {})


def _failure(status: int, raw: bytes, what: str) -> KubeApiError | KubeUnavailableError:
    try:
        document = _parsed(raw)
    except KubeUnavailableError:
        document = {}
    message = f"{what}: {document.get('message') or raw[:200].decode(errors='replace')}"
    if status >= 500 or status == 429:
        return KubeUnavailableError(f"{status}: {message}")
    return KubeApiError(status, str(document.get("reason", "")), message)
