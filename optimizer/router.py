"""What is known of a router: the law it follows, as declared or as traffic shows it. Pure columns.

Behind some routers every replica gets the same number of requests, however slow it is; behind
others the same number in flight, so that a fast one gets more. With unequal variants the two
differ in what must be bought, and readings tell them apart: per replica, either the arrival
rates are even among a model's variants, or the requests in flight are.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray, rows_of

__all__ = ["Basis", "Law", "RouterState", "RoutingTable", "observe_routing"]

# What was seen counts for as long as this. [s]
MEMORY_S = 120.0
# With fewer requests in flight than this a replica has nothing to balance.
FEWEST_IN_FLIGHT = 3.0
# Variants nearer to each other than this factor can't tell one law from another.
LEAST_SPREAD = np.log(1.25)
# One of two unevennesses is the smaller beyond doubt below this share of the other.
CLEARLY = 0.7


class Law(IntEnum):
    """How the requests of a model come to its variants."""

    LEARNED = 0  # as their shares show
    EQUAL_PER_REPLICA = 1  # each replica gets as many, whatever it can do
    LEAST_LOADED = 2  # to who has least to do: by capacity, once there is much to do
    WEIGHTED = 3  # each replica by its weight
    SEPARATE = 4  # each variant has requests of its own, which no other can take


class Basis(IntEnum):
    """What a law is taken for."""

    ASSUMED = 0  # nothing shows another one yet
    DECLARED = 1
    MEASURED = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingTable(Columns):
    """One row per variant.

    Attributes
    ----------
    law : ndarray of int
        The `Law` of the variant's model; SEPARATE, too, of one that is kept out of moves.
    weight : ndarray
        Of one replica, as the router was told; NaN: it follows the traffic that plans assume.
    arriving_rps : ndarray
        At all replicas of the variant; NaN: not known. [requests/s]
    arriving_each_rps : ndarray
        At one replica that was there all the while; NaN: not known. [requests/s]
    takes_over : ndarray of int
        Row of the variant whose requests it is to serve soon; -1: of none.
    """

    law: IntArray
    weight: FloatArray
    arriving_rps: FloatArray
    arriving_each_rps: FloatArray
    takes_over: IntArray

    @classmethod
    def of(
        cls,
        law: IntArray,
        *,
        weight: FloatArray | None = None,
        takes_over: IntArray | None = None,
    ) -> "RoutingTable":
        """Return the table of variants at which nothing was seen to arrive."""
        unknown = np.full(len(law), np.nan)
        return cls(
            law=law,
            weight=unknown if weight is None else weight,
            arriving_rps=unknown,
            arriving_each_rps=unknown,
            takes_over=np.full(len(law), -1) if takes_over is None else takes_over,
        )

    def reordered(self, order: IntArray) -> "RoutingTable":
        """Return the table in which row i is what row `order[i]` was."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        rows = self.take(order)
        follows = np.where(rows.takes_over >= 0, place[rows.takes_over], -1)
        return replace(rows, takes_over=follows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouterState:
    """What the variants' shares have shown so far; rows are matched by name.

    Attributes
    ----------
    names : tuple of str, length V
    rate_ratio, in_flight_ratio : ndarray, shape (V,)
        Of one replica, over the mean of its model's variants; NaN: never compared.
    law : ndarray of int, shape (V,)
        The law that they show: LEARNED while they show none.
    """

    names: tuple[str, ...]
    rate_ratio: FloatArray
    in_flight_ratio: FloatArray
    law: IntArray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> "RouterState":
        """Return the state of variants that were never compared."""
        unknown = np.full(len(names), np.nan)
        return cls(
            names=names,
            rate_ratio=unknown,
            in_flight_ratio=unknown.copy(),
            law=np.full(len(names), int(Law.LEARNED)),
        )

    def aligned(self, names: tuple[str, ...]) -> "RouterState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        fresh, rows = self.empty(names), rows_of(names, self.names)
        for name in self.__slots__[1:]:
            getattr(fresh, name)[rows >= 0] = getattr(self, name)[rows[rows >= 0]]
        return fresh


def observe_routing(
    state: RouterState,
    *,
    names: tuple[str, ...],
    rows: IntArray,
    rate_rps: FloatArray,
    in_flight_requests: FloatArray,
    passed_s: float,
) -> RouterState:
    """Return the state after one more look at how variants of a model compare.

    Parameters
    ----------
    state : RouterState
    names : tuple of str, length V
    rows : array of int, shape (V,)
        Whom each variant shares its requests with: variants of one row.
    rate_rps, in_flight_requests : array, shape (V,)
        Of one replica; NaN: not known. [requests/s, requests]
    passed_s : float
        Since the last look; infinite if there was none. [s]

    Returns
    -------
    RouterState

    Notes
    -----
    By Little's law a replica that takes T for a request has λ T of them in flight. Of a pair
    with T ratio t > 1, equal arrivals put t times as many in flight at the slow one, equal
    load gives the fast one t times as many arrivals: log unevenness of arrivals and of load
    add up to log t, and the smaller of the two is the one that the router keeps even.
    """
    before = state.aligned(names)
    busy = (in_flight_requests >= FEWEST_IN_FLIGHT) & (rate_rps > 0)
    busy &= (np.bincount(rows, weights=busy) >= 2)[rows]
    idle = np.bincount(rows, weights=(in_flight_requests < FEWEST_IN_FLIGHT)) > 0
    busy &= ~idle[rows]
    if not busy.any():
        return before
    share = -np.expm1(-passed_s / MEMORY_S) if np.isfinite(passed_s) else 1.0
    rate = _mixed(before.rate_ratio, _over_mean(rows, rate_rps, busy), share)
    load = _mixed(before.in_flight_ratio, _over_mean(rows, in_flight_requests, busy), share)
    of_rate, of_load = (_spread(rows, ratio, busy) for ratio in (rate, load))
    told = busy & (np.maximum(of_rate, of_load) > LEAST_SPREAD)[rows]
    adapts = told & (of_load < CLEARLY * of_rate)[rows]
    even = told & (of_rate < CLEARLY * of_load)[rows]
    equal = even & (of_rate < LEAST_SPREAD)[rows]
    law = np.select(
        [adapts, equal, even],
        [int(Law.LEAST_LOADED), int(Law.EQUAL_PER_REPLICA), int(Law.WEIGHTED)],
        before.law,
    )
    # All variants of a row are behind one router: those that weren't compared, too.
    of_row = np.full(int(rows.max(initial=-1)) + 1, int(Law.LEARNED))
    of_row[rows[told]] = law[told]
    shown = of_row[rows]
    return RouterState(
        names=names,
        rate_ratio=rate,
        in_flight_ratio=load,
        law=np.where(shown != Law.LEARNED, shown, before.law),
    )


def _over_mean(rows: IntArray, values: FloatArray, use: BoolArray) -> FloatArray:
    """Return values over the geometric mean of their row; NaN where they aren't to be used."""
    logs = np.log(np.where(use, values, 1.0))
    number = np.bincount(rows, weights=use)
    mean = np.bincount(rows, weights=logs) / np.maximum(number, 1)
    return np.where(use, np.exp(logs - mean[rows]), np.nan)


def _mixed(before: FloatArray, now: FloatArray, share: float) -> FloatArray:
    """Return the running mean, on logarithms, with what is new in it."""
    first = np.where(np.isnan(before), now, before)
    with np.errstate(invalid="ignore"):
        mixed = np.exp((1.0 - share) * np.log(first) + share * np.log(now))
    return np.where(np.isnan(now), before, mixed)


def _spread(rows: IntArray, ratio: FloatArray, use: BoolArray) -> FloatArray:
    """Return the log of the largest over the smallest ratio of each row; 0: one or none."""
    count = int(rows.max(initial=-1)) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    logs = np.log(ratio[use])
    np.minimum.at(low, rows[use], logs)
    np.maximum.at(high, rows[use], logs)
    return np.where(np.isfinite(low), high - low, 0.0)
