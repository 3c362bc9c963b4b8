"""A saved state in ConfigMaps: in parts, since one object holds less than a mebibyte.

Two sets of objects take turns, so that the last whole state is there while the next is
written; parts belong together by their generation. Names are fixed, so that RBAC can name
them: nothing else in the namespace need be read. The age is told by the API server alone:
the time that it stamped on the write, to the time that it gives with the answer, so that
clocks of nodes don't matter.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import KubeApiError, StateError
from ..kept_state import KeptState
from .transport import Answer, KubeTransport

__all__ = ["StateMaps"]

# In base64 that makes 854 KiB, below the 900 KB that leave room for the rest of an object.
PART_BYTES = 640 * 1024
# Of each of the two sets; the Role in manifests/base names as many.
MAX_PARTS = 8

LABEL = "wva.llm-d.ai/state"
_GENERATION = "wva.llm-d.ai/state-generation"
_PARTS = "wva.llm-d.ai/state-parts"
_MANAGER = "wva-adapter"
_KEY = "part"
_FIRST_OF_SETS = (0, MAX_PARTS)


class StateMaps:
    """The state of one installation.

    Parameters
    ----------
    transport : KubeTransport
    namespace, name : str
        Objects are called NAME-state-0 and so on.
    """

    spacing_s = 5.0

    def __init__(self, transport: KubeTransport, *, namespace: str, name: str) -> None:
        self._transport = transport
        self._folder = f"/api/v1/namespaces/{namespace}/configmaps"
        self._namespace, self._name = namespace, name
        # Metadata of the objects that are there, by number; None: not asked yet.
        self._known: dict[int, Mapping[str, Any]] | None = None
        self.place = f"ConfigMaps {namespace}/{name}-state-*"

    async def load(self) -> KeptState | None:
        """Return the newest whole state, None if there is none.

        Raises
        ------
        KubeError
            If they can't be read.
        StateError
            If a part isn't what it should be.
        """
        found = await self._read_all()
        numbers = self._newest()
        if not numbers:
            return None
        answers = [found[number] for number in numbers]
        try:
            data = b"".join(
                base64.b64decode(each.document["binaryData"][_KEY], validate=True)
                for each in answers
            )
        except (KeyError, TypeError, binascii.Error) as exc:
            raise StateError(f"{self.place}: a part can't be read: {exc!r}") from exc
        return KeptState(data, _age_s(answers))

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
            await self._read_all()
        try:
            await self._write_all(parts)
        except KubeApiError:
            # Somebody else wrote or deleted: what is there is asked for the next time.
            self._known = None
            raise

    async def _read_all(self) -> dict[int, Answer]:
        """Read every part that there is, and remember its metadata."""
        numbers = range(2 * MAX_PARTS)
        answers = await asyncio.gather(*(self._read(number) for number in numbers))
        found = {n: answer for n, answer in zip(numbers, answers, strict=True) if answer}
        self._known = {number: _metadata(each.document) for number, each in found.items()}
        return found

    async def _read(self, number: int) -> Answer | None:
        try:
            return await self._transport.call("GET", self._path(number))
        except KubeApiError as exc:
            if exc.status == 404:
                return None
            raise

    def _newest(self) -> list[int]:
        """Return the numbers of the parts of the newest state that is whole, in order."""
        whole: list[tuple[int, list[int]]] = []
        for first in _FIRST_OF_SETS:
            known = self._known or {}
            generation, parts = _marks(known.get(first, {}))
            numbers = list(range(first, first + min(parts, MAX_PARTS)))
            if numbers and all(_marks(known.get(n, {})) == (generation, parts) for n in numbers):
                whole.append((generation, numbers))
        return max(whole, default=(0, []))[1]

    async def _write_all(self, parts: list[bytes]) -> None:
        assert self._known is not None  # noqa: S101 - save has asked
        newest = self._newest()
        first = MAX_PARTS if newest and newest[0] < MAX_PARTS else 0
        generation = 1 + max((_marks(known)[0] for known in self._known.values()), default=0)
        marks = {_GENERATION: str(generation), _PARTS: str(len(parts))}
        for number, part in enumerate(parts, first):
            self._known[number] = await self._write(number, part, marks)
        for number in range(first + len(parts), first + MAX_PARTS):
            if number in self._known:
                await self._transport.call("DELETE", self._path(number))
                del self._known[number]

    async def _write(self, number: int, part: bytes, marks: Mapping[str, str]) -> Mapping[str, Any]:
        """Write one part over what is known of it; return its metadata."""
        metadata: dict[str, Any] = {
            "name": f"{self._name}-state-{number}",
            "namespace": self._namespace,
            "labels": {LABEL: self._name, "app.kubernetes.io/name": self._name},
            "annotations": marks,
        }
        old, query = (self._known or {}).get(number), {"fieldManager": _MANAGER}
        if old is not None:
            metadata["resourceVersion"] = old.get("resourceVersion")
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "binaryData": {_KEY: base64.b64encode(part).decode("ascii")},
        }
        method, path = ("POST", self._folder) if old is None else ("PUT", self._path(number))
        answer = await self._transport.call(method, path, body=body, query=query)
        return _metadata(answer.document)

    def _path(self, number: int) -> str:
        return f"{self._folder}/{self._name}-state-{number}"


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = document.get("metadata") or {}
    return metadata


def _marks(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Return a part's generation and how many parts that has; zeros if it isn't ours."""
    notes = metadata.get("annotations") or {}
    texts = (str(notes.get(_GENERATION, "")), str(notes.get(_PARTS, "")))
    if not all(text.isdecimal() for text in texts):
        return 0, 0
    return int(texts[0]), int(texts[1])


def _age_s(parts: list[Answer]) -> float | None:
    """Return how old the parts are by the API server's clock, None if it doesn't say."""
    date = parts[-1].headers.get("Date", "")
    stamps = [
        str(entry.get("time", ""))
        for part in parts
        for entry in _metadata(part.document).get("managedFields") or []
    ]
    try:
        written = max(datetime.fromisoformat(stamp) for stamp in stamps)
        return max(0.0, (parsedate_to_datetime(date) - written).total_seconds())
    except (ValueError, TypeError):
        return None
