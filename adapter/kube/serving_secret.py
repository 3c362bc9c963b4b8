"""Self-made certificates that all replicas share, in a Secret.

Whoever comes first makes them; the leader renews them. Clients learn of a new authority
before anything is signed by it: it is announced (the APIService's caBundle), then written,
then served. Writers carry the resourceVersion, so that of two one is refused and reads what
the other wrote. A Secret that can't be had leaves what is served.
"""

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..clock import Clock
from ..errors import AdapterError, ConfigError, KubeApiError
from ..self_made import SelfMade, renewed
from .transport import KubeTransport

__all__ = ["ServingSecret"]

logger = logging.getLogger(__name__)

_MANAGER = "wva-adapter"


class ServingSecret:
    """The Secret.

    Parameters
    ----------
    transport : KubeTransport
    namespace, name : str
        Of the Secret.
    names : tuple of str
        DNS names and addresses that the certificate is for.
    clock : Clock

    Attributes
    ----------
    problem : str
        Why the Secret couldn't be used, "" if it could.
    """

    def __init__(
        self,
        transport: KubeTransport,
        *,
        namespace: str,
        name: str,
        names: tuple[str, ...],
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._folder = f"/api/v1/namespaces/{namespace}/secrets"
        self._namespace, self._name = namespace, name
        self._names = names
        self._clock = clock
        self.problem = ""

    async def obtain(self) -> SelfMade | None:
        """Return what is shared, made now if nothing is; None if the Secret can't be used."""
        try:
            document = await self._read()
            if document is None:
                await self._make()
                document = await self._read()
        except AdapterError as exc:
            self._report(str(exc))
            return None
        self._report("")
        return self._parsed(document) if document is not None else None

    async def renew(self, announce: Callable[[bytes], Awaitable[None]]) -> SelfMade | None:
        """Return what is shared, renewed if it is due.

        `announce` is told the authorities' bundle, and has told clients when it returns.
        """
        try:
            document = await self._read()
            state = self._parsed(document) if document is not None else None
            due = renewed(state, self._names, self._now())
            if due is not state:
                await announce(due.bundle_pem)
                await self._write(document, due)
                logger.info("renewed the certificates in the Secret %s", self._name)
        except AdapterError as exc:
            self._report(str(exc))
            return None
        self._report("")
        return due

    async def _read(self) -> Mapping[str, Any] | None:
        try:
            return (await self._transport.call("GET", f"{self._folder}/{self._name}")).document
        except KubeApiError as exc:
            if exc.status == 404:
                return None
            raise

    async def _make(self) -> None:
        try:
            await self._write(None, renewed(None, self._names, self._now()))
            logger.info("made certificates and put them into the Secret %s", self._name)
        except KubeApiError as exc:
            if exc.status != 409:
                raise  # 409: another replica was faster, and its are used

    async def _write(self, old: Mapping[str, Any] | None, state: SelfMade) -> None:
        data = {
            key: base64.b64encode(pem).decode("ascii") for key, pem in state.to_mapping().items()
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {**metadata, "labels": {"app.kubernetes.io/name": "wva"}},
            "data": data,
        }
        query = {"fieldManager": _MANAGER}
        if old is None:
            await self._transport.call("POST", self._folder, body=body, query=query)
            return
        # Its type can't be changed, and what else is on it is somebody's.
        body = {**old, "data": {**(old.get("data") or {}), **data}}
        path = f"{self._folder}/{self._name}"
        await self._transport.call("PUT", path, body=body, query=query)

    def _parsed(self, document: Mapping[str, Any]) -> SelfMade | None:
        """Return the certificates, None if they can't be used and have to be made anew."""
        try:
            data = document.get("data") or {}
            return SelfMade.from_mapping(
                {key: base64.b64decode(text, validate=True) for key, text in data.items()}
            )
        except (ConfigError, binascii.Error, TypeError) as exc:
            logger.error("what the Secret %s holds can't be used: %s", self._name, exc)
            return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_s(), tz=UTC)

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.error(
                "the Secret %s/%s can't be used, what is served stays: %s",
                self._namespace,
                self._name,
                problem,
            )
        self.problem = problem
