"""Birth-death chains over requests in one replica: a finite part and a geometric tail.

State n counts requests in the system. Up to the last state N rates depend on n; from
there on, while Q more may wait, they don't, and the tail is summed in closed form. All in
logs, for all variants at once: arrays are (V, N + 1), rows padded to the longest.

Textbook M/M(n)/1/K by default. Three extensions keep the flow in balance: `variability`
stretches the waits behind a full batch as more (or less) variable work does, `joined`
lets arrivals wait behind others of their own burst, and a caller may give any ratios of
neighboring probabilities.
"""

from dataclasses import dataclass

import numpy as np

from .domain import Columns, FloatArray, HalfWidthArray, IntArray

__all__ = ["Chain", "Stationary", "birth_death", "probabilities", "stationary"]

# Where the tail's ratio is this close to 1, sums over it are replaced by their limits.
_FLAT = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """One chain per variant.

    Attributes
    ----------
    log_step : ndarray, shape (V, N)
        log(p(n + 1) / p(n)), n = 0..N-1; -inf beyond a row's last state. Given in half
        width, probabilities are good to a millionth and take half the time.
    in_service : ndarray, shape (V, N + 1) or (1, N + 1)
        Requests in service in state n, on average; the others wait.
    must_wait : ndarray, shape (V, N + 1)
        Probability that an arrival in state n has to wait.
    joined : ndarray, shape (V, N + 1), or (V, 0) where arrivals come one by one
        Probability that it finds a slot in state n, but others of its burst take it first.
    last : ndarray of int, shape (V,)
        Each row's last state before the tail, >= 1.
    arrival_rate_rps : ndarray, shape (V,), > 0
        λ. [requests/s]
    full_rate_rps : ndarray, shape (V,), > 0
        Service rate in the tail, μ. [requests/s]
    queue_limit : ndarray, shape (V,), >= 0
        Q, the length of the tail.
    variability : ndarray, shape (V,), > 0
        φ; 1: the tail falls by λ/μ per state.
    """

    log_step: FloatArray | HalfWidthArray
    in_service: FloatArray
    must_wait: FloatArray
    joined: FloatArray
    last: IntArray
    arrival_rate_rps: FloatArray
    full_rate_rps: FloatArray
    queue_limit: FloatArray
    variability: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stationary(Columns):
    """Averages of the stationary chain; waits are those of accepted arrivals.

    Arrivals see what time averages show, and the others of their burst.

    Attributes
    ----------
    idle_ratio, blocking_ratio : ndarray
        Probability of an empty system, and of an arrival finding it full.
    throughput_rps : ndarray
        [requests/s]
    mean_in_service, in_service_variance, in_service_third : ndarray
        Mean and central moments of requests in service.
    mean_queue_length : ndarray
        Requests that wait.
    waiting_ratio : ndarray
        Share of accepted requests that wait.
    mean_wait_s : ndarray
        Mean wait of accepted requests, those who don't wait included. [s]
    wait_slope : ndarray
        Slope of the wait of those who wait, as in `tails.CutExponential`: the number
        ahead is geometric, cut at the queue's length.
    """

    idle_ratio: FloatArray
    blocking_ratio: FloatArray
    throughput_rps: FloatArray
    mean_in_service: FloatArray
    in_service_variance: FloatArray
    in_service_third: FloatArray
    mean_queue_length: FloatArray
    waiting_ratio: FloatArray
    mean_wait_s: FloatArray
    wait_slope: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tail(Columns):
    """States N + j, j = 1..Q: log of their weight over p(N), mean of j, Q times log r."""

    log_weight: FloatArray
    mean: FloatArray
    slope: FloatArray


