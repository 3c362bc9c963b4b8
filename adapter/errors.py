"""Errors of the adapter, and the one table from ours to HTTP and gRPC.

AdapterError
├─ ConfigError                  start: exit 2; reload: the old settings stay in force
├─ SourceError(source)
│  ├─ SourceUnavailableError    timeout, connection, 5xx: the next tick tries again
│  ├─ SourceRejectedError       4xx: a person has to act
│  └─ SourceMalformedError      the answer isn't what its format says
├─ StateError                   what a restart goes on from can't be kept: told, tried again
├─ KubeError
│  ├─ KubeApiError(status, reason)
│  └─ KubeUnavailableError
├─ RequestError                 the caller's fault, or the answer isn't there
│  ├─ BadSelectorError          400
│  ├─ BadRequestError           400 (gRPC INVALID_ARGUMENT)
│  ├─ UnauthorizedError         401
│  ├─ ForbiddenError            403
│  ├─ UnknownMetricError        404
│  ├─ NoMatchError              404
│  ├─ MethodNotAllowedError     405
│  └─ NotAcceptableError        406
└─ StalePublicationError        503 / UNAVAILABLE: HPA keeps what it has

Messages name the value, the bound and the remedy, and never hold a secret.
"""

from typing import ClassVar

__all__ = [
    "AdapterError",
    "BadRequestError",
    "BadSelectorError",
    "ConfigError",
    "ForbiddenError",
    "KubeApiError",
    "KubeError",
    "KubeUnavailableError",
    "MethodNotAllowedError",
    "NoMatchError",
    "NotAcceptableError",
    "RequestError",
    "SourceError",
    "SourceMalformedError",
    "SourceRejectedError",
    "SourceUnavailableError",
    "StalePublicationError",
    "StateError",
    "UnauthorizedError",
    "UnknownMetricError",
]


class AdapterError(Exception):
    """Anything the adapter raises on purpose.

    Attributes
    ----------
    http_status : int
        Code of the HTTP answer that this error becomes.
    kube_reason : str
        `reason` of the Kubernetes Status that this error becomes.
    grpc_code : str
        Name of the gRPC status code that this error becomes.
    """

    http_status: ClassVar[int] = 500
    kube_reason: ClassVar[str] = "InternalError"
    grpc_code: ClassVar[str] = "INTERNAL"


class ConfigError(AdapterError):
    """The settings can't be used; the message lists every fault with its place."""


class StateError(AdapterError):
    """A saved state can't be kept or read."""


class SourceError(AdapterError):
    """A source of readings failed."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(f"{source}: {message}")
        self.source = source
        self.detail = message


class SourceUnavailableError(SourceError):
    """Timeout, refused or broken connection, or a 5xx answer."""


class SourceRejectedError(SourceError):
    """A 4xx answer: wrong path, missing credentials."""


class SourceMalformedError(SourceError):
    """The body isn't what its format says, or exceeds its bound."""


class KubeError(AdapterError):
    """The Kubernetes API didn't do what was asked."""


class KubeApiError(KubeError):
    """The API server answered with a Status failure."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class KubeUnavailableError(KubeError):
    """The API server can't be reached or answered 5xx."""


class RequestError(AdapterError):
    """A request that can't be answered with a value."""

    http_status = 400
    kube_reason = "BadRequest"
    grpc_code = "INVALID_ARGUMENT"


class BadSelectorError(RequestError):
    """The label selector doesn't parse."""


class BadRequestError(RequestError):
    """The request is malformed; the message names the part and the bound."""


class UnauthorizedError(RequestError):
    """No credential that we accept."""

    http_status = 401
    kube_reason = "Unauthorized"
    grpc_code = "UNAUTHENTICATED"


class ForbiddenError(RequestError):
    """A known caller without the permission."""

    http_status = 403
    kube_reason = "Forbidden"
    grpc_code = "PERMISSION_DENIED"


class UnknownMetricError(RequestError):
    """No metric of that name is served."""

    http_status = 404
    kube_reason = "NotFound"
    grpc_code = "NOT_FOUND"


class NoMatchError(RequestError):
    """The metric exists; nothing matches the selector."""

    http_status = 404
    kube_reason = "NotFound"
    grpc_code = "NOT_FOUND"


class MethodNotAllowedError(RequestError):
    """Metrics can only be read."""

    http_status = 405
    kube_reason = "MethodNotAllowed"
    grpc_code = "UNIMPLEMENTED"


class NotAcceptableError(RequestError):
    """None of the media types in Accept can be produced."""

    http_status = 406
    kube_reason = "NotAcceptable"
    grpc_code = "INVALID_ARGUMENT"


class StalePublicationError(AdapterError):
    """The decision is too old to be obeyed, or there is none yet."""

    http_status = 503
    kube_reason = "ServiceUnavailable"
    grpc_code = "UNAVAILABLE"
