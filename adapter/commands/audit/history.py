"""The recorded past as columns over replicas and equal steps of time. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from optimizer import FloatArray, IntArray

from .names import ReplicaName, VariantName

__all__ = ["Buckets", "History", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """`count` steps from `start_unix_s` on; a value at k is of the step that ends at `ends[k]`."""

    start_unix_s: float
    step_s: float
    count: int

    @property
    def length_s(self) -> float:
        """All of it. [s]"""
        return self.step_s * self.count

    @property
    def end_unix_s(self) -> float:
        """The end of the last step."""
        return self.start_unix_s + self.length_s

    def rows(self, at_unix_s: FloatArray) -> IntArray:
        """Return the step that ends at each moment."""
        at = np.rint((at_unix_s - self.start_unix_s) / self.step_s) - 1
        return np.asarray(at, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """A histogram's cumulative growth per model and step; `bounds` rise to +inf."""

    bounds: FloatArray
    counts: FloatArray  # (models, steps, bounds)

    def within(self, limit: float) -> FloatArray:
        """Return the share of each model and step at or below `limit`, linear within a bucket.

        NaN where nothing was counted.
        """
        total = self.counts[..., -1]
        at = int(np.searchsorted(self.bounds, limit, side="left"))
        high = self.counts[..., at]
        low = self.counts[..., at - 1] if at > 0 else np.zeros_like(high)
        start, stop = (self.bounds[at - 1] if at > 0 else 0.0), self.bounds[at]
        # Beyond the last finite bound nobody knows where: it counts as above the limit.
        part = (limit - start) / (stop - start) if np.isfinite(stop) else float(limit == start)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (low + part * (high - low)) / total
        return np.where(total > 0, np.clip(share, 0.0, 1.0), np.nan)


@dataclass(frozen=True, eq=False)
class History:
    """What was recorded. NaN: nothing was; never 0 for that.

    `signals` are (replicas, steps): means of gauges and rates over the step, by the names of
    `engine_queries`. `buckets` are by histogram.
    """

    span: Span
    scrape_s: float
    replicas: tuple[ReplicaName, ...]
    signals: Mapping[str, FloatArray]
    buckets: Mapping[str, Buckets]
    kv_capacity_tokens: Mapping[tuple[str, str], float]  # by namespace and name of a workload
    faults: tuple[str, ...] = ()

    @cached_property
    def variants(self) -> tuple[VariantName, ...]:
        """Workloads, in order of name."""
        return tuple(sorted({replica.variant for replica in self.replicas}))

    @cached_property
    def models(self) -> tuple[tuple[str, str], ...]:
        """(namespace, model), in order of name."""
        return tuple(sorted({(v.namespace, v.model) for v in self.variants}))

    @cached_property
    def variant_of(self) -> IntArray:
        """Each replica's row in `variants`."""
        return np.array([self.variants.index(r.variant) for r in self.replicas], dtype=np.int64)

    @cached_property
    def model_of(self) -> IntArray:
        """Each variant's row in `models`."""
        keys = [(v.namespace, v.model) for v in self.variants]
        return np.array([self.models.index(key) for key in keys], dtype=np.int64)

    def signal(self, name: str) -> FloatArray:
        """Return a signal; all NaN where the engines don't export it."""
        nothing = np.full((len(self.replicas), self.span.count), np.nan)
        return self.signals.get(name, nothing)

    @cached_property
    def presence(self) -> FloatArray:
        """Share of each step in which a replica was scraped, (replicas, steps)."""
        samples, parts = self.signal("samples"), self.scrapes_per_step
        known = np.where(np.isfinite(samples), samples, 0.0)
        # Engines of several ranks have as many series, and so as many samples of a scrape.
        usual = np.array([np.median(row[row > 0]) if (row > 0).any() else 1.0 for row in known])
        ranks = np.maximum(np.rint(usual / parts), 1.0)
        return np.asarray(np.clip(known / (parts * ranks[:, None]), 0.0, 1.0))

    @property
    def scrapes_per_step(self) -> int:
        """How often a step looks."""
        return max(round(self.span.step_s / self.scrape_s), 1)

    @cached_property
    def counts(self) -> IntArray:
        """Replicas of each variant at every scrape, (variants, steps * scrapes per step).

        Who comes is there at the end of its first step, who goes at the beginning of its last.
        """
        parts = self.scrapes_per_step
        there = np.rint(self.presence * parts)
        before = np.pad(there, ((0, 0), (1, 0)))[:, :-1] > 0
        comes = (there > 0) & ~before
        place = np.arange(parts)
        first = np.where(comes, parts - there, 0.0)[..., None]
        last = np.where(comes, float(parts), there)[..., None]
        at = (place >= first) & (place < last)
        fine = at.reshape(len(self.replicas), -1).astype(np.float64)
        return np.asarray(self.by_variant(fine), dtype=np.int64)

    @cached_property
    def replica_hours(self) -> FloatArray:
        """What each variant's replicas add up to. [h]"""
        return np.asarray(self.by_variant(self.presence).sum(axis=1) * self.span.step_s / 3600.0)

    @cached_property
    def arrivals_rps(self) -> FloatArray:
        """What each replica was sent, turned away or not, (replicas, steps).

        An engine's own counter, else what it finished and what more it had in flight.
        """
        counted = self.signal("rate:arrivals")
        grown = (
            self.signal("delta:running_requests")
            + np.nan_to_num(self.signal("delta:waiting_requests"))
        ) / self.span.step_s
        derived = self.signal("rate:completions") + np.nan_to_num(grown)
        refused = np.nan_to_num(self.signal("rate:rejections"))
        sent = np.where(np.isfinite(counted), counted, derived + refused)
        return np.maximum(sent, 0.0)

    @cached_property
    def offered_rps(self) -> FloatArray:
        """Arrivals of each model, (models, steps); NaN where no replica was scraped."""
        known = np.isfinite(self.arrivals_rps)
        seen = self.by_model(self.by_variant(known.astype(np.float64))) > 0
        total = self.by_model(self.by_variant(np.nan_to_num(self.arrivals_rps)))
        return np.where(seen, total, np.nan)

    def by_variant(self, values: FloatArray) -> FloatArray:
        """Add up replicas' rows."""
        total = np.zeros((len(self.variants), values.shape[1]))
        np.add.at(total, self.variant_of, values)
        return total

    def by_model(self, values: FloatArray) -> FloatArray:
        """Add up variants' rows."""
        total = np.zeros((len(self.models), values.shape[1]))
        np.add.at(total, self.model_of, values)
        return total

    def mean_of(self, histogram: str) -> FloatArray:
        """Return the mean of a histogram over all replicas of each model, (models, steps)."""
        amount, count = (
            self.by_model(self.by_variant(np.nan_to_num(self.signal(f"{part}:{histogram}"))))
            for part in ("sum", "count")
        )
        return np.divide(amount, count, out=np.full_like(amount, np.nan), where=count > 0)
