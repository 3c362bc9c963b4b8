"""The one door: every request is parsed, its caller identified and allowed, or refused.

A pure ASGI middleware around the whole application, so that a route can't be added past
it. Every error becomes a Status here, by the one table in `adapter/errors.py`; an error
that isn't ours becomes a 500 whose text gives nothing away.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import AdapterError
from ..kube.identity import AccessQuery, Identity
from .access import Authorizer, forbidden
from .auth import ANONYMOUS, Authenticator
from .request import OPEN_PATHS, ApiRequest, parse_request
from .scope import access_of, client_chain, keep
from .wire import encode_status, error_status

__all__ = [
    "Gate",
    "Guard",
    "KubernetesGuard",
    "Observer",
    "OpenGuard",
    "http_exception_status",
]

logger = logging.getLogger(__name__)

# Told of each answer the kind of its request and its HTTP status.
Observer = Callable[[str, int], None]

MAX_REMEMBERED = 4096
MAX_REMEMBERED_BYTES = 512  # of one request: memory has a bound whatever is asked

_MAX_AUDIT_ID = 128
_REASONS = {
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
}


class Guard(Protocol):
    """Who decides about callers."""

    async def identify(
        self, chain: tuple[bytes, ...], headers: Sequence[tuple[bytes, bytes]]
    ) -> Identity:
        """Return who the caller is; raise if a credential is bad."""
        ...

    async def allows(self, identity: Identity, query: AccessQuery) -> bool:
        """Return whether the caller has a permission; raise if it can't be known."""
        ...


class KubernetesGuard:
    """Asks Kubernetes."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self.identify = authenticator.identify
        self.allows = authorizer.allows


class OpenGuard:
    """Lets everybody in; the settings refuse it on anything but loopback."""

    async def identify(
        self, chain: tuple[bytes, ...], headers: Sequence[tuple[bytes, bytes]]
    ) -> Identity:
        """Return the anonymous user."""
        del chain, headers
        return ANONYMOUS

    async def allows(self, identity: Identity, query: AccessQuery) -> bool:
        """Return True."""
        del identity, query
        return True


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, guard: Guard, observe: Observer) -> None:
        self._app = app
        self._guard = guard
        # HPA asks the same again at every sync.
        self._remembered = lru_cache(MAX_REMEMBERED)(parse_request)
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer with a Status."""
        if scope["type"] != "http":
            return
        answer = _Answering(scope, send)
        kind = "other"
        try:
            request = self._parse(scope["method"], scope["raw_path"], scope["query_string"])
            kind = request.kind
            await self._admit(scope, request)
            scope["path"] = request.path
            await self._app(scope, receive, answer.send)
        except AdapterError as exc:
            await answer.fail(exc.http_status, error_status(exc, details=_details(scope)))
        except Exception:
            # Not to hide anything: the traceback goes to the log, the caller gets a Status.
            logger.exception("a request failed")
            text = "Internal Server Error: the adapter's log says more"
            await answer.fail(500, encode_status(500, "InternalError", text))
        self._observe(kind, answer.status)

    def _parse(self, method: str, raw_path: bytes, query: bytes) -> ApiRequest:
        long = len(raw_path) + len(query) > MAX_REMEMBERED_BYTES
        return (parse_request if long else self._remembered)(method, raw_path, query)

    async def _admit(self, scope: Scope, request: ApiRequest) -> None:
        keep(scope, request, None)
        if request.path in OPEN_PATHS:
            return
        identity = await self._guard.identify(client_chain(scope), scope["headers"])
        keep(scope, request, identity)
        access = request.access
        if access is not None and not await self._guard.allows(identity, access):
            raise forbidden(identity, access)


class _Answering:
    """Sends an answer, marked with the request's audit id; remembers its status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._audit_id = next((v for k, v in scope["headers"] if k == b"audit-id"), b"")
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._audit_id and _is_id(self._audit_id):
                message["headers"] = [*message.get("headers", ()), (b"audit-id", self._audit_id)]
        await self._send(message)

    async def fail(self, code: int, body: bytes) -> None:
        if self.status:
            return  # an answer has begun: nothing can be mended on this connection
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.send({"type": "http.response.start", "status": code, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def http_exception_status(error: HTTPException) -> bytes:
    """Return the Status for an error of the routing layer."""
    reason = _REASONS.get(error.status_code, "InternalError")
    message = {
        404: "the server could not find the requested resource",
        405: "the method is not supported here: everything is read with GET",
    }.get(error.status_code, str(error.detail))
    return encode_status(error.status_code, reason, message)


def _details(scope: Scope) -> dict[str, str] | None:
    access = access_of(scope)
    if access is None or not access.resource:
        return None
    return {"group": access.group, "kind": access.resource}


def _is_id(value: bytes) -> bool:
    return len(value) <= _MAX_AUDIT_ID and value.isascii() and value.replace(b"-", b"").isalnum()
