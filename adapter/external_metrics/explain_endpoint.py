"""/explain: reasons, to those who may read the metric that they explain."""

import asyncio
from typing import Any

from fastapi import Request, Response

from ..clock import Clock
from ..errors import NoMatchError
from ..explain import explain_variant, to_text
from ..kube.identity import Identity
from ..store import Edition, Store, describe_variants
from .access import forbidden
from .gate import Guard
from .negotiation import Offer, negotiate
from .overview import overview, overview_text
from .request import ApiRequest, explain_access
from .scope import header, identity_of, request_of
from .wire import JSON, as_json

__all__ = ["ExplainEndpoint"]

_TEXT = Offer("text/plain")
_FORMS = (JSON, _TEXT)
_BY_NAME = {"json": JSON, "text": _TEXT}


class ExplainEndpoint:
    """Explains one variant, a namespace's, or all that the caller may see."""

    def __init__(self, store: Store, *, clock: Clock, guard: Guard) -> None:
        self._store = store
        self._clock = clock
        self._guard = guard

    async def answer(self, request: Request) -> Response:
        """Answer one request; the gate has checked the namespace that it names."""
        asked = request_of(request.scope)
        form = _form(asked, header(request.scope, b"accept"))
        edition = self._store.current()
        now_s = self._clock.monotonic_s()
        if asked.resource:
            explained = _explained(edition, asked, now_s)
            body = as_json(explained) if form is JSON else to_text(explained).encode()
        else:
            namespaces, whole = await self._visible(edition, asked, identity_of(request.scope))
            rows = [row for namespace in namespaces for row in edition.rows(namespace)]
            summary = overview(edition, rows, now_s, whole=whole)
            body = as_json(summary) if form is JSON else overview_text(summary).encode()
        return Response(body, media_type=form.media_type)

    async def _visible(
        self, edition: Edition, asked: ApiRequest, identity: Identity
    ) -> tuple[tuple[str, ...], bool]:
        """Return the namespaces that the caller may see, and whether that is everything."""
        if asked.namespace:
            return (asked.namespace,), False
        everything = explain_access("")
        if await self._guard.allows(identity, everything):
            return edition.namespaces, True
        answers = await asyncio.gather(
            *(self._guard.allows(identity, explain_access(one)) for one in edition.namespaces)
        )
        visible = tuple(
            namespace
            for namespace, allowed in zip(edition.namespaces, answers, strict=True)
            if allowed
        )
        if not visible:
            raise forbidden(identity, everything)
        return visible, False


def _form(asked: ApiRequest, accept: str) -> Offer:
    named = _BY_NAME.get(asked.parameters.get("format", ""))
    return named or negotiate(accept, _FORMS)


def _explained(edition: Edition, asked: ApiRequest, now_s: float) -> dict[str, Any]:
    row = edition.row(asked.namespace, asked.resource)
    if row is None:
        raise NoMatchError(
            f"no variant {asked.resource!r} in namespace {asked.namespace!r}, which has "
            f"{describe_variants(edition, asked.namespace)}"
        )
    age_s, freshness = edition.age_s(row, now_s), edition.freshness(row, now_s)
    return explain_variant(edition.publication, row, age_s, freshness)
