"""A set of objects kept in step with the API server: list, then watch, and again after a fault.

The rule that everything here serves: a broken watch never empties the set. Objects leave it
when the API server says that they are gone, or when a list that was read to its last page no
longer has them; whatever else happens, what was known stays, and `problem` says why it may be
old. Only what `reduce` returns of an object is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import KubeApiError, KubeError, KubeUnavailableError
from .transport import KubeTransport

__all__ = ["Pace", "Watched"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

GONE, NOT_FOUND = 410, 404
PAGE = "500"
# A watch that ends sooner, without an event, counts as one that failed.
SHORT_S = 5.0


class Pace:
    """How long watches last, how often is read what can't be watched, the wait after faults. [s]

    Pauses double from `first_s` to `most_s`, each between half and the whole of it, so that
    adapters that lost the API server together don't come back together.
    """

    def __init__(
        self,
        random: Callable[[], float],
        *,
        watch_s: float = 290.0,
        first_s: float = 0.5,
        most_s: float = 30.0,
        look_s: float = 5.0,
    ) -> None:
        self._random = random
        self.watch_s, self.look_s = watch_s, look_s
        self._first_s, self._most_s = first_s, most_s

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        longest = min(self._most_s, self._first_s * 2.0 ** min(failures - 1, 16))
        return longest * (0.5 + 0.5 * self._random())


class Watched(Generic[T]):
    """The objects under one path.

    Parameters
    ----------
    transport : KubeTransport
    path : str
        A collection, of one namespace or of all.
    reduce : callable
        What to keep of an object; None: nothing.
    pace : Pace
    query : mapping of str to str, optional
        Selectors.

    Attributes
    ----------
    objects : mapping
        By (namespace, name); None before the first whole list.
    absent : bool
        Whether the API server has no such resource.
    problem : str
        Why the set may be old, "" while it is in step.
    version : int
        Rises with every change of `objects`.
    """

    def __init__(
        self,
        transport: KubeTransport,
        path: str,
        *,
        reduce: Callable[[Mapping[str, Any]], T | None],
        pace: Pace,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = transport
        self._reduce = reduce
        self._pace = pace
        self._query = dict(query or {})
        self._resource_version = ""
        self._failures = 0
        self.path = path
        self.objects: dict[tuple[str, str], T] | None = None
        self.absent = False
        self.problem = ""
        self.version = 0
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Keep the set in step until cancelled."""
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                await self._watch()
            except KubeApiError as exc:
                self._failures += 1
                self._refused(exc)
            except KubeError as exc:
                self._failures += 1
                self._fail(str(exc))
            self.tried.set()
            if self._failures:
                await asyncio.sleep(self._pace.pause_s(self._failures))

    def _refused(self, exc: KubeApiError) -> None:
        if exc.status == GONE:
            # The history that a watch or a list's next page needs is gone: the list is read
            # anew, which is no fault to tell of.
            self._resource_version = ""
            return
        self.absent = exc.status == NOT_FOUND and self.objects is None
        self._resource_version = ""
        self._fail(str(exc))

    def _fail(self, problem: str) -> None:
        if problem != self.problem:
            level = logging.INFO if self.absent else logging.WARNING
            logger.log(level, "%s: %s", self.path, problem)
        self.problem = problem

    def _well(self) -> None:
        self.problem, self.absent = "", False
        self.tried.set()

    async def _list(self) -> None:
        """Read all pages, and take them as the set when the last one is there."""
        found: dict[tuple[str, str], T] = {}
        query = {**self._query, "limit": PAGE}
        while True:
            answer = (await self._transport.call("GET", self.path, query=query)).document
            items, metadata = answer.get("items"), answer.get("metadata")
            if not isinstance(items, list) or not isinstance(metadata, Mapping):
                raise KubeUnavailableError(f"GET {self.path}: the answer is not a list of objects")
            for item in items:
                kept = self._reduce(item)
                if kept is not None:
                    found[_key(item)] = kept
            token = metadata.get("continue")
            if not token:
                break
            query = {**self._query, "limit": PAGE, "continue": str(token)}
        if found != self.objects:
            self.objects = found
            self.version += 1
        self._resource_version = str(metadata.get("resourceVersion") or "")
        self._well()

    async def _watch(self) -> None:
        """Follow changes from where the list, or the last watch, ended."""
        query = {
            **self._query,
            "allowWatchBookmarks": "true",
            "resourceVersion": self._resource_version,
        }
        began_s = asyncio.get_running_loop().time()
        # Failures are counted on until something came of a watch, or a server that accepts
        # watches and ends them at once would be asked without end.
        self._failures += 1
        async for event in self._transport.watch(
            self.path, query=query, watch_s=self._pace.watch_s, opened=self._well
        ):
            self._apply(event)
            self._failures = 0
        if asyncio.get_running_loop().time() - began_s > SHORT_S:
            self._failures = 0

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, item = event.get("type"), event.get("object")
        if not isinstance(item, Mapping):
            raise KubeUnavailableError(f"watching {self.path}: an event without an object")
        if kind == "ERROR":
            raise KubeApiError(
                int(item.get("code") or 0),
                str(item.get("reason") or ""),
                f"watching {self.path}: {item.get('message') or 'an error'}",
            )
        if kind in {"ADDED", "MODIFIED", "DELETED"}:
            self._take(item, gone=kind == "DELETED")
        version = (item.get("metadata") or {}).get("resourceVersion")
        if version:
            self._resource_version = str(version)

    def _take(self, item: Mapping[str, Any], *, gone: bool) -> None:
        assert self.objects is not None  # noqa: S101 - a watch follows a list
        key, kept = _key(item), None if gone else self._reduce(item)
        if self.objects.get(key) == kept:
            return
        if kept is None:
            del self.objects[key]
        else:
            self.objects[key] = kept
        self.version += 1


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
