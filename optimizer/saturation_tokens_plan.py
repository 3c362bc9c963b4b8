"""Replica counts of the published token-based law ("V2"). Pure columns.

Takes capacities and demands of `saturation_tokens`, says how many tokens a model lacks or
has to spare, and gives what is missing to the variant with the cheapest capacity and
takes what is spare from the dearest. It must not improve the law; see there.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import Columns, FloatArray, IntArray
from .saturation_tokens import DEFAULT_THRESHOLDS, TokenThresholds
from .tables import VariantTable

__all__ = ["TokenSignals", "replica_instances", "token_signals", "token_targets", "with_thresholds"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenSignals(Columns):
    """Demand and supply of each model (or role of a model). [tokens]

    `anticipated_tokens` counts replicas that are starting, `supply_tokens` doesn't.
    """

    demand_tokens: FloatArray
    supply_tokens: FloatArray
    anticipated_tokens: FloatArray
    required_tokens: FloatArray
    spare_tokens: FloatArray


def replica_instances(
    *, instances: IntArray, ready_replicas: IntArray, current_replicas: IntArray
) -> tuple[IntArray, IntArray]:
    """Return how many engine instances run and how many are coming, per variant.

    A pod may hold several engines (data-parallel ranks): what was scraped is counted, and
    a replica that starts will bring as many as a ready one has.
    """
    each = np.where(ready_replicas > 0, instances // np.maximum(ready_replicas, 1), 1)
    pending = np.maximum(current_replicas - ready_replicas, 0)
    return instances, pending * np.maximum(each, 1)


def token_signals(
    *,
    model: IntArray,
    models: int,
    capacity_tokens: FloatArray,
    running: IntArray,
    pending: IntArray,
    demand_tokens: FloatArray,
    queue_tokens: FloatArray,
    thresholds: TokenThresholds = DEFAULT_THRESHOLDS,
) -> TokenSignals:
    """Return each model's demand, supply, and what is missing or spare.

    Parameters
    ----------
    model : array of int, shape (V,)
    models : int
        Number of models, M.
    capacity_tokens : array, shape (V,)
        Capacity of one instance. [tokens]
    running, pending : array of int, shape (V,)
        Instances, from `replica_instances`.
    demand_tokens : array, shape (V,)
        Summed over the variant's replicas. [tokens]
    queue_tokens : array, shape (M,)
        Waiting at the router. [tokens]
    thresholds : TokenThresholds
    """

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(model, weights=values, minlength=models).astype(np.float64)

    signals = TokenSignals(
        demand_tokens=total(demand_tokens) + queue_tokens,
        supply_tokens=total(running * capacity_tokens),
        anticipated_tokens=total((running + pending) * capacity_tokens),
        required_tokens=np.zeros(models),
        spare_tokens=np.zeros(models),
    )
    return with_thresholds(signals, thresholds)


def with_thresholds(signals: TokenSignals, thresholds: TokenThresholds) -> TokenSignals:
    """Return the signals with what is missing and what is spare under `thresholds`.

    required = max(0, demand / up - anticipated), spare = max(0, supply - demand / down).
    A threshold that isn't positive leaves its figure as it was.
    """
    up, down = thresholds.scale_up_ratio, thresholds.scale_down_ratio
    required, spare = signals.required_tokens, signals.spare_tokens
    if up > 0:
        required = np.maximum(signals.demand_tokens / up - signals.anticipated_tokens, 0.0)
    if down > 0:
        spare = np.maximum(signals.supply_tokens - signals.demand_tokens / down, 0.0)
    # Thresholds are decimal fractions: a token's billionth is rounding, not a need.
    required = np.where(required > _ROUNDING * signals.demand_tokens, required, 0.0)
    spare = np.where(spare > _ROUNDING * signals.demand_tokens, spare, 0.0)
    return replace(signals, required_tokens=required, spare_tokens=spare)


def token_targets(
    signals: TokenSignals, variants: VariantTable, *, capacity_tokens: FloatArray
) -> IntArray:
    """Return the law's replica counts.

    Parameters
    ----------
    signals : TokenSignals, one row per model
    variants : VariantTable, V rows
        In the order of their names, which breaks ties.
    capacity_tokens : array, shape (V,)
        Capacity of one replica; 0: the variant takes no part. [tokens]

    Returns
    -------
    ndarray of int, shape (V,)
        The variant with the cheapest capacity takes ceil(missing / capacity), as far as
        its maximum allows, the next one the rest. The dearest gives back
        floor(spare / capacity), down to its minimum; the model's last replica stays.
    """
    model, current = variants.model, variants.current_replicas
    usable = capacity_tokens > 0
    price = np.divide(
        variants.cost_per_hour,
        capacity_tokens,
        out=np.full(len(variants), np.inf),
        where=usable,
    )
    counts = current.copy()
    missing, spare = signals.required_tokens.copy(), signals.spare_tokens.copy()
    left = np.bincount(model, weights=current, minlength=len(signals))
    for rows in _ranks(model, price):
        mine = rows[usable[rows]]
        size = capacity_tokens[mine]
        room = np.maximum(variants.max_replicas - current, 0)[mine]
        more = np.minimum(np.ceil(missing[model[mine]] / size - _ROUNDING), room)
        counts[mine] += more.astype(np.int64)
        missing[model[mine]] = np.maximum(missing[model[mine]] - more * size, 0.0)
    for rows in _ranks(model, -variants.cost_per_hour):
        mine = rows[usable[rows]]
        size = capacity_tokens[mine]
        room = np.minimum(current - variants.min_replicas, current)[mine]
        room = np.minimum(room, left[model[mine]] - 1)
        less = np.clip(np.floor(spare[model[mine]] / size + _ROUNDING), 0, np.maximum(room, 0))
        counts[mine] -= less.astype(np.int64)
        spare[model[mine]] -= less * size
        left[model[mine]] -= less
    return counts


def _ranks(model: IntArray, key: FloatArray) -> list[IntArray]:
    """Return the rows with the smallest key of each model, then the second, and so on.

    The loop over them is as long as a model has variants, not as there are models.
    """
    order = np.lexsort((np.arange(len(model)), key, model))
    start = np.searchsorted(model[order], model[order])
    rank = np.arange(len(order)) - start
    return [order[rank == step] for step in range(int(rank.max(initial=-1)) + 1)]
