"""What an engine counts while it runs, exact over stretches of steps of growing length.

Part of the kernel (see there): plain functions that numba can compile.
"""

from .state import (
    BUSY_S,
    GENERATED,
    ITERATION_TOKENS,
    ITL_S,
    STEPS,
    TTFT_S,
    Engine,
    Floats,
    Meters,
)

__all__ = ["bucket", "count_first_token", "count_intervals", "count_steps", "elapsed_s"]


def elapsed_s(first_s: float, growth_s: float, steps: int) -> float:
    """Return how long `steps` steps last, the k-th being `first_s + (k-1) growth_s`."""
    return steps * first_s + growth_s * (0.5 * steps * (steps - 1))


def bucket(bounds: Floats, value: float) -> int:
    """Return the histogram bucket of `value`; bounds are inclusive."""
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) // 2
        if bounds[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


def count_first_token(e: Engine, after_s: float) -> None:
    """Count a first token, as vLLM's front end sees it: with what lies outside the engine."""
    ttft_s = after_s + e.law.ttft_constant_s
    e.meters.sums[TTFT_S] += ttft_s
    e.meters.ttft_counts[bucket(e.meters.ttft_bounds_s, ttft_s)] += 1


def count_intervals(meters: Meters, rows: int, steps: int, first_s: float, growth_s: float) -> None:
    """Count the intervals between tokens of `rows` sequences over a stretch of steps."""
    if rows == 0:
        return
    bounds = meters.itl_bounds_s
    meters.sums[ITL_S] += rows * elapsed_s(first_s, growth_s, steps)
    at = bucket(bounds, first_s)
    counted = 0
    while counted < steps:
        if at == len(bounds) or first_s + (steps - 1) * growth_s <= bounds[at]:
            upto = steps
        else:
            upto = int((bounds[at] - first_s) / growth_s) + 1
            while first_s + (upto - 1) * growth_s > bounds[at]:
                upto -= 1
            while first_s + upto * growth_s <= bounds[at]:
                upto += 1
        meters.itl_counts[at] += rows * (upto - counted)
        counted = upto
        at += 1


def count_steps(meters: Meters, steps: int, span_s: float, generated: int, prompts: int) -> None:
    """Count steps of `generated` tokens each; `prompts` are tokens of completed prompts."""
    totals = meters.totals
    totals[STEPS] += steps
    meters.sums[BUSY_S] += span_s
    if generated == 0:
        return  # vLLM reports on steps that have outputs
    totals[GENERATED] += steps * generated
    totals[ITERATION_TOKENS] += steps * (generated + prompts)
    meters.iteration_counts[bucket(meters.iteration_bounds, float(generated + prompts))] += steps
