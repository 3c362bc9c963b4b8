"""A stand-in for the API server's reviews, that counts what it is asked."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping

from adapter.errors import KubeApiError, KubeUnavailableError
from adapter.kube.identity import AccessQuery, Identity


class FakeReviewer:
    """Knows tokens and permissions; `down` makes every review fail, `trust` None is no ConfigMap."""

    def __init__(self, trust: Mapping[str, str] | None = None) -> None:
        self.tokens: dict[str, Identity] = {}
        self.allowed: set[tuple[str, str, str]] = set()  # (user or group, verb, resource or path)
        self.token_reviews: list[str] = []
        self.access_reviews: list[tuple[Identity, AccessQuery]] = []
        self.down = False
        self.delay_s = 0.0
        self._trust = trust
        self._changed = asyncio.Event()

    def allow(self, who: str, verb: str, what: str) -> None:
        self.allowed.add((who, verb, what))

    def set_trust(self, trust: Mapping[str, str] | None) -> None:
        self._trust = trust
        self._changed.set()

    async def review_token(self, token: str) -> Identity | None:
        self.token_reviews.append(token)
        await self._answer()
        return self.tokens.get(token)

    async def review_access(self, identity: Identity, query: AccessQuery) -> bool:
        self.access_reviews.append((identity, query))
        await self._answer()
        what = {
            query.path or query.resource,
            "*",
            f"{query.namespace or '*'}/{query.resource}",
        }
        return any(
            who in {identity.username, *identity.groups} and verb == query.verb and one in what
            for who, verb, one in self.allowed
        )

    async def trust_settings(self) -> AsyncGenerator[Mapping[str, str]]:
        while True:
            self._changed.clear()
            if self._trust is None:
                raise KubeApiError(404, "NotFound", "configmaps not found")
            yield self._trust
            await self._changed.wait()

    async def _answer(self) -> None:
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise KubeUnavailableError("connection refused")


def trust_data(*, front_proxy: str, clients: str, names: list[str]) -> dict[str, str]:
    """Return the trust ConfigMap's data as a kubeadm cluster has them."""
    return {
        "client-ca-file": clients,
        "requestheader-client-ca-file": front_proxy,
        "requestheader-allowed-names": json.dumps(names),
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }
