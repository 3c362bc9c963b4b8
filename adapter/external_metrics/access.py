"""Who may: permissions, asked of the API server and remembered for ten seconds.

A question that can't be put is an error (500), never a yes; a no is a 403 in the words
that Kubernetes uses. `system:masters` is never refused, so that the aggregator's probes
succeed while the API server can't be asked.
"""

from typing import NamedTuple, Protocol

from ..clock import Clock
from ..errors import AdapterError, ForbiddenError, KubeError
from ..kube.identity import AccessQuery, Identity
from .timed_cache import TimedCache

__all__ = ["AccessReviewError", "AccessReviewer", "Authorizer", "forbidden"]

ACCESS_TTL_S = 10.0
MAX_ANSWERS = 8192

_ALWAYS_ALLOWED = "system:masters"


class AccessReviewError(AdapterError):
    """A permission can't be asked for."""


class AccessReviewer(Protocol):
    """Who knows what a user may do."""

    async def review_access(self, identity: Identity, query: AccessQuery) -> bool:
        """Return whether the permission is there; raise KubeError if unknown."""
        ...


class _Question(NamedTuple):
    identity: Identity
    query: AccessQuery


class Authorizer:
    """Grants or refuses permissions."""

    def __init__(self, reviewer: AccessReviewer, *, clock: Clock) -> None:
        self._reviewer = reviewer
        self._answers = TimedCache(
            self._ask, clock=clock, ttl_s=ACCESS_TTL_S, max_entries=MAX_ANSWERS
        )

    async def allows(self, identity: Identity, query: AccessQuery) -> bool:
        """Return whether `identity` has the permission.

        Raises
        ------
        AccessReviewError
            If it can't be asked for.
        """
        if _ALWAYS_ALLOWED in identity.groups:
            return True
        try:
            return await self._answers.get(_Question(identity, query))
        except KubeError as exc:
            raise AccessReviewError(
                f"Internal Server Error: whether {identity.username!r} may do this can't be asked "
                f"of the Kubernetes API: {exc}"
            ) from exc

    async def _ask(self, question: _Question) -> bool:
        return await self._reviewer.review_access(question.identity, question.query)


def forbidden(identity: Identity, query: AccessQuery) -> ForbiddenError:
    """Return the refusal, in the words of a Kubernetes API server."""
    user = f'User "{identity.username}"'
    if query.path:
        return ForbiddenError(f'forbidden: {user} cannot {query.verb} path "{query.path}"')
    named = f' "{query.name}"' if query.name else ""
    resource = "/".join(part for part in (query.resource, query.subresource) if part)
    where = f'in the namespace "{query.namespace}"' if query.namespace else "at the cluster scope"
    return ForbiddenError(
        f"{resource}.{query.group}{named} is forbidden: {user} cannot {query.verb} resource "
        f'"{resource}" in API group "{query.group}" {where}'
    )
