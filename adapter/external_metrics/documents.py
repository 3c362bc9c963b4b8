"""Documents that don't change while the process lives, each in one or several forms."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from .negotiation import Offer, negotiate
from .openapi import content_hash
from .wire import JSON

__all__ = ["Document", "documents_endpoint", "one_document"]

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Document:
    """One encoded form of a document."""

    form: Offer
    body: bytes
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{content_hash(self.body)}"')


def one_document(body: bytes) -> Endpoint:
    """Return an endpoint for a document that there is in JSON alone."""
    return documents_endpoint(Document(JSON, body))


def documents_endpoint(*documents: Document) -> Endpoint:
    """Return an endpoint that serves the form which Accept prefers; 304 where it is known."""
    by_form = {document.form: document for document in documents}
    forms = tuple(by_form)

    async def endpoint(request: Request) -> Response:
        document = by_form[negotiate(request.headers.get("accept", ""), forms)]
        headers = {"etag": document.etag, "vary": "accept"}
        if _knows(request.headers.get("if-none-match", ""), document.etag):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = document.form.content_type
        return Response(document.body, headers=headers)

    return endpoint


def _knows(if_none_match: str, etag: str) -> bool:
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return etag in known or "*" in known
