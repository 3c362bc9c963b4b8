"""Whose certificates are believed: the cluster's trust ConfigMap, kept in force.

It decides nothing about a request. A ConfigMap that can't be read or used leaves what was
in force before; before the first good one nobody is known, which is said in the log and
by readiness, and tried again.

Keys: Kubernetes, "Configure the aggregation layer" (extension-apiserver-authentication).
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import AdapterError, ConfigError, KubeApiError
from .certificates import CertificatePool

__all__ = ["Trust", "TrustKeeper", "TrustSource", "parse_trust"]

logger = logging.getLogger(__name__)

RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
CONFIG_MAP = "ConfigMap kube-system/extension-apiserver-authentication"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trust:
    """Whom to believe. Header names are lower-case bytes, as the server hands them on."""

    front_proxy: CertificatePool | None  # the aggregator's CA; None: no aggregation
    clients: CertificatePool | None  # ordinary client certificates
    allowed_names: frozenset[str]  # common names of front proxies; empty: any
    username_headers: tuple[bytes, ...]
    group_headers: tuple[bytes, ...]
    uid_headers: tuple[bytes, ...]
    extra_prefixes: tuple[bytes, ...]

    @property
    def authorities_pem(self) -> str:
        """Return every CA that a client certificate may come from, for the TLS handshake."""
        return "\n".join(pool.pem for pool in (self.front_proxy, self.clients) if pool)


class TrustSource(Protocol):
    """Where the ConfigMap's data come from."""

    def trust_settings(self) -> AsyncGenerator[Mapping[str, str]]:
        """Yield the data now and after each change; raise KubeError if unreadable."""
        ...


def parse_trust(data: Mapping[str, str]) -> Trust:
    """Return the trust that the ConfigMap's data declare.

    Raises
    ------
    ConfigError
        If a key isn't a list of strings, or a CA bundle isn't PEM.
    """
    return Trust(
        front_proxy=_pool(data, "requestheader-client-ca-file"),
        clients=_pool(data, "client-ca-file"),
        allowed_names=frozenset(_names(data, "requestheader-allowed-names")),
        username_headers=_headers(data, "requestheader-username-headers"),
        group_headers=_headers(data, "requestheader-group-headers"),
        uid_headers=_headers(data, "requestheader-uid-headers"),
        extra_prefixes=_headers(data, "requestheader-extra-headers-prefix"),
    )


class TrustKeeper:
    """Keeps the trust in force in step with the cluster.

    `trust` is None until the ConfigMap was read once; `problem` then says why not.
    """

    def __init__(
        self,
        source: TrustSource,
        *,
        changed: Callable[[Trust], None],
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        self._source = source
        self._changed = changed
        self._retry_s = retry_s
        self._data: Mapping[str, str] | None = None
        self.trust: Trust | None = None
        self.problem = f"{CONFIG_MAP} has not been read yet"

    async def run(self) -> None:
        """Follow the ConfigMap until cancelled."""
        failures = 0
        while True:
            try:
                async with aclosing(self._source.trust_settings()) as settings:
                    async for data in settings:
                        self._take(data)
                        failures = 0
            except AdapterError as exc:
                self._report(exc, first=failures == 0)
                failures += 1
            # Also after a watch that ended in order: one that ends at once must not spin.
            await asyncio.sleep(self._retry_s[min(failures, len(self._retry_s) - 1)])

    def _take(self, data: Mapping[str, str]) -> None:
        if data == self._data:
            return
        trust = parse_trust(data)
        self._changed(trust)
        self.trust, self._data, self.problem = trust, data, ""
        if trust.front_proxy is None:
            logger.warning(
                "%s names no front proxy: requests through the Kubernetes API are not trusted "
                "until the cluster's aggregation layer is configured",
                CONFIG_MAP,
            )
        logger.info("client certificates are checked against %s", CONFIG_MAP)

    def _report(self, exc: AdapterError, *, first: bool) -> None:
        """Log the first failure in a row; readiness goes on saying it."""
        remedy = (
            "; bind the Role extension-apiserver-authentication-reader in kube-system"
            if isinstance(exc, KubeApiError)
            else ""
        )
        problem = f"{CONFIG_MAP} can't be used: {exc}{remedy}"
        if self.trust is None:
            self.problem = problem
        if first:
            kept = "what was read before stays in force" if self.trust else "nobody is admitted"
            logger.error("%s; %s, trying again", problem, kept)


def _pool(data: Mapping[str, str], key: str) -> CertificatePool | None:
    pem = data.get(key, "").strip()
    if not pem:
        return None
    try:
        return CertificatePool(pem)
    except ValueError as exc:
        raise ConfigError(f"{key} is not a bundle of PEM certificates: {exc}") from exc


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = data.get(key, "")
    if not text.strip():
        return ()
    try:
        names: Any = json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"{key} is not JSON: {text[:80]!r}") from exc
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{key} is not a list of strings: {text[:80]!r}")
    return tuple(names)


def _headers(data: Mapping[str, str], key: str) -> tuple[bytes, ...]:
    return tuple(name.lower().encode("latin-1", "replace") for name in _names(data, key))