def birth_death(
    arrival_rate_rps: FloatArray,
    service_rate_rps: FloatArray,
    *,
    last: IntArray,
    queue_limit: FloatArray,
) -> Chain:
    """Return the M/M(n)/1/K chain with K = `last` + `queue_limit`.

    Parameters
    ----------
    arrival_rate_rps : array, shape (V,), > 0
        [requests/s]
    service_rate_rps : array, shape (V, N), > 0
        Service rate of the system with n = 1..N in it; beyond a row's last state unused.
        [requests/s]
    last : array of int, shape (V,), 1 <= last <= N
        State from which on the service rate stays and arrivals wait.
    queue_limit : array, shape (V,), >= 0
        States beyond `last`.
    """
    sizes = np.arange(service_rate_rps.shape[1] + 1)
    ratio = arrival_rate_rps[:, None] / service_rate_rps
    beyond = sizes[None, 1:] > last[:, None]
    return Chain(
        log_step=np.where(beyond, -np.inf, np.log(ratio)),
        in_service=sizes[None, :].astype(np.float64),
        must_wait=(sizes[None, :] >= last[:, None]).astype(np.float64),
        joined=np.empty((len(last), 0)),
        last=last,
        arrival_rate_rps=arrival_rate_rps,
        full_rate_rps=np.take_along_axis(service_rate_rps, last[:, None] - 1, 1)[:, 0],
        queue_limit=queue_limit,
        variability=np.ones(len(last)),
    )


def probabilities(chain: Chain) -> tuple[FloatArray, FloatArray]:
    """Return p(n) for n = 0..N, shape (V, N + 1), and the tail's weight, shape (V,)."""
    weights, tail = _weights(chain, _tail(chain))
    total = weights.sum(axis=1) + tail
    return weights / total[:, None], tail / total


def stationary(chain: Chain) -> Stationary:
    """Return the averages of the stationary chain.

    Parameters
    ----------
    chain : Chain, V rows

    Returns
    -------
    Stationary
        Finite for any arrival rate: overload shows as blocking and a full queue.

    Notes
    -----
    With ρ = λ/μ and r = ρ^(1/φ), the tail is p(N + j) = p(N) ρ (1 - r) / (1 - ρ) r^(j-1).
    Its weight is what an M/M/1 tail has, so that μ carries what λ brings: what crosses
    from below is λ P(n < N), what the tail gives back is μ P(n > N), and together they are
    the throughput. Where bursts join the queue from below N, X of them, the tail has
    (p(N) + X) / p(N) times that weight, and λ X less crosses into N.
    """
    tail = _tail(chain)
    weights, tail_weight = _weights(chain, tail)
    joined = _joined(chain, weights)
    tail_weight = tail_weight + _more(joined, tail.log_weight)
    total = weights.sum(axis=1) + tail_weight
    mean, variance, third, waiting_below, served = _moments(chain, weights, tail_weight, total)
    tail_share = tail_weight / total
    at_last = np.take_along_axis(weights, chain.last[:, None], 1)[:, 0] / total
    joined /= total
    below = np.maximum(1.0 - at_last - tail_share - joined, 0.0)
    throughput = chain.arrival_rate_rps * below + chain.full_rate_rps * tail_share
    throughput = np.maximum(throughput, np.finfo(np.float64).tiny)
    blocking = np.clip(1.0 - throughput / chain.arrival_rate_rps, 0.0, 1.0)
    queued = served + tail_share * (chain.last - _at_last(chain) + tail.mean)
    accepted = np.maximum(1.0 - blocking, np.finfo(np.float64).tiny)
    waiting = np.clip((waiting_below + joined + tail_share - blocking) / accepted, 0.0, 1.0)
    return Stationary(
        idle_ratio=weights[:, 0] / total,
        blocking_ratio=blocking,
        throughput_rps=throughput,
        mean_in_service=mean,
        in_service_variance=variance,
        in_service_third=third,
        mean_queue_length=queued,
        waiting_ratio=waiting,
        mean_wait_s=queued / throughput,
        wait_slope=tail.slope,
    )


