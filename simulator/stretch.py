"""How many steps of pure decoding can be taken at once.

Part of the kernel (see there): plain functions that numba can compile.
"""

import math

from .admission import queue_head
from .metering import elapsed_s
from .state import (
    CURSOR,
    DECODING,
    FREE_BLOCKS,
    PREEMPTED,
    QUEUED,
    STEP,
    SUBMITTED,
    Engine,
)

__all__ = ["growth_blocks", "steps_before", "steps_within_blocks", "wake_up_s"]


def wake_up_s(e: Engine) -> float:
    """Return when an arrival, or the end of somebody's patience, may change the coming steps.

    While somebody waits, only a completion makes room, so arrivals change nothing.
    """
    if e.n[QUEUED] > 0:
        return e.requests.arrival_s[queue_head(e)] + e.law.queue_timeout_s
    if e.n[PREEMPTED] > 0 or e.n[CURSOR] == e.n[SUBMITTED]:
        return math.inf
    return e.requests.arrival_s[e.n[CURSOR]]


def steps_before(
    start_s: float, first_s: float, growth_s: float, limit: int, before_s: float
) -> int:
    """Return how many of `limit` steps from `start_s` end before `before_s`."""
    if before_s <= start_s:
        return 0
    if start_s + elapsed_s(first_s, growth_s, limit) < before_s:
        return limit
    span_s = before_s - start_s
    linear = first_s - 0.5 * growth_s
    root = 2.0 * span_s / (linear + math.sqrt(linear * linear + 2.0 * growth_s * span_s))
    steps = min(limit, int(root))
    while steps > 0 and start_s + elapsed_s(first_s, growth_s, steps) >= before_s:
        steps -= 1
    while steps < limit and start_s + elapsed_s(first_s, growth_s, steps + 1) < before_s:
        steps += 1
    return steps


def growth_blocks(e: Engine, steps: int) -> int:
    """Return the blocks that the decoding rows take in the next `steps` steps."""
    size = e.law.block_size
    blocks = steps // size * e.n[DECODING]
    for step in range(e.n[STEP], e.n[STEP] + steps % size):
        blocks += e.batch.growing[step % size]
    return blocks


def steps_within_blocks(e: Engine, limit: int) -> int:
    """Return how many of the next `limit` steps find the blocks they need."""
    size, rows, free = e.law.block_size, e.n[DECODING], e.n[FREE_BLOCKS]
    if (limit // size + 1) * rows <= free or growth_blocks(e, limit) <= free:
        return limit
    steps = free // rows * size
    free -= free // rows * rows
    while e.batch.growing[(e.n[STEP] + steps) % size] <= free:
        free -= e.batch.growing[(e.n[STEP] + steps) % size]
        steps += 1
    return steps
