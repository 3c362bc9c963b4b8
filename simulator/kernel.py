"""One engine's steps: continuous batching as vLLM V1 schedules it, advanced in jumps.

A step takes one token for every decoding sequence, then the next chunk of a prompt that
is being computed, then admits waiting requests first come, first served, while the token
budget, the batch limit and the KV blocks allow (an admission needs blocks for the whole
prompt, as with vLLM's `scheduler_reserve_full_isl`). A decoding sequence takes a block
every `block_size` steps; where none is left the youngest sequences lose theirs, go to the
front of the queue and are computed anew, and that step admits nobody. The step lasts

    iteration_base_s + d decode_slope_s + p prefill_slope_s + c kv_slope_s

for d decoded and p prompt tokens, c tokens of KV cache under the step's sequences at its
end. While nothing but decoding happens, step k of a stretch lasts `first + (k-1) growth`
and any number of steps is taken at once; nothing is approximated.

Plain functions over `state.Engine`; `engine` lets numba compile them.
"""

import math

import numpy as np

from .admission import admit, blocks_for, end_request, enqueue, next_fits, next_request
from .metering import count_first_token, count_intervals, count_steps, elapsed_s
from .state import (
    CACHED,
    CLOCK_S,
    CONTEXT,
    CURSOR,
    DECODING,
    FINISHED,
    FREE_BLOCKS,
    IN_STEP,
    NEVER,
    NEXT_FINISH,
    PREEMPTED,
    PREEMPTIONS,
    PROMPTS,
    QUEUED,
    ROWS,
    STEP,
    STEP_S,
    SUBMITTED,
    Engine,
)
from .stretch import growth_blocks, steps_before, steps_within_blocks, wake_up_s

__all__ = ["advance"]


def advance(e: Engine, until_s: float, random: np.random.Generator) -> None:
    """Run every step that ends before `until_s`; all arrivals up to then are submitted."""
    n, t = e.n, e.t
    while True:
        if n[IN_STEP] == 1:
            if t[CLOCK_S] + t[STEP_S] >= until_s:
                return
            finish_step(e)
        enqueue(e, t[CLOCK_S], True)
        if n[ROWS] + n[PREEMPTED] + n[QUEUED] == 0:
            if n[CURSOR] == n[SUBMITTED] or e.requests.arrival_s[n[CURSOR]] >= until_s:
                return
            t[CLOCK_S] = e.requests.arrival_s[n[CURSOR]]
            continue
        if e.batch.growing[n[STEP] % e.law.block_size] > n[FREE_BLOCKS]:
            preempt(e)
            begin_step(e, False, random)
        elif n[ROWS] > n[DECODING] or e.law.noise_sigma > 0.0 or next_fits(e):
            begin_step(e, True, random)
        elif not decode_stretch(e, until_s):
            return


def preempt(e: Engine) -> None:
    """Take the youngest sequences' blocks until the others can grow in this step.

    vLLM walks its batch in order and drops from the end whenever a sequence finds no
    block; who is left is the same.
    """
    n, batch = e.n, e.batch
    while batch.growing[n[STEP] % e.law.block_size] > n[FREE_BLOCKS]:
        drop_youngest(e)
    n[NEXT_FINISH] = NEVER
    for row in range(n[DECODING]):
        n[NEXT_FINISH] = min(n[NEXT_FINISH], batch.finish_step[row])


def drop_youngest(e: Engine) -> None:
    n, batch, requests = e.n, e.batch, e.requests
    n[ROWS] -= 1
    row = n[ROWS]
    request = batch.request[row]
    if row < n[DECODING]:
        n[DECODING] -= 1
        context = batch.context[row] + n[STEP]
        n[CONTEXT] -= context
        batch.growing[-batch.context[row] % e.law.block_size] -= 1
        left = batch.finish_step[row] - n[STEP]
        requests.generated_tokens[request] = requests.output_tokens[request] - left
        requests.last_token_s[request] = e.t[CLOCK_S]
    else:
        context = batch.context[row] + batch.prefill_left[row]
    n[FREE_BLOCKS] += blocks_for(e, context)
    batch.preempted[n[PREEMPTED]] = request
    n[PREEMPTED] += 1
    requests.preemptions[request] += 1
    e.meters.totals[PREEMPTIONS] += 1


def begin_step(e: Engine, admitting: bool, random: np.random.Generator) -> None:  # noqa: FBT001
    """Schedule one step: growth, the running prompt's chunk, admissions; and its duration."""
    n, law, batch = e.n, e.law, e.batch
    budget = law.max_num_batched_tokens - n[DECODING]
    context = n[CONTEXT] + n[DECODING]
    prefill = 0
    row = n[DECODING]
    while budget > 0:
        if row == n[ROWS]:
            if not (admitting and next_fits(e)):
                break
            admit(e, next_request(e))
        chunk = min(budget, batch.prefill_left[row])
        batch.prefill_left[row] -= chunk
        batch.context[row] += chunk
        context += batch.context[row]
        prefill += chunk
        budget -= chunk
        row += 1
    n[FREE_BLOCKS] -= batch.growing[n[STEP] % law.block_size]
    step_s = law.iteration_base_s + n[DECODING] * law.decode_slope_s
    step_s += prefill * law.prefill_slope_s + context * law.kv_slope_s
    if law.noise_sigma > 0.0:
        sigma = law.noise_sigma
        step_s *= math.exp(sigma * random.standard_normal() - 0.5 * sigma * sigma)
    e.t[STEP_S] = step_s
    n[IN_STEP] = 1


