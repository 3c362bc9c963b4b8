"""What the API server says of callers: token and access reviews, and whom to trust.

The one implementation of the API's `Reviewer` against a real cluster. It decides nothing
and caches nothing: who asks too often is the caller's affair.

Requests: authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1
SubjectAccessReview, and the ConfigMap kube-system/extension-apiserver-authentication.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ..errors import KubeUnavailableError
from .identity import AccessQuery, Identity
from .transport import KubeTransport

__all__ = ["KubeReviewer"]

RETRY_PAUSES_S = (0.5, 0.75, 1.125, 1.7)  # five tries, as generic API servers make
# Shorter than the minute in which a rotated CA must be in force: a watch that has silently
# died is replaced by a fresh read in time.
WATCH_S = 45.0

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
TRUST_CONFIG_MAP = "extension-apiserver-authentication"


class KubeReviewer:
    """Asks the API server at the other end of `transport`."""

    def __init__(
        self,
        transport: KubeTransport,
        *,
        retry_pauses_s: tuple[float, ...] = RETRY_PAUSES_S,
        watch_s: float = WATCH_S,
    ) -> None:
        self._transport = transport
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
        answer = await self._transport.call("GET", f"{_CONFIG_MAPS}/{TRUST_CONFIG_MAP}")
        yield _data(answer.document)
        query = {
            "fieldSelector": f"metadata.name={TRUST_CONFIG_MAP}",
            "resourceVersion": str(answer.document.get("metadata", {}).get("resourceVersion", "")),
        }
        watching = self._transport.watch(_CONFIG_MAPS, query=query, watch_s=self._watch_s)
        async with aclosing(watching) as events:
            async for event in events:
                if event.get("type") in {"ERROR", "DELETED"}:
                    return  # too old, or gone: the next read says which
                yield _data(event.get("object", {}))

    async def _review(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the status of a review, asked again while the API server is unavailable."""
        for pause_s in self._retry_pauses_s:
            try:
                return await self._ask(path, body)
            except KubeUnavailableError:
                await asyncio.sleep(pause_s)
        return await self._ask(path, body)

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return _status((await self._transport.call("POST", path, body=body)).document)


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


def _status(document: Mapping[str, Any]) -> Mapping[str, Any]:
    status = document.get("status")
    if not isinstance(status, Mapping):
        raise KubeUnavailableError("the API server's answer to a review has no status")
    return status


def _data(document: Mapping[str, Any]) -> Mapping[str, str]:
    return dict(document.get("data") or {})
