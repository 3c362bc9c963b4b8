"""Who asks: the authenticators in the order of a generic Kubernetes API server.

1. the front proxy's word (see front_proxy), 2. an ordinary client certificate, 3. a
bearer token, reviewed by the API server, 4. nobody: `system:anonymous`. A credential that
fails, with none that succeeds, is refused and never taken for anonymous.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ..clock import Clock
from ..errors import KubeError, StalePublicationError, UnauthorizedError
from ..kube.identity import Identity
from .front_proxy import identify_front_proxy
from .timed_cache import TimedCache
from .trust import Trust, TrustKeeper

__all__ = ["ANONYMOUS", "Authenticator", "TokenReviewer"]

logger = logging.getLogger(__name__)

ANONYMOUS = Identity("system:anonymous", groups=("system:unauthenticated",))
_AUTHENTICATED = "system:authenticated"

TOKEN_TTL_S = 10.0
MAX_TOKENS = 4096
_BEARER = b"bearer "


class TokenReviewer(Protocol):
    """Who knows whose a token is."""

    async def review_token(self, token: str) -> Identity | None:
        """Return whose token it is, None if nobody's; raise KubeError if unknown."""
        ...


class Authenticator:
    """Names the caller of a request."""

    def __init__(self, keeper: TrustKeeper, reviewer: TokenReviewer, *, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._tokens = TimedCache(
            reviewer.review_token, clock=clock, ttl_s=TOKEN_TTL_S, max_entries=MAX_TOKENS
        )

    async def identify(
        self, chain: tuple[bytes, ...], headers: Sequence[tuple[bytes, bytes]]
    ) -> Identity:
        """Return who presents `chain` (client certificate, DER, leaf first) and `headers`.

        Raises
        ------
        UnauthorizedError
            If a credential was presented and none is good.
        StalePublicationError
            If it isn't known yet whom to trust.
        """
        trust = self._keeper.trust
        if trust is None:
            raise StalePublicationError(f"callers can't be identified yet: {self._keeper.problem}")
        refusals: list[str] = []
        identity = self._by_certificate(trust, chain, headers, refusals) if chain else None
        if identity is None:
            identity = await self._by_token(headers, refusals)
        if identity is not None:
            return _with_authenticated(identity)
        if refusals:
            logger.info("a caller is refused: %s", "; ".join(refusals))
            # What was wrong is for the log: the caller may be an attacker.
            raise UnauthorizedError("Unauthorized")
        return ANONYMOUS

    def _by_certificate(
        self,
        trust: Trust,
        chain: tuple[bytes, ...],
        headers: Sequence[tuple[bytes, bytes]],
        refusals: list[str],
    ) -> Identity | None:
        unix_s = self._clock.unix_s()
        try:
            identity = identify_front_proxy(trust, chain, headers, unix_s)
            if identity is not None:
                return identity
            refusals.append("the front proxy names no user")
        except UnauthorizedError as exc:
            refusals.append(f"as front proxy: {exc}")
        if trust.clients is None:
            return None
        try:
            subject = trust.clients.verify(chain, unix_s)
        except UnauthorizedError as exc:
            refusals.append(f"as client: {exc}")
            return None
        return Identity(subject.common_name, groups=subject.organizations)

    async def _by_token(
        self, headers: Sequence[tuple[bytes, bytes]], refusals: list[str]
    ) -> Identity | None:
        token = _bearer_token(headers)
        if not token:
            return None
        try:
            identity = await self._tokens.get(token)
        except KubeError as exc:
            refusals.append(f"the token could not be reviewed: {exc}")
            return None
        if identity is None:
            refusals.append("the token is nobody's")
        return identity


def _bearer_token(headers: Sequence[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip().decode("latin-1")
    return ""


def _with_authenticated(identity: Identity) -> Identity:
    """Return the identity in the group of all who are authenticated, unless it isn't.

    The aggregator's own discovery requests carry no groups; RBAC lets them in by this one.
    A request that it passes on for nobody stays anonymous.
    """
    if identity.username == ANONYMOUS.username or not {
        _AUTHENTICATED,
        *ANONYMOUS.groups,
    }.isdisjoint(identity.groups):
        return identity
    return replace(identity, groups=(*identity.groups, _AUTHENTICATED))
