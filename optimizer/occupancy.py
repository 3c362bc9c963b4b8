"""How many requests a replica has in service, and how many wait: the engine's own chain.

Decoding is processor sharing in the time that prompts leave over. With n requests in
service and prompts arriving at rate λ, iterations last (base + n W / (c + D)) / (1 - λ S)
and requests end at the rate

    μ(n) = n (1 - λ S) / ((c + D) base + n W).

Where the slots are full, prompts start as fast as requests end, and 1 - λ S becomes
1 - μ S: the closed law of `service`. Memory is a random number of slots: each state is a
mixture of both, and in the full part requests are preempted and computed again. Prompts
hold up decoding, so that arrivals act as if clustered (`dispersion`): the chain is one
of geometric batch arrivals, cut at the limit.
"""

from dataclasses import dataclass, replace

import numpy as np

from .concurrency import slots
from .dispersion import clustering, queue_variability
from .domain import (
    BoolArray,
    Columns,
    EngineLimits,
    FloatArray,
    HalfWidthArray,
    IntArray,
    ServiceProfiles,
    Workloads,
)
from .queueing import Chain, Stationary, stationary
from .service import RequestWork, prefill_steps, request_work

__all__ = [
    "Replica",
    "States",
    "build_replica",
    "build_states",
    "build_work",
    "occupancy",
]

# The number of requests that memory holds is followed this many scales beyond its mean.
_SCALES_BEYOND = 5.0
# ... and isn't felt in states this many scales below its mean.
_UNFELT = 30.0
# Least spread of that number, as a share of its mean.
_LEAST_SPREAD = 0.01
# A memory too small for one request is as good as one that never holds two.
_SURELY = 1.0 - 1e-6
_LEAST_STEPS = 1e-6
# Part of a burst that is still there when its later requests arrive.
_BEFORE = 0.7
_MANY = 1e6
# Stands for the service rate of states that a row doesn't have: never entered.
_NEVER = 1e30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replica(Columns):
    """What the chain needs to know of one replica, a column entry per variant.

    Attributes
    ----------
    last : ndarray of int, >= 1
        Last state of the chain with rates of its own.
    walls, memory, memory_scale : ndarray
        As in `concurrency.Slots`, the scale at least a little.
    full_batch : ndarray
        Requests in service in the last state.
    full_rate_rps : ndarray
        Service rate there, preemptions included. [requests/s]
    recompute_s : ndarray
        Work per completed request that preemption repeats in a full memory whose batch
        is small. [s]
    variability : ndarray
        Of the queue, see `dispersion`.
    arrivals : ndarray, >= 1
        Index of dispersion of what arrives at the replica.
    queue_limit : ndarray
        Requests that may wait beside those in service.
    felt : ndarray of bool
        Whether memory bounds any state at all.
    """

    last: IntArray
    walls: FloatArray
    memory: FloatArray
    memory_scale: FloatArray
    full_batch: FloatArray
    full_rate_rps: FloatArray
    recompute_s: FloatArray
    variability: FloatArray
    arrivals: FloatArray
    queue_limit: FloatArray
    felt: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class States:
    """Tables over states n = 0..N of a block of replicas, padded to the longest.

    Those that become logarithms of probabilities are in half width: what it rounds off
    stays below a millionth of a probability, and its exp and log take a quarter of the time.

    Attributes
    ----------
    in_service : ndarray, shape (V, N + 1), or (1, N + 1) where memory bounds no row
    full : ndarray, shape (V, N + 1)
        Probability that no slot is free.
    free : ndarray, shape (V, N), n = 1..N
        Probability that one is.
    closed_rate_rps : ndarray, shape (V, N), n = 1..N
        μ(n) over 1 - λ S free. [requests/s]
    joined : ndarray, shape (V, N + 1), or (V, 0) where all arrivals are Poisson
        Probability that a slot is free, but others of an arrival's burst take it first.
    ahead : ndarray, shape (V, N), n = 0..N-1
        States from n to where clusters end: a row's last, or what memory holds.
    """

    replica: Replica
    work: RequestWork
    in_service: FloatArray
    full: FloatArray
    joined: FloatArray
    free: HalfWidthArray
    closed_rate_rps: HalfWidthArray
    ahead: HalfWidthArray

    def take(self, rows: IntArray) -> "States":
        """Return the states of some rows."""
        return States(
            replica=self.replica.take(rows),
            work=self.work.take(rows),
            in_service=self.in_service if len(self.in_service) == 1 else self.in_service[rows],
            full=self.full[rows],
            joined=self.joined[rows],
            free=self.free[rows],
            closed_rate_rps=self.closed_rate_rps[rows],
            ahead=self.ahead[rows],
        )


