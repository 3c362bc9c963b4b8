"""Requests of one service on their way to its replicas, between two looks of the control plane.

Part of the kernel (see there): plain functions that numba can compile. A request waits at
the gateway, first come first served, until a replica has room for it; a replica without a
limit has room as soon as it is ready.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from optimizer import FloatArray, IntArray

from .kernel import advance
from .state import ENDED, FREE_BLOCKS, PREEMPTED, QUEUED, SUBMITTED

__all__ = [
    "EQUAL_PER_REPLICA",
    "GAVE_UP",
    "KV_AWARE",
    "LEAST_LOADED",
    "NOT_SENT",
    "ROUND_ROBIN",
    "WEIGHTED",
    "Gateway",
    "Pool",
    "serve",
]

# Engines are a list: of tuples of arrays where numba compiles, of tuples of lists where not.
Engines: TypeAlias = Any

ROUND_ROBIN, EQUAL_PER_REPLICA, LEAST_LOADED, WEIGHTED, KV_AWARE = range(5)

# Entries of Gateway.n: requests that are known, that have arrived, that have left the gateway.
KNOWN, ARRIVED, SENT, GATEWAY_COUNTERS = range(4)

# Instead of a replica: still at the gateway, or gone from it unserved.
NOT_SENT, GAVE_UP = -1, -2

NOBODY = -1


class Pool(NamedTuple):
    """Columns over a service's replicas, beside their engines."""

    ready: IntArray
    weight: FloatArray
    limit: IntArray  # requests in flight that it takes at most
    ended_before: IntArray  # ended requests of which the engine keeps no row
    number: IntArray  # what Gateway.replica calls it
    blocks: IntArray
    key: Any  # per replica: which request each of its engine's rows is
    latest: IntArray  # one entry: the place of the replica that was chosen last


class Gateway(NamedTuple):
    """Columns over a service's requests in order of arrival."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    cached_tokens: IntArray
    replica: IntArray
    timeout_s: float
    n: IntArray
    clock_s: FloatArray  # one entry: up to when it has been served


def serve(
    engines: Engines,
    pool: Pool,
    gateway: Gateway,
    law: int,
    until_s: float,
    random: np.random.Generator,
) -> None:
    """Let everything before `until_s` happen; at its ends what waits is sent if it can be."""
    n = gateway.n
    send(engines, pool, gateway, law, gateway.clock_s[0], random)
    gateway.clock_s[0] = until_s
    while True:
        due = n[ARRIVED] < n[KNOWN] and gateway.arrival_s[n[ARRIVED]] < until_s
        at_s = gateway.arrival_s[n[ARRIVED]] if due else until_s
        for place in range(len(engines)):
            advance(engines[place], at_s, random)
        if due:
            n[ARRIVED] += 1
        send(engines, pool, gateway, law, at_s, random)
        if not due:
            return


def send(
    engines: Engines,
    pool: Pool,
    gateway: Gateway,
    law: int,
    at_s: float,
    random: np.random.Generator,
) -> None:
    """Send what waits at the gateway, the oldest first, while somebody has room."""
    n = gateway.n
    while n[SENT] < n[ARRIVED]:
        row = n[SENT]
        if at_s - gateway.arrival_s[row] >= gateway.timeout_s:
            gateway.replica[row] = GAVE_UP
            n[SENT] += 1
            continue
        place = choose(engines, pool, law, random)
        if place == NOBODY:
            return
        requests = engines[place].requests
        at = engines[place].n[SUBMITTED]
        requests.arrival_s[at] = at_s
        requests.prompt_tokens[at] = gateway.prompt_tokens[row]
        requests.output_tokens[at] = gateway.output_tokens[row]
        requests.cached_tokens[at] = gateway.cached_tokens[row]
        pool.key[place][at] = row
        engines[place].n[SUBMITTED] += 1
        gateway.replica[row] = pool.number[place]
        pool.latest[0] = place
        n[SENT] += 1


def in_flight(engines: Engines, pool: Pool, place: int) -> int:
    n = engines[place].n
    flying: int = n[SUBMITTED] - n[ENDED] - pool.ended_before[place]
    return flying


def choose(engines: Engines, pool: Pool, law: int, random: np.random.Generator) -> int:
    """Return the place of the replica that takes the next request, NOBODY if none has room."""
    count = len(engines)
    best, least, weight = NOBODY, np.inf, 0.0
    for step in range(1, count + 1):
        place = int(pool.latest[0] + step) % count
        flying = in_flight(engines, pool, place)
        if pool.ready[place] == 0 or flying >= pool.limit[place]:
            continue
        if law == ROUND_ROBIN:
            return place
        if law in (EQUAL_PER_REPLICA, WEIGHTED):
            own = pool.weight[place] if law == WEIGHTED else 1.0
            weight += own
            # keeps each with its share of the weight seen so far
            if random.random() * weight < own:
                best = place
            continue
        if law == LEAST_LOADED:
            load = (flying + 1) / pool.weight[place]
        else:
            n = engines[place].n
            waiting = n[QUEUED] + n[PREEMPTED]
            load = waiting + 1.0 - n[FREE_BLOCKS] / pool.blocks[place] + 1e-6 * flying
        if load < least:
            best, least = place, load
    return best
