"""Answers of range queries as columns over replicas, models and steps. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from adapter.collect.engine_queries import FactQuery
from adapter.collect.prometheus_api import Track
from optimizer import FloatArray

from .history import Buckets, History, Span
from .names import ReplicaName

__all__ = ["bucketed", "filled", "kv_capacities"]


def filled(
    tracks: Iterable[Track], rows: int, span: Span, row_of: Callable[[Track], int | None]
) -> FloatArray:
    values = np.full((rows, span.count), np.nan)
    for track in tracks:
        row = row_of(track)
        if row is None:
            continue
        at = span.rows(track.at_unix_s)
        use = (at >= 0) & (at < span.count) & np.isfinite(track.values)
        at, new = at[use], track.values[use]
        values[row, at] = np.where(np.isnan(values[row, at]), new, values[row, at] + new)
    return values


def bucketed(tracks: list[Track], history: History, model_labels: tuple[str, ...]) -> Buckets:
    """Return the cumulative buckets of each model; series without a model are the only one's."""
    bounds = sorted({float(track.labels["le"]) for track in tracks})
    models, span = history.models, history.span
    counts = np.full((len(bounds), len(models), span.count), np.nan)
    for place, bound in enumerate(bounds):
        own = [t for t in tracks if float(t.labels["le"]) == bound]
        counts[place] = filled(
            own, len(models), span, lambda t: _model_row(t.labels, models, model_labels)
        )
    # A sum over series that come and go may not rise with the bound to the last digit.
    rising = np.maximum.accumulate(np.nan_to_num(counts), axis=0)
    return Buckets(np.array(bounds), np.moveaxis(rising, 0, -1))


def _model_row(
    labels: Mapping[str, str],
    models: tuple[tuple[str, str], ...],
    model_labels: tuple[str, ...],
) -> int | None:
    names = {labels.get(label, "") for label in model_labels} - {""}
    namespace = labels.get("namespace") or "default"
    found = [
        row
        for row, (where, model) in enumerate(models)
        if where == namespace and (not names or model in names)
    ]
    return found[0] if len(found) == 1 else None


def kv_capacities(
    facts: tuple[FactQuery, ...],
    tracks: Mapping[int, list[Track]],
    name_of: Callable[[Mapping[str, str]], ReplicaName],
) -> dict[tuple[str, str], float]:
    """Return the KV capacity that each workload's engines stated, the first way that does.

    By (namespace, name): what states it may not say which model it is about.
    """
    found: dict[tuple[str, str], float] = {}
    for at, fact in enumerate(facts):
        if fact.signal != "kv_capacity_tokens":
            continue
        for track in tracks.get(at, ()):
            try:
                values = [float(track.labels[name]) for name in fact.term.label_values]
            except (KeyError, ValueError):
                continue
            variant = name_of(track.labels).variant
            found.setdefault((variant.namespace, variant.name), math.prod(values))
    return found
