"""The saturation law of the WVA paper, as it stands there. Pure columns, for comparison.

Per model: a replica is saturated at KV 0.80 or 5 waiting requests; one replica is added
to the cheapest variant when the mean spare over replicas that are not saturated falls
under 0.10 KV or 3 requests; one is taken from the dearest when the load of one replica,
spread over the rest, leaves those spares; and nothing moves while any variant of the
model is in transition. Source: arXiv 2603.09730, section V-A, and the facts in the
project's notes on the published analyzer ("percentage-based").

This module must not improve the law: it exists so that a variant can select it and
ablations can show what it costs.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray
from .saturation import DEFAULT_LIMITS, SaturationLimits
from .tables import ReplicaTable, VariantTable

__all__ = ["PaperPlan", "PaperReason", "SpareCapacity", "paper_targets", "spare_capacity"]

_ROUNDING = 1e-9


class PaperReason(IntEnum):
    """Why the law left or moved a variant's count."""

    NO_DATA = 0  # no replica of the model reported
    STEADY = 1
    TRANSITION = 2  # some variant of the model hasn't reached its count yet
    SPARE_LOW = 3  # one more
    SPARE_HIGH = 4  # one less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpareCapacity(Columns):
    """Spare capacity of each model, over its replicas that are not saturated."""

    reporting: IntArray
    not_saturated: IntArray
    mean_spare_kv_ratio: FloatArray  # 0 where every replica is saturated
    mean_spare_queue_requests: FloatArray
    scale_up: BoolArray
    scale_down_safe: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaperPlan(Columns):
    """Replica counts and the reason for each, one row per variant."""

    replicas: IntArray
    reason: IntArray


def spare_capacity(
    *,
    kv_usage_ratio: FloatArray,
    waiting_requests: FloatArray,
    model: IntArray,
    models: int,
    limits: SaturationLimits = DEFAULT_LIMITS,
) -> SpareCapacity:
    """Return each model's mean spare capacity and what follows from it.

    Parameters
    ----------
    kv_usage_ratio, waiting_requests : array, shape (R,)
        Readings per replica; a replica with a NaN doesn't take part. [1, requests]
    model : array of int, shape (R,)
        Row of each replica's model, 0 <= model < models.
    models : int
        Number of models.
    limits : SaturationLimits
        The thresholds: full, and the spare below it that triggers.

    Returns
    -------
    SpareCapacity, one row per model

    Notes
    -----
    With N replicas that are not saturated and mean load x = full - spare, removal is
    safe when full - x N / (N - 1) is at least the trigger, for both signals, and N >= 2.
    """
    present = np.isfinite(kv_usage_ratio) & np.isfinite(waiting_requests)
    kv, queue, model = kv_usage_ratio[present], waiting_requests[present], model[present]
    free = (kv < limits.full_kv_ratio) & (queue < limits.full_queue_requests)
    number = np.bincount(model[free], minlength=models)
    reporting = np.bincount(model, minlength=models)

    def mean_spare(values: FloatArray, full: float) -> FloatArray:
        total = np.bincount(model[free], weights=full - values[free], minlength=models)
        return np.divide(total, number, out=np.zeros(models), where=number > 0)

    def spare_after_removal(spare: FloatArray, full: float) -> FloatArray:
        return full - (full - spare) * number / np.maximum(number - 1, 1)

    spare_kv = mean_spare(kv, limits.full_kv_ratio)
    spare_queue = mean_spare(queue, limits.full_queue_requests)
    kv_after = spare_after_removal(spare_kv, limits.full_kv_ratio)
    queue_after = spare_after_removal(spare_queue, limits.full_queue_requests)
    low = (spare_kv < limits.spare_kv_ratio - _ROUNDING) | (
        spare_queue < limits.spare_queue_requests - _ROUNDING
    )
    safe = (kv_after >= limits.spare_kv_ratio - _ROUNDING) & (
        queue_after >= limits.spare_queue_requests - _ROUNDING
    )
    return SpareCapacity(
        reporting=reporting,
        not_saturated=number,
        mean_spare_kv_ratio=spare_kv,
        mean_spare_queue_requests=spare_queue,
        scale_up=low & (reporting > 0),
        scale_down_safe=safe & (number >= 2),
    )


def paper_targets(
    replicas: ReplicaTable,
    variants: VariantTable,
    *,
    models: int,
    previous: IntArray,
    every_replica_reports: bool = False,
    limits: SaturationLimits = DEFAULT_LIMITS,
) -> PaperPlan:
    """Return the law's replica counts.

    Parameters
    ----------
    replicas : ReplicaTable
    variants : VariantTable, V rows
        In the order of their names, which breaks ties: the first of the cheapest grows,
        the last of the dearest shrinks.
    models : int
        Number of models.
    previous : array of int, shape (V,)
        Counts that the law asked for last; 0: never.
    every_replica_reports : bool
        Take a number of reporting replicas other than the current count for a
        transition (the first published form); else replicas that aren't ready are one
        (the later form, which engines of several pods per replica need).
    limits : SaturationLimits

    Returns
    -------
    PaperPlan
    """
    model, current = variants.model, variants.current_replicas
    spare = spare_capacity(
        kv_usage_ratio=replicas.kv_usage_ratio,
        waiting_requests=replicas.waiting_requests,
        model=model[replicas.variant],
        models=models,
        limits=limits,
    )
    asked = (previous != 0) & (previous != current)
    if every_replica_reports:
        heard = np.bincount(replicas.variant, minlength=len(variants))
        unsettled = heard != current
    else:
        unsettled = variants.ready_replicas < current
    silent = spare.reporting == 0
    blocked = _any_of(model, asked | unsettled, models)
    up = spare.scale_up & ~blocked & ~silent
    down = spare.scale_down_safe & ~spare.scale_up & ~blocked & ~silent
    cost = variants.cost_per_hour
    grows = _first_of_each(model, cost, (current < variants.max_replicas) & up[model])
    floor = np.maximum(variants.min_replicas, 1)
    shrinks = _first_of_each(model[::-1], -cost[::-1], ((current > floor) & down[model])[::-1])[
        ::-1
    ]
    kept = np.where(asked & blocked[model], previous, current)
    reason = np.select(
        [silent[model], blocked[model], grows, shrinks],
        [
            PaperReason.NO_DATA,
            PaperReason.TRANSITION,
            PaperReason.SPARE_LOW,
            PaperReason.SPARE_HIGH,
        ],
        PaperReason.STEADY,
    )
    return PaperPlan(
        replicas=kept + grows.astype(np.int64) - shrinks.astype(np.int64),
        reason=reason.astype(np.int64),
    )


def _any_of(model: IntArray, flags: BoolArray, models: int) -> BoolArray:
    return np.bincount(model[flags], minlength=models) > 0


def _first_of_each(model: IntArray, key: FloatArray, eligible: BoolArray) -> BoolArray:
    """Mark, for each model, the eligible row with the smallest key, the first of equals."""
    rows = np.flatnonzero(eligible)
    order = rows[np.lexsort((rows, key[rows], model[rows]))]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = model[order][1:] != model[order][:-1]
    chosen = np.zeros(len(model), dtype=np.bool_)
    chosen[order[first]] = True
    return chosen
