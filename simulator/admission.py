"""The engine's queue: who waits, who is turned away, who gives up, who is admitted.

Part of the kernel (see there): plain functions that numba can compile.
"""

import math

from .state import (
    CLOCK_S,
    CURSOR,
    DECODING,
    ENDED,
    FREE_BLOCKS,
    HEAD,
    HITS,
    NEVER,
    PREEMPTED,
    QUERIED,
    QUEUED,
    REJECTED,
    ROWS,
    RUNNING,
    STEP,
    SUBMITTED,
    TIMED_OUT,
    WAITING,
    Engine,
)

__all__ = [
    "admit",
    "blocks_for",
    "end_request",
    "enqueue",
    "next_fits",
    "next_request",
    "queue_head",
]


def enqueue(e: Engine, at_s: float, inclusive: bool) -> None:  # noqa: FBT001 - numba has no keyword-only
    """Queue or reject the arrivals before `at_s` (or up to it), and drop who waited too long."""
    n, requests = e.n, e.requests
    while n[CURSOR] < n[SUBMITTED]:
        row = n[CURSOR]
        arrival_s = requests.arrival_s[row]
        if arrival_s > at_s or (arrival_s == at_s and not inclusive):
            break
        expire(e, arrival_s)
        if n[ROWS] + n[PREEMPTED] + n[QUEUED] >= e.law.max_in_flight:
            end_request(e, row, REJECTED, arrival_s)
        else:
            requests.status[row] = WAITING
            n[QUEUED] += 1
        n[CURSOR] += 1
    if inclusive:
        expire(e, at_s)


def expire(e: Engine, at_s: float) -> None:
    """Drop requests whose time in the queue is over at `at_s`; the oldest are at its head."""
    timeout_s = e.law.queue_timeout_s
    if timeout_s == math.inf:
        return
    while e.n[QUEUED] > 0:
        row = queue_head(e)
        deadline_s = e.requests.arrival_s[row] + timeout_s
        if deadline_s > at_s:
            return
        end_request(e, row, TIMED_OUT, deadline_s)
        e.n[QUEUED] -= 1


def queue_head(e: Engine) -> int:
    """Return the oldest waiting request; there is one."""
    while e.requests.status[e.n[HEAD]] != WAITING:
        e.n[HEAD] += 1
    return e.n[HEAD]


def end_request(e: Engine, row: int, status: int, at_s: float) -> None:
    e.requests.status[row] = status
    e.requests.finish_s[row] = at_s
    e.requests.ended[e.n[ENDED]] = row
    e.n[ENDED] += 1


def next_request(e: Engine) -> int:
    """Return who is admitted next, the preempted first; -1 if nobody waits."""
    if e.n[PREEMPTED] > 0:
        return e.batch.preempted[e.n[PREEMPTED] - 1]
    if e.n[QUEUED] > 0:
        return queue_head(e)
    return -1


def blocks_for(e: Engine, tokens: int) -> int:
    return (tokens + e.law.block_size - 1) // e.law.block_size


def next_fits(e: Engine) -> bool:
    """Tell whether the coming step can admit somebody, its own growth paid first."""
    n, law = e.n, e.law
    if n[ROWS] >= law.max_num_seqs or n[DECODING] >= law.max_num_batched_tokens:
        return False
    row = next_request(e)
    if row < 0:
        return False
    tokens = e.requests.prompt_tokens[row] + e.requests.generated_tokens[row]
    growth = e.batch.growing[n[STEP] % law.block_size]
    return blocks_for(e, tokens) + growth <= n[FREE_BLOCKS]


def admit(e: Engine, request: int) -> None:
    """Give `request` a batch row and blocks for every token it has."""
    n, batch, requests, totals = e.n, e.batch, e.requests, e.meters.totals
    tokens = requests.prompt_tokens[request] + requests.generated_tokens[request]
    cached = requests.cached_tokens[request]
    row = n[ROWS]
    batch.request[row] = request
    batch.context[row] = cached
    batch.prefill_left[row] = tokens - cached
    batch.finish_step[row] = NEVER
    n[ROWS] += 1
    n[FREE_BLOCKS] -= blocks_for(e, tokens)
    if n[PREEMPTED] > 0:
        n[PREEMPTED] -= 1
        return
    n[QUEUED] -= 1
    requests.status[request] = RUNNING
    requests.scheduled_s[request] = e.t[CLOCK_S]
    totals[QUERIED] += tokens
    totals[HITS] += cached