def build_work(
    profiles: ServiceProfiles, workloads: Workloads, limits: EngineLimits
) -> RequestWork:
    """Return what requests cost when a prompt has an iteration's budget to itself."""
    alone = np.ones(len(workloads))
    return request_work(profiles, workloads, prefill_steps(workloads, limits, alone))


def build_replica(
    work: RequestWork,
    workloads: Workloads,
    limits: EngineLimits,
    *,
    dispersion: FloatArray | None = None,
) -> Replica:
    """Return the limits of the chain and what happens at them.

    Notes
    -----
    Preemption (recompute, youngest first): the free memory after an admission is uniform
    below what the next request needs, and outputs eat into it, D tokens per completed
    request; each time it runs out, as many prompt tokens are computed again. Requests
    that end in the same step pay for growth first, which leaves the exp(-n / D) of steps
    without an end.
    """
    bounds = slots(workloads, limits, work)
    arrivals = np.ones(len(workloads)) if dispersion is None else np.maximum(dispersion, 1.0)
    scale = np.maximum(bounds.memory_scale, _LEAST_SPREAD * np.minimum(bounds.memory, _MANY))
    reach = np.ceil(np.minimum(bounds.memory + _SCALES_BEYOND * scale, _MANY))
    last = np.clip(np.minimum(bounds.walls, reach), 1.0, _MANY)
    decode = work.decode_steps
    repeated = decode * work.prefill_s / np.maximum(workloads.prompt_tokens_mean, 1.0)
    full_batch, fullness = _in_service(last, bounds.memory, scale)
    again = fullness * _recomputed_s(repeated, decode, full_batch)
    steps = work.prefill_steps + decode
    each = work.prefill_s + work.decode_s + again
    return Replica(
        last=last.astype(np.int64),
        walls=bounds.walls,
        memory=bounds.memory,
        memory_scale=scale,
        full_batch=full_batch,
        full_rate_rps=full_batch / (steps * work.iteration_base_s + full_batch * each),
        recompute_s=repeated,
        variability=queue_variability(work, full_batch, arrivals),
        arrivals=arrivals,
        queue_limit=limits.max_queue_size.astype(np.float64),
        felt=bounds.memory - _UNFELT * scale < last,
    )


def build_states(replica: Replica, work: RequestWork) -> States:
    """Return the tables over states of these replicas."""
    sizes = np.arange(int(replica.last.max()) + 1, dtype=np.float64)[None, :]
    memory, scale = replica.memory[:, None], replica.memory_scale[:, None]
    last = replica.last[:, None]
    if replica.felt.any():
        in_service, full = _in_service(sizes, memory, scale)
        decode = work.decode_steps[:, None]
        again = full * _recomputed_s(replica.recompute_s[:, None], decode, in_service)
    else:
        in_service, full = sizes, np.zeros((len(last), sizes.shape[1]))
        again = full
    full = np.where(sizes >= last, 1.0, full)
    served, waits = in_service[:, 1:], full[:, 1:]
    steps_s = ((work.prefill_steps + work.decode_steps) * work.iteration_base_s)[:, None]
    each = work.decode_s[:, None] + again[:, 1:] + work.prefill_s[:, None] * waits
    rate = served / (steps_s + served * each)
    bursts = bool(np.any(replica.arrivals > 1.0))
    ahead = np.maximum(np.minimum(last, np.floor(memory)) - sizes, 0.0)
    return States(
        replica=replica,
        work=work,
        in_service=in_service,
        full=full,
        joined=_joined(replica, ahead) * (1.0 - full) if bursts else np.empty((len(last), 0)),
        free=(1.0 - waits).astype(np.float32),
        closed_rate_rps=np.where(sizes[:, 1:] > last, _NEVER, rate).astype(np.float32),
        ahead=ahead[:, :-1].astype(np.float32),
    )


