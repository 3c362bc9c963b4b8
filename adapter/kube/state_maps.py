"""A saved state in ConfigMaps: in parts, since one object holds less than a mebibyte.

Two sets of objects take turns, so that the last whole state is there while the next is
written; parts belong together by their generation. Its age is told by the API server alone:
the time that it stamped on the write, to the time that it gives with the answer, so that
clocks of nodes don't matter.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import KubeApiError, StateError
from ..kept_state import KeptState
from .transport import KubeTransport

__all__ = ["StateMaps"]

# In base64 that makes 854 KiB, below the 900 KB that leave room for the rest of an object.
PART_BYTES = 640 * 1024
MAX_PARTS = 64

LABEL = "wva.llm-d.ai/state"
_GENERATION = "wva.llm-d.ai/state-generation"
_PARTS = "wva.llm-d.ai/state-parts"
_MANAGER = "wva-adapter"
_SETS = ("a", "b")
_KEY = "part"


@dataclass(frozen=True, slots=True)
class _Part:
    """One object: its place, and what it says of the state that it is a part of."""

    name: str
    member_of: str
    index: int
    generation: int
    parts: int
    document: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "_Part | None":
        """Return the part, None for an object that is none of ours in spite of its label."""
        metadata = document.get("metadata", {})
        name, notes = str(metadata.get("name", "")), metadata.get("annotations") or {}
        _, _, place = name.rpartition("-state-")
        member_of, _, index = place.partition("-")
        texts = (index, notes.get(_GENERATION, ""), notes.get(_PARTS, ""))
        if member_of not in _SETS or not all(str(text).isdecimal() for text in texts):
            return None
        number, generation, parts = (int(text) for text in texts)
        return cls(name, member_of, number, generation, parts, document)


class StateMaps:
    """The state of one installation.

    Parameters
    ----------
    transport : KubeTransport
    namespace, name : str
        Objects are called NAME-state-a-0 and so on.
    """

    spacing_s = 5.0

    def __init__(self, transport: KubeTransport, *, namespace: str, name: str) -> None:
        self._transport = transport
        self._folder = f"/api/v1/namespaces/{namespace}/configmaps"
        self._namespace, self._name = namespace, name
        self._known: dict[str, _Part] | None = None
        self.place = f"ConfigMaps {namespace}/{name}-state-*"

    async def load(self) -> KeptState | None:
        """Return the newest whole state, None if there is none.

        Raises
        ------
        KubeError
            If they can't be read.
        StateError
            If parts are not what they should be.
        """
        date = await self._list()
        whole = self._newest()
        if not whole:
            return None
        try:
            data = b"".join(
                base64.b64decode(part.document["binaryData"][_KEY], validate=True) for part in whole
            )
        except (KeyError, TypeError, binascii.Error) as exc:
            raise StateError(f"{self.place}: a part can't be read: {exc!r}") from exc
        return KeptState(data, _age_s(whole, date))

    async def save(self, data: bytes) -> None:
        """Write the state, and remove parts that it doesn't have.

        Raises
        ------
        KubeError
            If a part can't be written; then the last whole state is still there.
        StateError
            If it is too large.
        """
        parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
        if len(parts) > MAX_PARTS:
            raise StateError(
                f"a state of {len(data)} bytes is above the bound of {MAX_PARTS * PART_BYTES}"
            )
        if self._known is None:
            await self._list()
        assert self._known is not None  # noqa: S101 - just listed
        newest = self._newest()
        generation = max((part.generation for part in self._known.values()), default=0) + 1
        target = _SETS[1] if newest and newest[0].member_of == _SETS[0] else _SETS[0]
        try:
            for index, part in enumerate(parts):
                document = self._document(target, index, part, generation, len(parts))
                await self._write(document)
            await self._remove_surplus(target, len(parts))
        except KubeApiError:
            # Somebody else wrote or deleted: what is there is asked for the next time.
            self._known = None
            raise

    async def _list(self) -> str:
        """Learn what is there; return the API server's own time of the answer."""
        query = {"labelSelector": f"{LABEL}={self._name}"}
        answer = await self._transport.call("GET", self._folder, query=query)
        found = [_Part.of(document) for document in answer.document.get("items", [])]
        self._known = {part.name: part for part in found if part is not None}
        return answer.headers.get("Date", "")

    def _newest(self) -> list[_Part]:
        """Return the parts of the newest state that is whole, in order."""
        known = (self._known or {}).values()
        for generation in sorted({part.generation for part in known}, reverse=True):
            parts = sorted(
                (part for part in known if part.generation == generation), key=lambda p: p.index
            )
            if [part.index for part in parts] == list(range(parts[0].parts)):
                return parts
        return []

    async def _write(self, document: dict[str, Any]) -> None:
        assert self._known is not None  # noqa: S101 - save has listed
        name, query = document["metadata"]["name"], {"fieldManager": _MANAGER}
        old = self._known.get(name)
        if old is None:
            answer = await self._transport.call("POST", self._folder, body=document, query=query)
        else:
            version = old.document["metadata"].get("resourceVersion")
            document["metadata"]["resourceVersion"] = version
            path = f"{self._folder}/{name}"
            answer = await self._transport.call("PUT", path, body=document, query=query)
        # The data need not be held twice.
        part = _Part.of({"metadata": answer.document.get("metadata", {})})
        if part is not None:
            self._known[name] = part

    async def _remove_surplus(self, target: str, parts: int) -> None:
        assert self._known is not None  # noqa: S101 - save has listed
        surplus = [p for p in self._known.values() if p.member_of == target and p.index >= parts]
        for part in surplus:
            await self._transport.call("DELETE", f"{self._folder}/{part.name}")
            del self._known[part.name]

    def _document(
        self, target: str, index: int, part: bytes, generation: int, parts: int
    ) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"{self._name}-state-{target}-{index}",
                "namespace": self._namespace,
                "labels": {LABEL: self._name, "app.kubernetes.io/name": self._name},
                "annotations": {_GENERATION: str(generation), _PARTS: str(parts)},
            },
            "binaryData": {_KEY: base64.b64encode(part).decode("ascii")},
        }


def _age_s(parts: list[_Part], date: str) -> float | None:
    """Return how old the parts are by the API server's clock, None if it doesn't say."""
    stamps = [
        str(entry.get("time", ""))
        for part in parts
        for entry in part.document["metadata"].get("managedFields") or []
    ]
    try:
        written = max(datetime.fromisoformat(stamp) for stamp in stamps)
        return max(0.0, (parsedate_to_datetime(date) - written).total_seconds())
    except (ValueError, TypeError):
        return None
