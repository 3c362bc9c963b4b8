"""What travels in the ASGI scope of a request, and how to read it."""

from typing import cast

from starlette.types import Scope

from ..kube.identity import AccessQuery, Identity
from .request import ApiRequest

__all__ = [
    "CLIENT_CHAIN",
    "access_of",
    "client_chain",
    "header",
    "identity_of",
    "keep",
    "request_of",
]

CLIENT_CHAIN = "wva.client_chain"  # put there by the protocol: DER, leaf first
_REQUEST = "wva.request"
_IDENTITY = "wva.identity"


def client_chain(scope: Scope) -> tuple[bytes, ...]:
    """Return the certificates that the TLS peer presented, not verified by us yet."""
    return cast("tuple[bytes, ...]", scope.get(CLIENT_CHAIN, ()))


def keep(scope: Scope, request: ApiRequest, identity: Identity | None) -> None:
    """Put what the gate found out into the scope."""
    scope[_REQUEST] = request
    scope[_IDENTITY] = identity


def request_of(scope: Scope) -> ApiRequest:
    """Return the request that the gate parsed: handlers never parse a path again."""
    return cast("ApiRequest", scope[_REQUEST])


def access_of(scope: Scope) -> AccessQuery | None:
    """Return the permission that the request needs; None also if it couldn't be parsed."""
    request = cast("ApiRequest | None", scope.get(_REQUEST))
    return request.access if request is not None else None


def identity_of(scope: Scope) -> Identity:
    """Return who the gate found the caller to be."""
    return cast("Identity", scope[_IDENTITY])


def header(scope: Scope, name: bytes) -> str:
    """Return a header's value, lines of the same name joined by commas, "" if absent."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else ""
