"""Happenings -> events/v1 objects, the same ones counted instead of repeated. Pure.

Within `WINDOW_S` the same reason on the same object is one Event, whose count, last time and
message change; after that, a new one. The core/v1 form is what every kubectl shows.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .events import Happening
from .subjects import Subject

__all__ = ["EventBook", "Write"]

WINDOW_S = 600.0
COMPONENT = "wva-adapter"


@dataclass(frozen=True, slots=True)
class Write:
    """One request: a new Event, or a change to one."""

    method: str  # POST or PATCH
    path: str
    body: dict[str, Any]
    entry: tuple[Subject, str]

    def about(self, uid: str) -> dict[str, Any]:
        """Return the body of a new Event on the object with this uid.

        `kubectl describe` shows no Event without it.
        """
        return {**self.body, "involvedObject": {**self.body["involvedObject"], "uid": uid}}


@dataclass(slots=True)
class _Entry:
    name: str
    first_unix_s: float
    count: int


class EventBook:
    """Remembers which Events there are."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._entries: dict[tuple[Subject, str], _Entry] = {}

    def writes(self, happenings: Iterable[Happening], *, now_unix_s: float) -> list[Write]:
        """Return the requests that tell `happenings`; each is counted as told."""
        for key in [k for k, e in self._entries.items() if now_unix_s - e.first_unix_s > WINDOW_S]:
            del self._entries[key]
        return [self._write(one, now_unix_s) for one in happenings]

    def forget(self, write: Write) -> None:
        """Take a write back that failed: the next one of its kind is a new Event."""
        self._entries.pop(write.entry, None)

    def _write(self, one: Happening, now_unix_s: float) -> Write:
        key, folder = (one.subject, one.reason), _folder(one.subject)
        entry = self._entries.get(key)
        if entry is None:
            entry = _Entry(_name(one, now_unix_s), now_unix_s, 1)
            self._entries[key] = entry
            return Write("POST", folder, self._new(one, entry.name, now_unix_s), key)
        entry.count += 1
        change = {"count": entry.count, "lastTimestamp": _time(now_unix_s), "message": one.message}
        return Write("PATCH", f"{folder}/{entry.name}", change, key)

    def _new(self, one: Happening, name: str, now_unix_s: float) -> dict[str, Any]:
        subject = one.subject
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "namespace": subject.namespace,
                "name": subject.name,
            },
            "type": one.kind,
            "reason": one.reason,
            "message": one.message,
            "count": 1,
            "firstTimestamp": _time(now_unix_s),
            "lastTimestamp": _time(now_unix_s),
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }


def _folder(subject: Subject) -> str:
    return f"/api/v1/namespaces/{subject.namespace}/events"


def _name(one: Happening, now_unix_s: float) -> str:
    """Return a name like those that other controllers give: the object's, and a number."""
    text = f"{one.subject.kind}/{one.reason}/{now_unix_s:.3f}"
    return f"{one.subject.name[:230]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
