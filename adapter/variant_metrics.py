"""Gauges per variant, read from the publication in force; the table is metric_families.py.

Labels are `variant_name`, `namespace`, `accelerator_type` and, where it is set,
`controller_instance`: what WVA's own metric has, so that its queries go on working. The
rest of what is known of a variant is on `wva_variant_info`, to join with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .clock import Clock
from .metric_families import (
    AGE,
    BINDING,
    BRAKE,
    DETAILS,
    FALLBACK,
    FAMILIES,
    FRESHNESS,
    HPA_LIMIT,
    INFO,
    SERVED,
    STUCK,
    Family,
)
from .openmetrics import ColumnFamily, RowLabels, Series
from .records import Freshness, Publication

__all__ = ["EditionView", "StoreView", "VariantCollector"]

LABELS = ("variant_name", "namespace", "accelerator_type", "controller_instance")
INFO_LABELS = ("model_name", "service_class")
# What changes from tick to tick would make a new series of the info each time.
_STATES = frozenset(
    {"accelerators", "brake", "engine_arguments", "fallback_risk", "hpa_limit", "stuck", "zero"}
)


class EditionView(Protocol):
    """What is needed of the publication in force."""

    @property
    def publication(self) -> Publication: ...

    @property
    def received_s(self) -> float: ...

    def freshness(self, row: int, now_s: float) -> Freshness: ...

    def age_s(self, row: int, now_s: float) -> float: ...


class StoreView(Protocol):
    """What is needed of the store."""

    @property
    def edition(self) -> EditionView | None: ...

    @property
    def sequence(self) -> int: ...

    async def changed(self, after_sequence: int) -> int: ...


class VariantCollector:
    """Turns the publication in force into gauge families when Prometheus asks."""

    def __init__(
        self, store: StoreView, clock: Clock, *, leads: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._clock = clock
        self._leads = leads

    def describe(self) -> Iterator[ColumnFamily]:
        """Yield the families without samples, for the registry to notice clashes."""
        for family in FAMILIES:
            yield ColumnFamily(family.name, family.help, RowLabels(()), ())

    def collect(self) -> Iterator[ColumnFamily]:
        """Yield the families; none before the first publication, nor by one that follows.

        A decision has one series: KEDA's `prometheus` trigger takes no second one.
        """
        edition = self._store.edition
        if edition is None or not self._leads():
            return
        publication, now_s = edition.publication, self._clock.monotonic_s()
        rows = range(len(publication.variants))
        freshness = np.array([edition.freshness(row, now_s) for row in rows], dtype=np.int8)
        labels = RowLabels([_picked(row, LABELS) for row in publication.labels])
        values = _served(publication, freshness == Freshness.FRESH)
        for family in SERVED:
            yield _family(family, labels, values)
        for family in DETAILS:
            yield _family(family, labels, publication.details)
        age_s = np.array([edition.age_s(row, now_s) for row in rows], dtype=np.float64)
        yield _family(AGE, labels, {"age_s": np.where(np.isfinite(age_s), age_s, np.nan)})
        states = np.array([state.name.lower() for state in Freshness], dtype=object)[freshness]
        yield _one_of(FRESHNESS, labels, states, [s.name.lower() for s in Freshness], other=0.0)
        binding = np.array(publication.binding_names, dtype=object)[publication.binding]
        yield _one_of(BINDING, labels, binding, publication.binding_names)
        brake = np.array(publication.texts.get("brake", ()), dtype=object)
        yield _one_of(BRAKE, labels, brake, sorted({*brake.tolist()} - {"None"}))
        for family, text in ((HPA_LIMIT, "hpa_limit"), (STUCK, "stuck")):
            reasons = _reasons(publication, text)
            yield _one_of(family, labels, reasons, sorted({*reasons.tolist()} - {""}))
        risky = _reasons(publication, "fallback_risk") != ""
        yield _family(FALLBACK, labels, {"risk": np.where(risky, 1.0, np.nan)})
        yield _info(publication)


def _served(publication: Publication, fresh: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    values, held = dict(publication.values), publication.held_values
    current = values.get("wva_current_replicas")
    if "wva_desired_replicas" in values:
        values["wva_desired_replicas"] = np.where(fresh, values["wva_desired_replicas"], held)
    if "wva_desired_ratio" in values and current is not None:
        ratio = np.divide(held, current, out=held.astype(np.float64), where=current > 0)
        values["wva_desired_ratio"] = np.where(fresh, values["wva_desired_ratio"], ratio)
    return values


def _family(
    family: Family, labels: RowLabels, columns: Mapping[str, NDArray[np.float64]]
) -> ColumnFamily:
    series = [
        Series(columns[column], (family.label, value) if family.label else None)
        for value, column in family.columns.items()
        if column in columns
    ]
    return ColumnFamily(family.name, family.help, labels, series)


def _one_of(
    family: Family,
    labels: RowLabels,
    state: NDArray[np.object_],
    names: Sequence[str],
    *,
    other: float = np.nan,
) -> ColumnFamily:
    """Return 1 for the state that each row is in, and `other` for those it isn't in."""
    columns = [(name, np.where(state == name, 1.0, other)) for name in names]
    series = [Series(column, (family.label, name)) for name, column in columns]
    return ColumnFamily(family.name, family.help, labels, series)


def _reasons(publication: Publication, text: str) -> NDArray[np.object_]:
    """Return what stands before the colon in each row's text: the words after it vary."""
    column = publication.texts.get(text, ("",) * len(publication.variants))
    return np.array([words.partition(":")[0] for words in column], dtype=object)


def _info(publication: Publication) -> ColumnFamily:
    texts = [(name, column) for name, column in publication.texts.items() if name not in _STATES]
    rows = [
        {**_picked(labels, (*LABELS, *INFO_LABELS)), **{n: column[row] for n, column in texts}}
        for row, labels in enumerate(publication.labels)
    ]
    return ColumnFamily(INFO.name, INFO.help, RowLabels(rows), [Series(np.ones(len(rows)))])


def _picked(labels: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: labels[name] for name in names if name in labels}
