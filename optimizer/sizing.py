"""How much one replica carries within its SLO, and how many replicas a demand needs.

For each target, the largest arrival rate at which the predicted latency still meets it;
the smallest of those and the stability margin is what a replica is good for. A target
that even an idle replica misses is a status with a name, not an exception.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .domain import (
    BoolArray,
    Columns,
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    SloTargets,
    Workloads,
)
from .errors import InvalidInputError
from .latency import Block, Latencies, blocks, latencies
from .rootfind import RootStatus, find_roots
from .validate import check_bounds, check_rate, known_rows

__all__ = [
    "Excess",
    "Sizing",
    "SizingBound",
    "SizingStatus",
    "largest_arrival_rate",
    "largest_rates",
    "replicas_for",
]

# Where latencies are looked at first, as shares of the largest rate: nearly idle, on the
# plain, before the knee. Each evaluation serves all targets.
_FIRST_LOOKS = (1e-3, 0.5, 0.85, 1.0)
# Relative accuracy of a rate.
_TOLERANCE = 1e-4

Excess = Callable[[FloatArray, IntArray], tuple[FloatArray, ...]]


class SizingStatus(IntEnum):
    """Whether one replica can hold its targets at any rate."""

    OK = 0
    INFEASIBLE_TTFT = 1
    INFEASIBLE_ITL = 2
    UNKNOWN = 3  # an input is not known
    INFEASIBLE_MEMORY = 4  # the KV cache doesn't hold one request of mean length
    INFEASIBLE_THROUGHPUT = 5  # fewer tokens per second than asked for


class SizingBound(IntEnum):
    """What sets the rate of a replica."""

    NONE = 0  # nothing does: the status says why
    TTFT = 1
    ITL = 2
    STABILITY = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sizing(Columns):
    """Largest arrival rates of one replica per variant; NaN where an input is unknown.

    Attributes
    ----------
    rate_rps : ndarray
        Within all targets and the stability margin; 0 where infeasible. [requests/s]
    ttft_rate_rps, itl_rate_rps : ndarray
        Within each target alone, at most `stable_rps`; 0 where infeasible. [requests/s]
    stable_rps : ndarray
        Service rate of a full batch, less the margin. [requests/s]
    status : ndarray of int
        A `SizingStatus`.
    bound : ndarray of int
        A `SizingBound`.
    memory_bound : ndarray of bool
        Whether KV memory, not the batch limit, bounds the requests in service.
    """

    rate_rps: FloatArray
    ttft_rate_rps: FloatArray
    itl_rate_rps: FloatArray
    stable_rps: FloatArray
    status: IntArray
    bound: IntArray
    memory_bound: BoolArray


def largest_arrival_rate(
    profiles: ServiceProfiles,
    workloads: Workloads,
    limits: EngineLimits,
    targets: SloTargets,
    *,
    stability_margin_ratio: float,
    dispersion: FloatArray | None = None,
) -> Sizing:
    """Return the largest rate at which one replica of each variant meets its targets.

    Parameters
    ----------
    profiles : ServiceProfiles, V rows
    workloads : Workloads, V rows
    limits : EngineLimits, V rows
    targets : SloTargets, V rows
        On means where `percentile_ratio` is 0.
    stability_margin_ratio : float, in [0, 1)
        Share of the full service rate that is never planned with.
    dispersion : array, shape (V,), >= 1, optional
        Index of dispersion of what arrives at one replica; absent: 1, Poisson.

    Returns
    -------
    Sizing

    Raises
    ------
    InvalidInputError
        If a known number is out of its bounds.
    """
    if not 0.0 <= stability_margin_ratio < 1.0:
        raise InvalidInputError(
            f"stability_margin_ratio is {stability_margin_ratio}; must be in [0, 1)"
        )
    check_bounds(profiles, workloads, limits, targets)
    count = len(profiles)
    ttft, itl, stable = (np.full(count, np.nan) for _ in range(3))
    memory_bound, fits = np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
    known = known_rows(profiles, workloads, limits, targets)
    for block in blocks(profiles, workloads, limits, known, dispersion=dispersion):
        rows, replica = block.rows, block.states.replica
        stable[rows] = (1.0 - stability_margin_ratio) * replica.full_rate_rps
        ttft[rows], itl[rows] = largest_rates(
            _excess(block, targets.take(rows)), stable[rows], tolerance=_TOLERANCE
        )
        memory_bound[rows] = replica.memory < replica.walls
        fits[rows] = replica.memory >= 1.0
    return _sizing(
        ttft=np.where(fits, ttft, 0.0),
        itl=np.where(fits, itl, 0.0),
        stable=np.where(fits, stable, 0.0),
        known=known,
        fits=fits,
        memory_bound=memory_bound,
        tokens_needed=targets.throughput_tps / workloads.output_tokens_mean,
    )


def largest_rates(
    excess: Excess, largest: FloatArray, *, tolerance: float
) -> tuple[FloatArray, ...]:
    """Return, per target, the largest rate up to `largest` at which its excess is <= 0.

    Parameters
    ----------
    excess : callable
        Takes rates, shape (K,), and the rows that they belong to, of which some may come
        twice; returns for each target a column that rises with the rate and is positive
        where the target is missed.
    largest : array, shape (V,), > 0
        [requests/s]
    tolerance : float
        Relative accuracy of the rates.

    Returns
    -------
    tuple of ndarray, shape (V,)
        0 where even a nearly idle replica misses the target. [requests/s]
    """
    looks = np.array(_FIRST_LOOKS)[:, None] * largest
    values = _seen(excess, looks)
    targets, count = values.shape[1:]
    row = np.tile(np.arange(count), targets)
    values, looks = values.reshape(len(looks), -1), looks[:, row]

    def of_its_target(rates: FloatArray, pairs: IntArray) -> FloatArray:
        """Return the excess of each pair's target: all are sought at once, in few calls."""
        found = np.stack(excess(rates, row[pairs]))
        return np.asarray(found[pairs // count, np.arange(len(pairs))])

    rates = _crossings(of_its_target, looks=looks, values=values, tolerance=tolerance)
    return tuple(rates.reshape(targets, count))


def _seen(excess: Excess, looks: FloatArray) -> FloatArray:
    """Return the excess of each target at the looks, shape (looks, targets, V).

    From the largest rate down, each only where the one above missed a target: below a rate
    that meets them all there is nothing to learn, and -inf stands for "met". The two largest
    are looked at together, since hardly anything meets its targets at the very edge.
    """
    count = looks.shape[1]
    rows, at = np.arange(count), np.array([len(looks) - 2, len(looks) - 1])
    seen: FloatArray | None = None
    while True:
        found = np.stack(excess(looks[at][:, rows].ravel(), np.tile(rows, len(at))))
        if seen is None:
            seen = np.full((len(looks), len(found), count), -np.inf)
        found = found.reshape(len(found), len(at), len(rows)).transpose(1, 0, 2)
        seen[at[:, None, None], np.arange(found.shape[1])[:, None], rows] = found
        rows = rows[~np.all(found[0] <= 0.0, axis=0)]
        if at[0] == 0 or not rows.size:
            return seen
        at = at[:1] - 1


def _crossings(
    excess: Callable[[FloatArray, IntArray], FloatArray],
    *,
    looks: FloatArray,
    values: FloatArray,
    tolerance: float,
) -> FloatArray:
    """Return the roots between the highest look that meets the target and the next."""
    missed = ~(values <= 0.0)
    upper = np.where(missed.any(axis=0), missed.argmax(axis=0), len(looks) - 1)
    lower, rows = np.maximum(upper - 1, 0), np.arange(looks.shape[1])
    roots = find_roots(
        excess,
        low=looks[lower, rows],
        high=looks[upper, rows],
        low_value=values[lower, rows],
        high_value=values[upper, rows],
        x_tolerance=tolerance,
    )
    return np.where(roots.status == RootStatus.BELOW, 0.0, roots.x)


def replicas_for(demand_rps: FloatArray, rate_rps: FloatArray) -> FloatArray:
    """Return the replicas that carry a demand: NaN where unknown, +inf where none can.

    Parameters
    ----------
    demand_rps : array, shape (V,), >= 0 or NaN
        [requests/s]
    rate_rps : array, shape (V,), >= 0 or NaN
        What one replica carries. [requests/s]

    Returns
    -------
    ndarray of float, shape (V,), whole
    """
    check_rate("demand_rps", demand_rps, len(rate_rps))
    check_rate("rate_rps", rate_rps, len(rate_rps))
    with np.errstate(divide="ignore", invalid="ignore"):
        # A demand that is a multiple of the rate but for rounding needs no further replica.
        needed = np.ceil(demand_rps / rate_rps * (1.0 - 1e-12))
    return np.where(demand_rps == 0.0, np.where(np.isnan(rate_rps), np.nan, 0.0), needed)


def _excess(block: Block, targets: SloTargets) -> Excess:
    """Return how far TTFT and ITL of a block's variants exceed their targets, in logs."""
    ttft_s = targets.ttft_s - block.ttft_constant_s

    def excess(rate_rps: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return by how much each target is missed at these rates."""
        every = len(rows) == len(block.rows) and bool((rows[1:] > rows[:-1]).all())
        part = block if every else block.take(rows)
        found, ratio = latencies(part, rate_rps), targets.percentile_ratio[rows]
        decodes = part.states.work.decode_steps > 0.0
        itl = np.where(decodes, _itl_excess(found, targets.itl_s[rows], ratio), -np.inf)
        return _ttft_excess(found, ttft_s[rows], ratio), itl

    return excess


def _ttft_excess(found: Latencies, target_s: FloatArray, ratio: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log(found.ttft.mean_s / target_s)
        late = found.ttft.survival(np.where(np.isfinite(target_s), target_s, 0.0))
        tail = np.log(late / (1.0 - ratio))
    value = np.where(ratio == 0.0, mean, tail)
    return np.where(target_s <= 0.0, np.inf, np.where(np.isinf(target_s), -np.inf, value))


def _itl_excess(found: Latencies, target_s: FloatArray, ratio: FloatArray) -> FloatArray:
    of_mean = ratio == 0.0
    gap_s = found.itl.quantile(np.where(of_mean, 0.5, ratio))
    if of_mean.any():
        gap_s = np.where(of_mean, found.itl.mean_s, gap_s)
    return np.log(gap_s) - np.log(target_s)


def _sizing(
    *,
    ttft: FloatArray,
    itl: FloatArray,
    stable: FloatArray,
    known: BoolArray,
    fits: BoolArray,
    memory_bound: BoolArray,
    tokens_needed: FloatArray,
) -> Sizing:
    rate = np.minimum(np.minimum(ttft, itl), stable)
    causes = {
        SizingStatus.UNKNOWN: ~known,
        SizingStatus.INFEASIBLE_MEMORY: ~fits,
        SizingStatus.INFEASIBLE_TTFT: ttft <= 0.0,
        SizingStatus.INFEASIBLE_ITL: itl <= 0.0,
        SizingStatus.INFEASIBLE_THROUGHPUT: rate < tokens_needed,
    }
    status = np.select(
        list(causes.values()), [int(s) for s in causes], int(SizingStatus.OK)
    ).astype(np.int64)
    ok = status == SizingStatus.OK
    bounds = {
        SizingBound.NONE: ~ok,
        SizingBound.STABILITY: rate >= stable,
        SizingBound.TTFT: ttft <= itl,
    }
    bound = np.select(list(bounds.values()), [int(b) for b in bounds], int(SizingBound.ITL)).astype(
        np.int64
    )
    return Sizing(
        rate_rps=np.where(ok | ~known, rate, 0.0),
        ttft_rate_rps=ttft,
        itl_rate_rps=itl,
        stable_rps=stable,
        status=status,
        bound=bound,
        memory_bound=memory_bound,
    )
