"""The state of one engine, laid out so that the same code runs compiled and plain.

Named tuples of columns: arrays where numba compiles the kernel (see `engine`), lists
where it doesn't (see `live`), since reading one number of an array is slow in Python.
Rows of `Batch` are in order of admission: the first `DECODING` rows decode, the others
(while a step runs) compute their prompts.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from optimizer import FloatArray, IntArray

__all__ = [
    "Batch",
    "Engine",
    "Law",
    "Meters",
    "Requests",
    "as_lists",
    "new_engine",
    "new_requests",
]

Ints: TypeAlias = IntArray | list[int]
Floats: TypeAlias = FloatArray | list[float]

# Request states.
PENDING, WAITING, RUNNING, FINISHED, REJECTED, TIMED_OUT = range(6)

# Entries of Engine.n: requests submitted, next arrival, head of the queue, requests in the
# queue, ended requests, batch rows, decoding rows, preempted requests, decode steps so far,
# the decode step at which a row ends, context tokens of decoding rows, free blocks, and
# whether a step runs.
(
    SUBMITTED, CURSOR, HEAD, QUEUED, ENDED, ROWS, DECODING, PREEMPTED, STEP, NEXT_FINISH,
    CONTEXT, FREE_BLOCKS, IN_STEP, COUNTERS,
) = range(14)  # fmt: skip

# Entries of Engine.t.
CLOCK_S, STEP_S, TIMES = range(3)

# Entries of Meters.totals and Meters.sums.
(
    STEPS, GENERATED, PROMPTS, CACHED, QUERIED, HITS, PREEMPTIONS, ITERATION_TOKENS, TOTALS,
) = range(9)  # fmt: skip
BUSY_S, ITL_S, TTFT_S, SUMS = range(4)

NEVER = 1 << 62


# Bucket bounds of vLLM's histograms; the last bucket, +Inf, has no bound.
TTFT_BOUNDS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BOUNDS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
    0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
ITERATION_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Law(NamedTuple):
    """The numbers that a step obeys."""

    iteration_base_s: float
    decode_slope_s: float
    prefill_slope_s: float
    kv_slope_s: float
    ttft_constant_s: float
    noise_sigma: float
    queue_timeout_s: float
    max_num_seqs: int
    max_num_batched_tokens: int
    max_in_flight: int
    block_size: int


class Requests(NamedTuple):
    """Columns over requests, in order of arrival, and the order in which they ended."""

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    status: Ints
    scheduled_s: Floats
    first_token_s: Floats
    last_token_s: Floats  # before the latest preemption
    finish_s: Floats
    generated_tokens: Ints  # up to the latest preemption
    preemptions: Ints
    ended: Ints


class Batch(NamedTuple):
    """Columns over batch rows; `growing` counts decoding rows by the step that needs a block.

    `context` is, of a decoding row, its context less `STEP`, so that it need not change.
    """

    request: Ints
    context: Ints
    prefill_left: Ints
    finish_step: Ints
    growing: Ints
    preempted: Ints


class Meters(NamedTuple):
    """What an engine counts: histograms per bucket (the last one is +Inf), and totals."""

    ttft_bounds_s: Floats
    ttft_counts: Ints
    itl_bounds_s: Floats
    itl_counts: Ints
    iteration_bounds: Floats
    iteration_counts: Ints
    totals: Ints
    sums: Floats


class Engine(NamedTuple):
    """The whole state of one engine; `n` and `t` have the entries that are named above."""

    law: Law
    requests: Requests
    batch: Batch
    meters: Meters
    n: Ints
    t: Floats


def new_requests(
    arrival_s: FloatArray, prompt_tokens: IntArray, output_tokens: IntArray, cached_tokens: IntArray
) -> Requests:
    """Return the columns of requests that have yet to arrive."""
    count = arrival_s.size
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        status=np.full(count, PENDING),
        scheduled_s=np.full(count, np.nan),
        first_token_s=np.full(count, np.nan),
        last_token_s=np.full(count, np.nan),
        finish_s=np.full(count, np.nan),
        generated_tokens=np.zeros(count, dtype=np.int64),
        preemptions=np.zeros(count, dtype=np.int64),
        ended=np.zeros(count, dtype=np.int64),
    )


def new_engine(law: Law, requests: Requests, *, free_blocks: int, start_s: float) -> Engine:
    """Return an idle engine of arrays over `requests`."""

    def ints(size: int) -> IntArray:
        return np.zeros(size, dtype=np.int64)

    n = ints(COUNTERS)
    n[SUBMITTED] = len(requests.arrival_s)
    n[FREE_BLOCKS] = free_blocks
    n[NEXT_FINISH] = NEVER
    t = np.zeros(TIMES)
    t[CLOCK_S] = start_s
    rows = law.max_num_seqs
    return Engine(
        law=law,
        requests=requests,
        batch=Batch(
            request=ints(rows),
            context=ints(rows),
            prefill_left=ints(rows),
            finish_step=ints(rows),
            growing=ints(law.block_size),
            preempted=ints(rows),
        ),
        meters=Meters(
            ttft_bounds_s=np.array(TTFT_BOUNDS_S),
            ttft_counts=ints(len(TTFT_BOUNDS_S) + 1),
            itl_bounds_s=np.array(ITL_BOUNDS_S),
            itl_counts=ints(len(ITL_BOUNDS_S) + 1),
            iteration_bounds=np.array(ITERATION_BOUNDS, dtype=np.float64),
            iteration_counts=ints(len(ITERATION_BOUNDS) + 1),
            totals=ints(TOTALS),
            sums=np.zeros(SUMS),
        ),
        n=n,
        t=t,
    )


def as_lists(engine: Engine) -> Engine:
    """Return the same state with lists for arrays."""

    def listed(columns: Iterable[Ints | Floats]) -> list[Any]:
        return [np.asarray(column).tolist() for column in columns]

    return Engine(
        law=engine.law,
        requests=Requests(*listed(engine.requests)),
        batch=Batch(*listed(engine.batch)),
        meters=Meters(*listed(engine.meters)),
        n=np.asarray(engine.n).tolist(),
        t=np.asarray(engine.t).tolist(),
    )
