"""One publication as it is served: indexed, and aged by the clock of the machine it is on.

It decides how far each variant's decision may still be obeyed (design 4.1): fresh up to
`max_decision_age_s`; held for `hold_s` more, when the desired count may no longer fall;
then refused. An age is the age of the reading when it was published plus the time since
it was received here, so that no two machines' clocks are compared. It must not compute a
decision, encode an answer or wait for anything.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from .errors import StalePublicationError
from .records import Freshness, Publication, VariantKey

__all__ = ["MAX_VALUE", "Edition", "describe_variants", "utc"]

# Above it a Quantity's milli value leaves int64: HPA would read a negative number.
MAX_VALUE = 9.2e15

# Figures relative to the replicas there are can't be held: HPA would apply an old one again
# at every sync (a utilization of 0.4 would halve the replicas each time). They are refused
# as soon as they aren't fresh, which freezes HPA: that is their hold.
_RELATIVE = frozenset({"wva_desired_ratio", "wva_utilization"})

_NAMES_SHOWN = 10


class Edition:
    """One publication as it is served: indexed, with the instants at which it ages.

    Attributes
    ----------
    publication : Publication
        What is served.
    received_s : float
        Monotonic time of its receipt. [s]
    sequence : int
        Number of the swap that brought it: rises by one at each, also when the loop's
        process starts again and its own count with it.
    """

    __slots__ = (
        "_columns",
        "_fresh_until_s",
        "_held_until_s",
        "_namespaces",
        "_rows",
        "publication",
        "received_s",
        "sequence",
    )

    def __init__(self, publication: Publication, *, received_s: float, sequence: int) -> None:
        self.publication = publication
        self.received_s = received_s
        self.sequence = sequence
        self._rows = {key: row for row, key in enumerate(publication.variants)}
        self._namespaces: dict[str, list[int]] = {}
        for row, key in enumerate(publication.variants):
            self._namespaces.setdefault(key.namespace, []).append(row)
        # Absent is not zero: a reading that was never made is infinitely old.
        age_s = np.where(np.isnan(publication.reading_age_s), np.inf, publication.reading_age_s)
        fresh_until_s = received_s + publication.max_decision_age_s - age_s
        self._fresh_until_s: list[float] = fresh_until_s.tolist()
        self._held_until_s: list[float] = (fresh_until_s + publication.hold_s).tolist()
        self._columns = {
            Freshness.FRESH: _lists(publication.values),
            Freshness.HELD: _lists(_held_columns(publication)),
        }

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that have a variant, sorted."""
        return tuple(sorted(self._namespaces))

    def row(self, namespace: str, variant: str) -> int | None:
        """Return the row of a variant, None if there is no such variant."""
        return self._rows.get(VariantKey(namespace, variant))

    def rows(self, namespace: str) -> Sequence[int]:
        """Return the rows of a namespace's variants, in the publication's order."""
        return self._namespaces.get(namespace, ())

    def age_s(self, row: int, now_s: float) -> float:
        """Return the age of the last reading that the row's decision rests on. [s]"""
        return now_s - self._fresh_until_s[row] + self.publication.max_decision_age_s

    def freshness(self, row: int, now_s: float) -> Freshness:
        """Return how far the row's decision may be obeyed at `now_s`."""
        if now_s <= self._fresh_until_s[row]:
            return Freshness.FRESH
        if now_s <= self._held_until_s[row]:
            return Freshness.HELD
        return Freshness.REFUSED

    def valid_until_s(self, rows: Iterable[int], now_s: float) -> float:
        """Return when the freshness of one of `rows` changes next, infinity for never. [s]"""
        instants = (
            instant
            for row in rows
            for instant in (self._fresh_until_s[row], self._held_until_s[row])
            if instant >= now_s
        )
        return min(instants, default=math.inf)

    def served(self, metric: str, row: int, now_s: float) -> float | None:
        """Return the value of `metric` at `now_s`, None where it is absent or refused."""
        columns = self._columns.get(self.freshness(row, now_s))
        column = columns.get(metric) if columns is not None else None
        if column is None:
            return None
        value = column[row]
        # Also false for NaN. HPA takes a negative sum for an overflow: it goes to maxReplicas.
        return value if 0.0 <= value < MAX_VALUE else None

    def value(self, metric: str, row: int, now_s: float) -> float:
        """Return the value of `metric` at `now_s`.

        Raises
        ------
        StalePublicationError
            If the decision is too old, or there is no value; the message says which
            source failed and since when.
        """
        value = self.served(metric, row, now_s)
        if value is None:
            raise StalePublicationError(self._why_not(metric, row, now_s))
        return value

    def _why_not(self, metric: str, row: int, now_s: float) -> str:
        key = self.publication.variants[row]
        what = f"{metric} of variant {key.namespace}/{key.name}"
        freshness = self.freshness(row, now_s)
        if freshness is Freshness.REFUSED or (freshness is Freshness.HELD and metric in _RELATIVE):
            return f"{what} is refused: {self._staleness(row, now_s)}; {self._source(row, now_s)}"
        explain = f"look at /explain/{key.namespace}/{key.name}"
        column = self.publication.values.get(metric)
        if column is not None and math.isfinite(column[row]):
            value = float(column[row])
            return (
                f"{what} is refused: the value {value!r} is outside 0 to {MAX_VALUE:g}; {explain}"
            )
        why = self.publication.message[row] or f"this decision has none; {explain}"
        return f"{what} has no value: {why}"

    def _staleness(self, row: int, now_s: float) -> str:
        age_s = self.age_s(row, now_s)
        if math.isinf(age_s):
            return "its engines have never been read"
        limit = f"{self.publication.max_decision_age_s:g} s (max_decision_age_s)"
        if self.freshness(row, now_s) is Freshness.REFUSED:
            limit += f" + {self.publication.hold_s:g} s (hold_s)"
        read = utc(float(self.publication.read_unix_s[row]))
        return f"it rests on readings of {read}, {age_s:.0f} s old, above the limit of {limit}"

    def _source(self, row: int, now_s: float) -> str:
        """Return which source is to blame: the loop, or what the loop could not read."""
        silent_s = now_s - self.received_s
        if silent_s > self.publication.max_decision_age_s:
            return (
                f"the decision loop has published nothing for {silent_s:.0f} s, since "
                f"{utc(self.publication.published_unix_s)}"
            )
        if self.publication.message[row]:
            return self.publication.message[row]
        faults = self.publication.report.faults
        if faults:
            return f"{faults[0].source}: {faults[0].message}"
        return "its source has not answered since"


def describe_variants(edition: Edition, namespace: str) -> str:
    """Return how many variants a namespace has and the names of the first, for messages."""
    rows = edition.rows(namespace)
    if not rows:
        return "none: declare one in the settings, or annotate its HPA or ScaledObject"
    names = [edition.publication.variants[row].name for row in rows[:_NAMES_SHOWN]]
    more = ", ..." if len(rows) > _NAMES_SHOWN else ""
    return f"{len(rows)}: {', '.join(names)}{more}"


def _held_columns(publication: Publication) -> Mapping[str, NDArray[np.float64]]:
    """Return the values while held: the desired count doesn't fall, relative ones are gone."""
    kept = {name: column for name, column in publication.values.items() if name not in _RELATIVE}
    return {**kept, "wva_desired_replicas": publication.held_values}


def _lists(columns: Mapping[str, NDArray[np.float64]]) -> dict[str, list[float]]:
    """Return the columns as lists: single elements are read from them ten times faster."""
    return {name: column.tolist() for name, column in columns.items()}


def utc(unix_s: float) -> str:
    """Return the time as people read it in messages."""
    return datetime.fromtimestamp(unix_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
