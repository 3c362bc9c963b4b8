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

    Behind SEPARATE Services nothing moves from one variant to another, so each is decided for
    what arrives at itself; so is one that is kept out of moves, as a canary, and what arrives at
    the others of its model is the rest. One that takes over is decided for what arrives at the
    variant before it, on top of what it has already. What waits at a router waits for the rest,
    or for those that have no replica, if there are any.
    """
    table = request.routing
    if table is None:
        return request
    follows = table.takes_over >= 0
    own = np.flatnonzero((table.law == Law.SEPARATE) | follows)
    if len(own) == 0:
        return request
    model, count = request.variants.model, len(request.model_names)
    alone = np.bincount(model[own], minlength=count) == np.bincount(model, minlength=count)
    alone &= np.bincount(model[own], minlength=count) > 0
    joined = np.flatnonzero(~alone)
    origin, mine = np.concatenate([joined, model[own]]), slice(len(joined), None)
    place = np.full(count, -1)
    place[joined] = np.arange(len(joined))
    row = place[model]
    row[own] = len(joined) + np.arange(len(own))
    models = request.models.take(origin)
    arriving, waiting = models.arrival_rate_rps.copy(), models.router_queue_requests.copy()
    part = _parts(request, table)
    taken = np.bincount(model[own], weights=np.nan_to_num(part[own]), minlength=count)
    arriving[: len(joined)] *= np.clip(1.0 - taken[joined], 0.0, 1.0)
    at_each = request.models.arrival_rate_rps[model] * part
    old = at_each[table.takes_over]
    arriving[mine] = np.where(follows, np.nan_to_num(at_each) + old, at_each)[own]
    waiting[mine] *= np.where(alone[model], _waiting_parts(request), 0.0)[own]
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


def _parts(request: PlanRequest, table: RoutingTable) -> FloatArray:
    """Return each variant's part of its model's requests, by what was read, else by counts.

    NaN: it has ready replicas, and nobody heard of it.
    """
    model, there = request.variants.model, request.variants.ready_replicas
    heard = (np.bincount(model, weights=np.isfinite(table.arriving_rps)) > 0)[model]
    values = np.where(heard, table.arriving_rps, np.maximum(there, 1.0))
    return _of_model(model, np.where(heard & (there == 0), 0.0, values))


def _waiting_parts(request: PlanRequest) -> FloatArray:
    """Return each variant's part of what waits, where all of a model are apart."""
    model, absent = request.variants.model, request.variants.current_replicas == 0
    some = (np.bincount(model, weights=absent) > 0)[model]
    return _of_model(model, np.where(some, absent, True).astype(np.float64))


def _of_model(model: IntArray, values: FloatArray) -> FloatArray:
    """Return the share of each in the known values of its model; equal ones of nothing."""
    total = np.bincount(model, weights=np.nan_to_num(values))[model]
    equal = 1.0 / np.bincount(model)[model]
    return np.where(total == 0.0, equal, values / np.where(total == 0.0, 1.0, total))
