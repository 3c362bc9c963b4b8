"""How a model's requests divide over its variants' replicas, and what those carry by that. Pure.

Behind a router that gives a replica its share w whatever it can do, the variant whose replicas
are the worst for their share is full first, and the model with it. Of counts n,

    capacity = Σ n w min over n > 0 of (rate / w)

where it is Σ n rate behind one that gives each what it can carry.
"""

from dataclasses import dataclass, replace

import numpy as np

from .decision import PlanRequest
from .domain import FloatArray, IntArray
from .roles import role_rows
from .router import Basis, Law, RouterState, RoutingTable, observe_routing

__all__ = ["Routed", "apart", "division", "rates_at", "routed"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routed:
    """The law in force, one entry per variant.

    Attributes
    ----------
    rows : ndarray of int
        Whom a variant shares its requests with: variants of one row.
    law, basis : ndarray of int
        A `Law`, and the `Basis` that it is taken for.
    weight : ndarray
        Share of one replica, against others of the row; NaN: what it can carry.
    state : RouterState
    """

    rows: IntArray
    law: IntArray
    basis: IntArray
    weight: FloatArray
    state: RouterState


def routed(request: PlanRequest) -> Routed:
    """Return the law of each variant's model: as declared, else as its shares show."""
    count, rows = len(request.variant_names), role_rows(request)
    table = request.routing or RoutingTable.of(np.full(count, int(Law.LEARNED)))
    state = observe_routing(
        request.state.router,
        names=request.variant_names,
        rows=rows,
        rate_rps=table.arriving_each_rps,
        in_flight_requests=_in_flight_each(request),
        passed_s=request.now_s - request.state.planned_s,
    )
    learns = table.law == Law.LEARNED
    law = np.where(learns, state.law, table.law)
    basis = np.where(learns, int(Basis.MEASURED), int(Basis.DECLARED))
    basis = np.where(learns & (law == Law.LEARNED), int(Basis.ASSUMED), basis)
    weight = np.where(learns, state.rate_ratio, table.weight)
    # Of a row that has any, who has none counts as one of the mean.
    some = (np.bincount(rows, weights=np.isfinite(weight)) > 0)[rows]
    weight = np.where(np.isfinite(weight), weight, np.where(some, 1.0, np.nan))
    weight = np.where(law == Law.EQUAL_PER_REPLICA, 1.0, weight)
    fixed = (law == Law.EQUAL_PER_REPLICA) | (law == Law.WEIGHTED)
    return Routed(
        rows=rows,
        law=law,
        basis=basis,
        weight=np.where(fixed, weight, np.nan),
        state=state,
    )


def _in_flight_each(request: PlanRequest) -> FloatArray:
    """Return the requests in flight at one replica of each variant; NaN where none reports."""
    seen, count = request.replicas, len(request.variant_names)
    number = np.bincount(seen.variant, minlength=count)
    flying = seen.running_requests + np.nan_to_num(seen.waiting_requests)
    total = np.bincount(seen.variant, weights=flying, minlength=count).astype(np.float64)
    each = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    return np.asarray(each, dtype=np.float64)


def rates_at(router: Routed, rate_rps: FloatArray, counts: IntArray) -> FloatArray:
    """Return what one replica of each variant carries beside the others that run.

    Parameters
    ----------
    router : Routed
    rate_rps : array, shape (V,)
        What it can carry; 0: nothing within its SLO, which then binds nobody. [requests/s]
    counts : array of int, shape (V,)
    """
    rows = router.rows
    fixed = np.isfinite(router.weight) & (rate_rps > 0)
    worst = np.full(int(rows.max(initial=-1)) + 1, np.inf)
    binds = fixed & (counts > 0)
    np.minimum.at(worst, rows[binds], (rate_rps / router.weight)[binds])
    bound = fixed & np.isfinite(worst[rows])
    return np.where(bound, router.weight * np.where(bound, worst[rows], 0.0), rate_rps)


def division(router: Routed, rate_rps: FloatArray, counts: IntArray) -> FloatArray:
    """Return the part of its row's requests that each variant gets, shape (V,)."""
    each = np.where(np.isfinite(router.weight), router.weight, rate_rps)
    mine = counts * each
    total = np.bincount(router.rows, weights=mine)[router.rows]
    return np.divide(mine, total, out=np.zeros_like(mine), where=total > 0)


def apart(request: PlanRequest) -> PlanRequest:
    """Return the request in which a variant that has its own requests is a model of its own.

    Behind SEPARATE Services nothing moves from one variant to another, so each is decided
    for what arrives at itself. What waits at a router waits for those that have no replica,
    if there are any.
    """
    table = request.routing
    if table is None or not (table.law == Law.SEPARATE).any():
        return request
    model = request.variants.model
    own = np.flatnonzero(table.law == Law.SEPARATE)
    joined = np.setdiff1d(np.arange(len(request.model_names)), model[own])
    origin = np.concatenate([joined, model[own]])
    place = np.full(len(request.model_names), -1)
    place[joined] = np.arange(len(joined))
    row = place[model]
    row[own] = len(joined) + np.arange(len(own))
    models = request.models.take(origin)
    mine = slice(len(joined), None)
    arriving, waiting = models.arrival_rate_rps.copy(), models.router_queue_requests.copy()
    there = request.variants.current_replicas
    arriving[mine] *= _own_part(model, own, _arriving(table, there, own))
    absent = (there[own] == 0).astype(np.float64)
    waits = np.where((np.bincount(model[own], weights=absent) > 0)[model[own]], absent, 1.0)
    waiting[mine] *= _own_part(model, own, waits)
    supply = request.supply
    if supply is not None:
        supply = replace(
            supply,
            priority=supply.priority[origin],
            offline=supply.offline[origin],
            deadline_s=supply.deadline_s[origin],
        )
    names = [request.model_names[m] for m in joined]
    names += [f"{request.model_names[model[v]]} at {request.variant_names[v]}" for v in own]
    return replace(
        request,
        model_names=tuple(names),
        variants=replace(request.variants, model=row),
        models=replace(models, arrival_rate_rps=arriving, router_queue_requests=waiting),
        supply=supply,
    )


def _arriving(table: RoutingTable, current: IntArray, own: IntArray) -> FloatArray:
    """Return what arrives at each; of variants of which nothing was read, by their counts."""
    seen = np.where(current[own] > 0, table.arriving_rps[own], 0.0)
    return np.where(np.isnan(table.arriving_rps).all(), np.maximum(current[own], 1.0), seen)


def _own_part(model: IntArray, own: IntArray, values: FloatArray) -> FloatArray:
    """Return the share of each in the values of its model; equal ones where there are none."""
    number = np.bincount(model[own])[model[own]]
    total = np.bincount(model[own], weights=values)[model[own]]
    return np.where(total == 0.0, 1.0 / number, values / np.where(total == 0.0, 1.0, total))
