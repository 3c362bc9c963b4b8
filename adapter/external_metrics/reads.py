"""Metric reads: the plain ASGI endpoint that HPA comes to, once per metric and sync.

It answers from what is encoded already and never waits. Errors are raised; the gate turns
them into a Status.
"""

from starlette.types import Receive, Scope, Send

from ..errors import BadRequestError, MethodNotAllowedError, NoMatchError
from .answers import GZIP_BYTES, Answer, Answers
from .negotiation import negotiate, wants_gzip
from .request import API_PREFIX, ApiRequest
from .scope import header, request_of
from .wire import LIST_FORMS

__all__ = ["MetricReads"]

_JSON_TYPE = (b"content-type", b"application/json")
_VARY = (b"vary", b"accept, accept-encoding")


class MetricReads:
    """Serves /apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive  # a GET's body means nothing
        request = request_of(scope)
        _check(request)
        form = negotiate(header(scope, b"accept"), LIST_FORMS)
        selector = request.parameters.get("labelSelector", "")
        answer = self._answers.answer(form, request.namespace, request.resource, selector)
        body, encoding = _encoded(answer, header(scope, b"accept-encoding"))
        headers = [
            _JSON_TYPE,
            _VARY,
            *encoding,
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _check(request: ApiRequest) -> None:
    if not request.reads:
        raise MethodNotAllowedError(f"{request.method} is not supported: metrics can only be read")
    if request.watches:
        raise MethodNotAllowedError("watch is not supported on external metrics: read them again")
    if not request.namespace or request.resource == "namespaces":
        raise NoMatchError(
            "the server could not find the requested resource: metrics are namespaced, "
            f"read {API_PREFIX}/namespaces/NAMESPACE/METRIC"
        )
    if request.rest:
        raise NoMatchError(
            "the server could not find the requested resource: metrics have no "
            f"{'/'.join(request.rest)!r} under them; use labelSelector=variant_name=..."
        )
    if request.namespace == "*":
        raise BadRequestError(
            "metrics are read in one namespace at a time: replace '*' by a namespace's name"
        )


def _encoded(answer: Answer, accept_encoding: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    if len(answer.body) < GZIP_BYTES or not wants_gzip(accept_encoding):
        return answer.body, []
    return answer.compressed, [(b"content-encoding", b"gzip")]
