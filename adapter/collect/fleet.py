"""Which replicas there are, and where to read them: from the settings, or from what was discovered.

Pure. A replica may have no address yet (it is starting) or several (one for each data-parallel
rank). Counts are -1 where a list has never been had: no list is not an empty list.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ..config import Settings, Variant
from ..records import ReplicaState

__all__ = ["Fleet", "Group", "Replica", "Sighting", "build_fleet", "parse_groups"]

_STATES = {
    "starting": ReplicaState.STARTING,
    "ready": ReplicaState.READY,
    "draining": ReplicaState.DRAINING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some addresses of one variant, as http_sd lists them."""

    namespace: str  # "": the variant's own list, which needs no labels
    variant: str
    replica: str  # "": each address is a replica of its own
    state: ReplicaState
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """Replicas as the cluster itself shows them, by (namespace, variant).

    Counts are those of scale targets; a variant without one there isn't the cluster's.
    """

    groups: Mapping[tuple[str, str], tuple[Group, ...]]
    current: Mapping[tuple[str, str], int]
    ready: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica and where its engine can be read."""

    name: str
    variant: int
    urls: tuple[str, ...]
    state: ReplicaState | None  # None: nobody says; whoever reads it finds out


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """All replicas of all variants; counts are the lists' own, -1 where they don't say."""

    replicas: tuple[Replica, ...]
    current: NDArray[np.int64]
    ready: NDArray[np.int64]


def parse_groups(body: bytes) -> tuple[Group, ...]:
    """Return the groups in a body of Prometheus's http_sd form.

    Raises
    ------
    ValueError
        If it isn't that; the message says what was expected where.
    """
    try:
        content = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"the list is no JSON: {exc}") from exc
    except RecursionError as exc:
        raise ValueError("the list is nested too deeply") from exc
    match content:
        case list():
            return tuple(_group(item, place) for place, item in enumerate(content))
    raise ValueError(f"expected a JSON list of target groups, got {type(content).__name__}")


def _group(item: Any, place: int) -> Group:
    targets: Any = None
    labels: Any = None
    if isinstance(item, dict):
        targets, labels = item.get("targets", []), item.get("labels", {})
    sound = isinstance(targets, list) and isinstance(labels, dict)
    if not sound or not _strings(targets, labels.values()):
        raise ValueError(f'group {place}: expected {{"targets": [host:port], "labels": {{}}}}')
    state = labels.get("state", "ready")
    if state not in _STATES:
        raise ValueError(f"group {place}: state {state!r} is none of {', '.join(_STATES)}")
    path = labels.get("__metrics_path__", "")
    scheme = labels.get("__scheme__", "http")
    if scheme not in {"http", "https"}:
        raise ValueError(f"group {place}: __scheme__ {scheme!r} is neither http nor https")
    return Group(
        namespace=labels.get("namespace", ""),
        variant=labels.get("variant", ""),
        replica=labels.get("replica", ""),
        state=_STATES[state],
        urls=tuple(f"{scheme}://{target}{path}" for target in targets),
    )


def _strings(*several: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for values in several for value in values)


@dataclass(slots=True)
class _Listing:
    """The replicas of one variant as they are being listed."""

    replicas: dict[str, tuple[ReplicaState | None, list[str]]] = field(default_factory=dict)
    known: bool = False
    static: bool = False

    def add(self, name: str, state: ReplicaState | None, urls: Iterable[str]) -> None:
        self.replicas.setdefault(name, (state, []))[1].extend(urls)

    def take(self, groups: Iterable[Group], variant: Variant) -> None:
        for group in groups:
            if group.replica:
                self.add(f"{variant.namespace}/{group.replica}", group.state, group.urls)
                continue
            for url in group.urls:
                self.add(f"{variant.namespace}/{urlsplit(url).netloc}", group.state, [url])


def build_fleet(
    settings: Settings,
    *,
    shared: tuple[Group, ...] | None,
    own: Mapping[str, tuple[Group, ...] | None],
    sighting: Sighting | None = None,
) -> Fleet:
    """Return the replicas of the settings' variants, in their order.

    A variant's own endpoints come first, then its own discovery, then the cluster, then the
    shared discovery.

    Parameters
    ----------
    shared : tuple of Group or None
        What the discovery for all variants lists; None: nothing yet.
    own : mapping of str to tuple of Group or None
        What variants' own discoveries list, by their URL.
    sighting : Sighting, optional
        What the cluster shows.
    """
    shared_by_key: dict[tuple[str, str], list[Group]] = {}
    for group in shared or ():
        shared_by_key.setdefault((group.namespace or "default", group.variant), []).append(group)
    replicas: list[Replica] = []
    current, ready = [], []
    taken: set[str] = set()
    for row, variant in enumerate(settings.variants):
        seen = sighting if sighting is not None and variant.key in sighting.current else None
        if seen is not None and not (variant.endpoints or variant.discovery):
            listing = _Listing(known=True)
            listing.take(seen.groups.get(variant.key, ()), variant)
        else:
            listing = _list(variant, shared, shared_by_key, own)
        states = [state for state, _ in listing.replicas.values()]
        starting, running = states.count(ReplicaState.STARTING), states.count(ReplicaState.READY)
        if seen is not None:
            current.append(seen.current[variant.key])
            ready.append(seen.ready[variant.key])
        elif listing.static:
            current.append(len(states))
            ready.append(-1)
        else:
            current.append(starting + running if listing.known else -1)
            ready.append(running if listing.known else -1)
        for name, (state, urls) in listing.replicas.items():
            unique = name if name not in taken else f"{variant.namespace}/{variant.name}/{name}"
            taken.add(unique)
            replicas.append(Replica(name=unique, variant=row, urls=tuple(urls), state=state))
    return Fleet(
        tuple(replicas), np.array(current, dtype=np.int64), np.array(ready, dtype=np.int64)
    )


def _list(
    variant: Variant,
    shared: tuple[Group, ...] | None,
    shared_by_key: Mapping[tuple[str, str], list[Group]],
    own: Mapping[str, tuple[Group, ...] | None],
) -> _Listing:
    listing = _Listing()
    if variant.endpoints:
        listing.known = listing.static = True
        for url in variant.endpoints:
            listing.add(url, None, [url])
        return listing
    if variant.discovery is not None:
        groups = own.get(variant.discovery)
        listing.known = groups is not None
        mine = [group for group in groups or () if _is_of(group, variant)]
    else:
        listing.known = shared is not None
        mine = shared_by_key.get(variant.key, [])
    listing.take(mine, variant)
    return listing


def _is_of(group: Group, variant: Variant) -> bool:
    """Return whether a group of a variant's own list is that variant's: labels may be left out."""
    same_name = group.variant in {"", variant.name}
    return same_name and group.namespace in {"", variant.namespace}