def finish_step(e: Engine) -> None:
    """End the running step: every sequence whose tokens are all computed makes one."""
    n, t, batch, meters = e.n, e.t, e.batch, e.meters
    decoded = n[DECODING]
    step_s = t[STEP_S]
    t[CLOCK_S] += step_s
    n[IN_STEP] = 0
    n[STEP] += 1
    n[CONTEXT] += decoded
    count_intervals(meters, decoded, 1, step_s, 0.0)
    prompts = 0
    for row in range(decoded, n[ROWS]):
        if batch.prefill_left[row] == 0:
            prompts += start_decoding(e, row)
    count_steps(meters, 1, step_s, n[DECODING], prompts)
    enqueue(e, t[CLOCK_S], False)
    if n[NEXT_FINISH] == n[STEP]:
        retire(e)


def start_decoding(e: Engine, row: int) -> int:
    """Give a computed row its token; return the prompt tokens computed for a first one."""
    n, batch, requests, totals = e.n, e.batch, e.requests, e.meters.totals
    request = batch.request[row]
    now_s = e.t[CLOCK_S]
    generated = requests.generated_tokens[request]
    computed = 0
    if generated == 0:
        requests.first_token_s[request] = now_s
        count_first_token(e, now_s - requests.arrival_s[request])
        computed = requests.prompt_tokens[request] - requests.cached_tokens[request]
        totals[PROMPTS] += requests.prompt_tokens[request]
        totals[CACHED] += requests.cached_tokens[request]
    else:
        count_intervals(e.meters, 1, 1, now_s - requests.last_token_s[request], 0.0)
    n[DECODING] += 1
    n[CONTEXT] += batch.context[row]
    batch.context[row] -= n[STEP]
    batch.growing[-batch.context[row] % e.law.block_size] += 1
    batch.finish_step[row] = n[STEP] + requests.output_tokens[request] - generated - 1
    n[NEXT_FINISH] = min(n[NEXT_FINISH], batch.finish_step[row])
    return computed


def retire(e: Engine) -> None:
    """Release the rows that made their last token; the others close up, in order."""
    n, batch = e.n, e.batch
    n[NEXT_FINISH] = NEVER
    kept = 0
    decoding = n[DECODING]
    for row in range(n[ROWS]):
        if batch.finish_step[row] == n[STEP]:
            context = batch.context[row] + n[STEP]
            n[FREE_BLOCKS] += blocks_for(e, context)
            n[CONTEXT] -= context
            batch.growing[-batch.context[row] % e.law.block_size] -= 1
            n[DECODING] -= 1
            end_request(e, batch.request[row], FINISHED, e.t[CLOCK_S])
            continue
        if row < decoding:
            n[NEXT_FINISH] = min(n[NEXT_FINISH], batch.finish_step[row])
        if kept < row:
            batch.request[kept] = batch.request[row]
            batch.context[kept] = batch.context[row]
            batch.prefill_left[kept] = batch.prefill_left[row]
            batch.finish_step[kept] = batch.finish_step[row]
        kept += 1
    n[ROWS] = kept


def decode_stretch(e: Engine, until_s: float) -> bool:
    """Take all the steps in which nothing but decoding can happen; tell whether any ended."""
    n, t, law = e.n, e.t, e.law
    rows = n[DECODING]
    growth_s = law.kv_slope_s * rows
    first_s = law.iteration_base_s + rows * law.decode_slope_s
    first_s += law.kv_slope_s * (n[CONTEXT] + rows)
    limit = n[NEXT_FINISH] - n[STEP]
    limit = steps_within_blocks(e, limit)
    wake_s = wake_up_s(e)
    steps = limit
    if t[CLOCK_S] + elapsed_s(first_s, growth_s, limit) > min(wake_s, until_s):
        steps = min(limit, steps_before(t[CLOCK_S], first_s, growth_s, limit, wake_s) + 1)
        steps = min(steps, steps_before(t[CLOCK_S], first_s, growth_s, limit, until_s))
        if steps == 0:
            return False
    span_s = elapsed_s(first_s, growth_s, steps)
    n[FREE_BLOCKS] -= growth_blocks(e, steps)
    t[CLOCK_S] += span_s
    n[STEP] += steps
    n[CONTEXT] += rows * steps
    count_intervals(e.meters, rows, steps, first_s, growth_s)
    count_steps(e.meters, steps, span_s, rows, 0)
    enqueue(e, t[CLOCK_S], False)
    if n[NEXT_FINISH] == n[STEP]:
        retire(e)
    return True
