"""How many requests a replica runs at once: batch slots, token budget, KV memory.

The batch limit and the token budget are walls. Memory is not: what n requests hold
varies with their lengths and ages, so the number that fits is random. Its mean and
spread are here; `occupancy` puts them into the queue.
"""

from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, Columns, EngineLimits, FloatArray, IntArray, Workloads
from .service import RequestWork, computed_prompt_tokens, second_moment

__all__ = ["Concurrency", "Slots", "concurrency_limits", "mean_context_tokens", "slots"]

# A logistic variable has the standard deviation scale pi / sqrt(3).
_SCALE_PER_DEVIATION = np.sqrt(3.0) / np.pi
# A chain draws what memory holds anew in every state; in an engine a shortage lasts as long
# as the requests that make it, and so does more harm than its spread tells. The factor that
# stands for it was measured on the simulator's engine (bench.accuracy_engine).
_PERSISTENCE = 1.75


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slots(Columns):
    """What bounds the requests in service.

    Attributes
    ----------
    walls : ndarray, whole, >= 1
        Requests that the batch limit and the token budget admit.
    memory : ndarray, > 0
        Requests whose KV fits, on average; +inf without a limit.
    memory_scale : ndarray, >= 0
        Scale of the logistic distribution of that number around its mean.
    """

    walls: FloatArray
    memory: FloatArray
    memory_scale: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concurrency(Columns):
    """Most requests in service at once, and where memory is what bounds them.

    `limit` is 0 where the KV cache doesn't hold a single request of mean length.
    """

    limit: IntArray
    memory_bound: BoolArray


def concurrency_limits(
    workloads: Workloads, limits: EngineLimits, work: RequestWork
) -> Concurrency:
    """Return how many requests run at once where a replica is full.

    Parameters
    ----------
    workloads : Workloads, V rows
    limits : EngineLimits, V rows
    work : RequestWork, V rows

    Returns
    -------
    Concurrency
    """
    bounds = slots(workloads, limits, work)
    bounded = np.floor(np.minimum(bounds.walls, bounds.memory) + 1e-9)
    return Concurrency(limit=bounded.astype(np.int64), memory_bound=bounds.memory < bounds.walls)


def slots(workloads: Workloads, limits: EngineLimits, work: RequestWork) -> Slots:
    """Return the bounds on requests in service.

    Notes
    -----
    A step takes n (P + D) / (c + D) tokens from n requests with P computed prompt tokens
    and D decode steps, so a budget of M tokens admits n = M (c + D) / (P + D).

    Of memory, n requests hold n times the mean context, found at a random time: a long
    output is found more often than a short one, and its age is anything up to its
    length. With variance v of one request's context around its mean k, capacity C holds
    C / k requests, give or take sqrt(C v / k³), times what stands for persistence.
    """
    steps = work.prefill_steps + work.decode_steps
    tokens = computed_prompt_tokens(workloads) + work.decode_steps
    budget = limits.max_batched_tokens * steps / np.maximum(tokens, 1.0)
    walls = np.maximum(np.minimum(np.floor(budget), limits.max_batch_size), 1.0)
    mean, second = _context_moments(workloads, work)
    memory = limits.kv_capacity_tokens / mean
    variation = np.maximum(second / mean**2 - 1.0, 0.0)
    spread = np.where(np.isfinite(memory), np.sqrt(np.minimum(memory, 1e12) * variation), 0.0)
    return Slots(
        walls=walls, memory=memory, memory_scale=spread * _PERSISTENCE * _SCALE_PER_DEVIATION
    )


def mean_context_tokens(workloads: Workloads, work: RequestWork) -> FloatArray:
    """Return the mean KV tokens of a request in service, at a random time."""
    return _context_moments(workloads, work)[0]


def _context_moments(workloads: Workloads, work: RequestWork) -> tuple[FloatArray, FloatArray]:
    """Return E[k] and E[k²] of the context of a request found in service."""
    prompt = np.maximum(workloads.prompt_tokens_mean, 1.0)
    prompt_second = second_moment(prompt, workloads.prompt_tokens_second_moment)
    decode, shape = work.decode_steps, work.decode_shape
    # Age of what is found decoding: moments of a uniform share of a length-biased draw.
    age, age_second = decode * shape / 2.0, decode**2 * shape**3 / 3.0
    decoding = decode / (work.prefill_steps + decode)
    mean = prompt + decoding * age
    return mean, prompt_second + decoding * (2.0 * prompt * age + age_second)
