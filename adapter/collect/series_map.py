"""Which replica a row of a query's answer is about. Pure.

A variant's `series:` labels say which series are its own; without them, its endpoints do: the
`instance` label of a scraped endpoint is its host and port. A replica is a pod where there is a
`pod` label, and an instance where there is none.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ..config import Settings, Variant
from .fleet import Sighting
from .selectors import Matcher

__all__ = ["IDENTITY", "Place", "SeriesMap"]

IDENTITY = ("namespace", "pod", "instance")

_MAX_REMEMBERED = 50_000


class Place(NamedTuple):
    """Where a row belongs."""

    variant: int
    replica: str  # unique among the replicas


class SeriesMap:
    """The rule of the settings, as lookups."""

    def __init__(self, settings: Settings) -> None:
        self._variants = settings.variants
        self._by_labels: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
        self._by_instance: dict[str, list[tuple[int, str]]] = {}
        for row, variant in enumerate(settings.variants):
            if variant.series:
                keys = tuple(sorted(variant.series))
                values = tuple(variant.series[key] for key in keys)
                self._by_labels.setdefault(keys, {}).setdefault(values, row)
                continue
            for url in variant.endpoints:
                self._by_instance.setdefault(urlsplit(url).netloc, []).append((row, url))
        self._places: dict[tuple[str, ...], Place | None] = {}
        self._by_pod: dict[tuple[str, str], int] = {}
        self._sighted: frozenset[int] = frozenset()
        self.labels = tuple(sorted({*IDENTITY, *(k for keys in self._by_labels for k in keys)}))

    def place(self, labels: Mapping[str, str]) -> Place | None:
        """Return where a row with these labels belongs; None: to no variant of ours."""
        key = tuple([labels.get(name, "") for name in self.labels])
        if key not in self._places:
            if len(self._places) >= _MAX_REMEMBERED:  # pods come and go for months
                self._places.clear()
            self._places[key] = self._find(dict(zip(self.labels, key, strict=True)))
        return self._places[key]

    def see(self, sighting: Sighting) -> None:
        """Take the cluster's pods: series of one that it doesn't have belong to nobody."""
        rows = {variant.key: row for row, variant in enumerate(self._variants)}
        self._sighted = frozenset(rows[key] for key in sighting.current if key in rows)
        self._by_pod = {
            (group.namespace, group.replica): rows[key]
            for key, groups in sighting.groups.items()
            if key in rows
            for group in groups
        }
        self._places.clear()

    def matchers(self) -> tuple[Matcher, ...]:
        """Return a condition on the namespace, if every variant's series are known to have one."""
        spaces = [variant.series.get("namespace", "") for variant in self._variants]
        if not spaces or not all(spaces):
            return ()
        return (Matcher("namespace", "=~", "|".join(sorted(set(spaces)))),)

    def declared(self, variant: Variant) -> Iterable[str]:
        """Return the replicas that the settings themselves name."""
        return () if variant.series else variant.endpoints

    def _find(self, labels: Mapping[str, str]) -> Place | None:
        namespace, pod = labels["namespace"], labels["pod"]
        if (row := self._by_pod.get((namespace, pod))) is not None:
            return Place(row, f"{namespace}/{pod}")
        place = self._find_declared(labels)
        return None if place is not None and place.variant in self._sighted else place

    def _find_declared(self, labels: Mapping[str, str]) -> Place | None:
        for keys, rows in self._by_labels.items():
            row = rows.get(tuple(labels.get(key, "") for key in keys))
            if row is not None:
                namespace, pod = labels["namespace"], labels["pod"]
                return Place(row, f"{namespace}/{pod}" if pod else labels["instance"])
        for row, url in self._by_instance.get(labels["instance"], ()):
            if labels["namespace"] in {"", self._variants[row].namespace}:
                return Place(row, url)
        return None
