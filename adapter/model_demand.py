"""What arrives for each model, where some replicas are silent. Pure.

Policy for what is missing (design 4.3):

* Demand belongs to a model. It is the router's or gateway's count where there is one,
  else the sum over replicas that report.
* A ready replica that has fallen silent counts with its last rate; one that never
  reported counts with nothing. Imputing never lifts the total above the last complete
  one (or above what is reported, if that is more).
* What replicas took that are gone, or weren't read yet, counts apart (moved_demand.py).
* A model without any replica has no engine that admits requests: its rate is 0, and what
  the router holds back for it counts as its queue.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optimizer import BoolArray, FloatArray, IntArray, aligned, rows_of

from .analysis_memory import Memory
from .catalog import Catalog
from .demand import replica_offered_rate_rps
from .moved_demand import Moved, moved_rps, with_departed, with_newcomers
from .records import Readings, Reason, Snapshot
from .reporting import Reporting

__all__ = ["CountedDemand", "counted_demand", "model_signal", "offered_rate"]


def offered_rate(snapshot: Snapshot, model: IntArray, models: int) -> Readings:
    """Return each replica's part of the rate offered over the model's window. [requests/s]

    A replica that appeared in mid-window was watched for a part of it only: its own rate
    counts with that part, or requests that moved to it would be counted twice, here and
    in what the older replicas did before it came.
    """
    signals = snapshot.replica
    rate = replica_offered_rate_rps(
        arrivals=signals["arrival_rate_rps"],
        completions=signals["completion_rate_rps"],
        inflight_slope=signals["inflight_slope_rps"],
        rejections=signals["rejection_rate_rps"],
    )
    watched_s = signals["observed_s"].values
    longest_s = np.zeros(models)
    np.fmax.at(longest_s, model, watched_s)
    part = np.divide(
        watched_s, longest_s[model], out=np.ones_like(watched_s), where=longest_s[model] > 0
    )
    return Readings(rate.values * np.where(np.isnan(part), 1.0, part), rate.reasons)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountedDemand:
    """What arrives for each model, and what stands in for replicas that fell silent."""

    total_rps: FloatArray
    complete_rps: FloatArray
    replica_rate_rps: Mapping[str, float]
    replica_model: Mapping[str, str]
    moved: Moved
    counted: Readings  # per replica: its own rate, or the last one in its place


def counted_demand(
    snapshot: Snapshot,
    replicas: Reporting,
    rate: Readings,
    memory: Memory,
    catalog: Catalog,
    *,
    window_s: float,
) -> CountedDemand:
    """Return the demand of each model, given each replica's part of it over the window."""
    models = len(catalog.models)
    model_of_replica = catalog.variant_model[replicas.variant]
    reporting = replicas.heard & rate.present
    silent = replicas.ready & ~reporting
    last = memory.replica_rate_rps
    imputed = np.array(
        [
            last.get(name, 0.0) if out else 0.0
            for name, out in zip(snapshot.replica_id, silent, strict=True)
        ]
        if silent.any()
        else np.zeros(len(silent))
    )

    def per_model(values: FloatArray, where: BoolArray) -> FloatArray:
        index = model_of_replica[where]
        return np.bincount(index, weights=values[where], minlength=models).astype(np.float64)

    reported = per_model(rate.values, reporting)
    previous = aligned(memory.complete_rps, rows_of(catalog.model_names, memory.model_names))
    guess = np.minimum(reported + per_model(imputed, silent), np.fmax(previous, reported))
    partial = np.bincount(model_of_replica[silent], minlength=models) > 0
    total = np.where(partial, np.where(np.isnan(previous), reported, guess), reported)
    anyone = np.bincount(model_of_replica[reporting], minlength=models) > 0
    moved = _moved(snapshot, replicas, rate, memory, catalog, window_s=window_s)
    now_s = snapshot.taken_s
    total = total + moved_rps(moved, catalog.model_names, now_s=now_s, window_s=window_s)
    known = np.where(anyone | _at_zero(snapshot, catalog), total, np.nan)
    offered = model_signal(snapshot, "offered_rate_rps")
    turned_away = np.nan_to_num(model_signal(snapshot, "router_rejection_rate_rps"))
    # The router's count already holds what it turned away; without it, its refusals are added.
    total_rps = np.where(np.isfinite(offered), offered, known + turned_away)
    names = np.array(snapshot.replica_id, dtype=object)
    rates = {n: last[n] for n in names[silent] if n in last}
    rates.update(zip(names[reporting], rate.values[reporting].tolist(), strict=True))
    return CountedDemand(
        total_rps=total_rps,
        complete_rps=np.where(anyone & ~partial, reported, previous),
        replica_rate_rps=rates,
        replica_model=_models_of(snapshot, model_of_replica, catalog, rates),
        moved=moved,
        counted=Readings.of(np.where(silent, imputed, np.where(reporting, rate.values, np.nan))),
    )


def _moved(
    snapshot: Snapshot,
    replicas: Reporting,
    rate: Readings,
    memory: Memory,
    catalog: Catalog,
    *,
    window_s: float,
) -> Moved:
    """Return the window's requests that no replica's own window holds."""
    now_s = snapshot.taken_s
    if not now_s - memory.read_s < window_s:
        return Moved.nothing()  # whoever came or went did so at some other time
    moved = with_departed(
        memory.moved.within(now_s, window_s),
        memory.replica_rate_rps,
        memory.replica_model,
        snapshot.replica_id,
        now_s=now_s,
    )
    signals, known = snapshot.replica, memory.replica_rate_rps
    first = replicas.fresh & (rate.reasons == Reason.ONE_SCRAPE)
    new = first & np.array([name not in known for name in snapshot.replica_id], dtype=np.bool_)
    inflight = signals["running_requests"].values + np.nan_to_num(
        signals["waiting_requests"].values
    )
    return with_newcomers(
        moved,
        catalog.variant_model[replicas.variant],
        inflight,
        new,
        catalog.model_names,
        now_s=now_s,
        window_s=window_s,
    )


def _models_of(
    snapshot: Snapshot, model: IntArray, catalog: Catalog, rates: Mapping[str, float]
) -> dict[str, str]:
    names = catalog.model_names
    return {
        name: names[row]
        for name, row in zip(snapshot.replica_id, model.tolist(), strict=True)
        if name in rates
    }


def _at_zero(snapshot: Snapshot, catalog: Catalog) -> BoolArray:
    """Return which models are known to have no replica: no engine admits anything for them.

    What waits for them is in the router's queue, which is counted beside the rate.
    """
    running = snapshot.current_replicas != 0  # -1: not known
    there = np.bincount(catalog.variant_model[running], minlength=len(catalog.models))
    return np.asarray(there == 0)


def model_signal(snapshot: Snapshot, name: str) -> FloatArray:
    """Return a signal of the models, NaN where nobody gives it."""
    readings = snapshot.model.get(name)
    return readings.values if readings is not None else np.full(len(snapshot.models), np.nan)