def _weights(chain: Chain, tail: _Tail) -> tuple[FloatArray, FloatArray]:
    """Return p(n) for n = 0..N and the tail's sum, up to one factor per row."""
    count = len(chain.last)
    log_weights = np.empty((count, chain.log_step.shape[1] + 1))
    log_weights[:, 0] = 0.0
    np.cumsum(chain.log_step, axis=1, dtype=np.float64, out=log_weights[:, 1:])
    at_last = np.take_along_axis(log_weights, chain.last[:, None], 1)[:, 0]
    log_tail = at_last + tail.log_weight
    largest = np.maximum(log_weights.max(axis=1), log_tail)
    log_weights -= largest[:, None]
    with np.errstate(under="ignore"):
        weights = np.exp(log_weights.astype(chain.log_step.dtype)).astype(np.float64, copy=False)
        return weights, np.exp(log_tail - largest)


def _joined(chain: Chain, weights: FloatArray) -> FloatArray:
    """Return the weight of states below N times what joins the queue from there, shape (V,)."""
    if chain.joined.shape[1] == 0:
        return np.zeros(len(weights))
    return np.asarray(np.einsum("vn,vn->v", weights, chain.joined))


def _more(joined: FloatArray, log_weight: FloatArray) -> FloatArray:
    """Return the tail's weight for what joins it from below N."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.asarray(np.exp(np.log(joined) + log_weight))


def _moments(
    chain: Chain, weights: FloatArray, tail_weight: FloatArray, total: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return in-service mean, variance, third; waiting and queue length up to state N."""
    served = chain.in_service
    sizes = np.arange(weights.shape[1], dtype=np.float64)
    share = weights / total[:, None]
    tail_share, full = tail_weight / total, _at_last(chain)
    if len(served) == 1:
        first, second, third = (share @ np.stack([served[0] ** k for k in (1, 2, 3)], axis=1)).T
        queued = share @ (sizes - served[0])
    else:
        weighted = share * served
        first = weighted.sum(axis=1)
        second = np.einsum("vn,vn->v", weighted, served)
        third = np.einsum("vn,vn,vn->v", weighted, served, served)
        queued = np.einsum("vn,vn->v", share, sizes - served)
    mean = first + tail_share * full
    second, third = second + tail_share * full**2, third + tail_share * full**3
    variance = np.maximum(second - mean**2, 0.0)
    central = third - 3.0 * mean * second + 2.0 * mean**3
    waiting = np.einsum("vn,vn->v", share, chain.must_wait)
    return mean, variance, central, waiting, queued


def _at_last(chain: Chain) -> FloatArray:
    """Return the requests in service in each row's last state."""
    if len(chain.in_service) == 1:
        at_last: FloatArray = chain.in_service[0][chain.last]
        return at_last
    return np.take_along_axis(chain.in_service, chain.last[:, None], 1)[:, 0]


def _tail(chain: Chain) -> _Tail:
    """Sum the geometric tail; in an overload from its far end, so that nothing overflows."""
    log_rho = np.log(chain.arrival_rate_rps / chain.full_rate_rps)
    x = log_rho / chain.variability
    length, down = chain.queue_limit, -np.abs(x)
    with np.errstate(all="ignore"):
        # ρ (1 - r) / (1 - ρ), 1/φ where ρ is 1.
        entry = np.where(log_rho == 0.0, 1.0 / chain.variability, np.expm1(x) / np.expm1(log_rho))
        total = np.where(down == 0.0, length, np.expm1(length * down) / np.expm1(down))
        log_weight = log_rho + np.log(entry * total) + np.where(x > 0.0, (length - 1.0) * x, 0.0)
    near_end = _mean_place(down, length, total)
    mean = np.where(x > 0.0, length + 1.0 - near_end, near_end)
    some = length > 0.0
    return _Tail(
        log_weight=np.where(some, log_weight, -np.inf),
        mean=np.where(some, mean, 1.0),
        slope=np.where(some, length * x, 0.0),
    )


def _mean_place(x: FloatArray, length: FloatArray, total: FloatArray) -> FloatArray:
    """Return the mean of j = 1..`length` with weights exp(x j), x <= 0."""
    flat = (length + 1.0) / 2.0 + x * (length**2 - 1.0) / 12.0
    with np.errstate(all="ignore"):
        steep = (length * np.exp(length * x) - total) / np.expm1(x) / total
    return np.where(-x * length < _FLAT, flat, steep)