def occupancy(states: States, arrival_rate_rps: FloatArray) -> Stationary:
    """Return how many requests are in service and wait at this rate.

    Parameters
    ----------
    states : States, V rows
    arrival_rate_rps : array, shape (V,), > 0
        λ; at or above the full rate is overload, with an answer. [requests/s]

    Returns
    -------
    Stationary

    Notes
    -----
    Clusters of geometric size with mean V that end where slots do, at N: from state n one
    holds B(n) = V - (V - 1) b^(N - n) requests on average, b = 1 - 1/V. Crossings of the
    level above n are then

        μ(n + 1) p(n + 1) = λ p(n) / B(n) + b μ(n) p(n),

    without the second term from N on, and they add up to λ whatever V is.
    """
    replica, work = states.replica, states.work
    carried = np.minimum(arrival_rate_rps, replica.full_rate_rps)
    size = clustering(work, carried, replica.full_batch, replica.arrivals)
    log_step = _log_steps(
        states, arrival_rate_rps, prompt_share=carried * work.prefill_s, size=size
    )
    found = stationary(
        Chain(
            log_step=log_step,
            in_service=states.in_service,
            must_wait=states.full,
            joined=states.joined,
            last=replica.last,
            arrival_rate_rps=arrival_rate_rps,
            full_rate_rps=replica.full_rate_rps,
            queue_limit=replica.queue_limit,
            variability=replica.variability,
        )
    )
    # A full batch is not the fastest one where memory preempts.
    served = np.minimum(found.throughput_rps, replica.full_rate_rps)
    return replace(
        found,
        throughput_rps=served,
        blocking_ratio=1.0 - served / arrival_rate_rps,
        mean_wait_s=found.mean_queue_length / served,
    )


def _log_steps(
    states: States, arrival_rate_rps: FloatArray, *, prompt_share: FloatArray, size: FloatArray
) -> HalfWidthArray:
    """Return log(p(n + 1) / p(n)), n = 0..N-1, for clusters of mean `size`."""
    b = 1.0 - 1.0 / size
    going_on = _column(b)
    # In place: these tables are what the time goes into.
    rate = states.free * _column(-prompt_share)
    rate += 1.0
    rate *= states.closed_rate_rps
    with np.errstate(all="ignore"):
        up = states.ahead * _column(np.log(np.maximum(b, 1.0 / _NEVER)))
        np.exp(up, out=up)
        up *= _column(1.0 - size)
        up += _column(size)
        np.divide(_column(arrival_rate_rps), up, out=up)
        carried_on = going_on * rate[:, :-1]
        if states.replica.felt.any():
            carried_on *= states.ahead[:, 1:] > 0.0
        up[:, 1:] += carried_on
        up /= rate
        np.log(up, out=up)
    return up


def _joined(replica: Replica, ahead: FloatArray) -> HalfWidthArray:
    """Return the probability that a burst fills what is free before one of it arrives.

    A burst of I has (I - 1) / 2 before the one that is asked about, on average.
    """
    before = np.maximum(_BEFORE * (replica.arrivals - 1.0) / 2.0, 1.0 / _NEVER)
    going_on = _column(np.log(before / (1.0 + before)))
    with np.errstate(under="ignore"):
        joined: HalfWidthArray = np.exp(ahead.astype(np.float32) * going_on)
    return joined


def _column(values: FloatArray) -> HalfWidthArray:
    return values.astype(np.float32)[:, None]


def _in_service(
    sizes: FloatArray, memory: FloatArray, scale: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return E[min(n, X)] and P(X < n), for n >= 0, of a logistic X that is at least 1."""
    score, log_score = _logistic(np.clip((sizes - memory) / scale, -_MANY, _MANY))
    first, log_first = _logistic(np.clip((1.0 - memory) / scale, -_MANY, _MANY))
    none = np.minimum(first, _SURELY)
    beyond = np.maximum(sizes - 1.0, 0.0)
    excess = scale * (log_score - log_first) - none * beyond
    fewer = np.maximum(score - none, 0.0)
    served = np.where(beyond > 0.0, sizes - excess / (1.0 - none), sizes)
    return served, np.where(beyond > 0.0, fewer / (1.0 - none), 0.0)


def _logistic(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return 1 / (1 + exp(-x)) and its integral, log(1 + exp(x))."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0.0, small, 1.0) / (1.0 + small), np.log1p(small) + np.maximum(x, 0.0)


def _recomputed_s(repeated: FloatArray, decode: FloatArray, in_service: FloatArray) -> FloatArray:
    return repeated * np.exp(-in_service / np.maximum(decode, _LEAST_STEPS))
