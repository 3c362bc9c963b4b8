"""What requests cost an engine: time per iteration, prefill, decode, service rates.

The structure is that of "Model B" [1]_: a request's own work is counted once, prompts are
computed in chunks. Decoded and prompt tokens have slopes of their own, lengths count with
two moments, and decode steps are counted as engines make them: of O output tokens the
first comes from the prompt's last iteration, the others take O - 1 more. Model B's O is
our O - 1; with equal slopes and all lengths alike its formulas come out.

.. [1] llm-inferno/queue-analysis, "new analysis" of June 2026, after S. Ramani and
   A. Tantawi, "An approximate parameterized queueing model of LLM inference serving",
   MASCOTS 2026.
"""

from dataclasses import dataclass

import numpy as np

from .domain import Columns, EngineLimits, FloatArray, ServiceProfiles, Workloads

__all__ = [
    "RequestWork",
    "computed_prompt_tokens",
    "decode_time_s",
    "iteration_time_s",
    "prefill_steps",
    "prefill_time_s",
    "request_work",
    "second_moment",
    "service_rate_rps",
    "service_time_s",
]

# Lengths beyond this spread (CV 1.7) keep its shape: higher moments of a lognormal grow
# without bound, those of prompts and outputs end at the context window.
_LARGEST_SHAPE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestWork(Columns):
    """What one request adds to the iterations that it is part of, per variant.

    Attributes
    ----------
    iteration_base_s : ndarray
        An iteration's time before any token. [s]
    prefill_steps : ndarray, >= 1
        Iterations that compute its prompt, c.
    decode_steps : ndarray, >= 0
        Iterations after those, mean D = E[O] - 1.
    prefill_s, decode_s : ndarray
        Time that its prompt and its decode steps add, means S and W. [s]
    decode_step_s : ndarray
        Time that a decode step over the bare prompt adds; u steps later it is
        u `kv_slope_s` more. [s]
    kv_slope_s : ndarray
        [s/token]
    prompt_kv_s : ndarray
        Time for reading the mean prompt's KV once. [s]
    prompt_token_s : ndarray
        Time per computed prompt token. [s/token]
    prompt_shape, decode_shape : ndarray, >= 1
        E[X²] / E[X]² of prompt tokens and of decode steps.
    """

    iteration_base_s: FloatArray
    prefill_steps: FloatArray
    decode_steps: FloatArray
    prefill_s: FloatArray
    decode_s: FloatArray
    decode_step_s: FloatArray
    kv_slope_s: FloatArray
    prompt_kv_s: FloatArray
    prompt_token_s: FloatArray
    prompt_shape: FloatArray
    decode_shape: FloatArray


def second_moment(mean: FloatArray, second: FloatArray) -> FloatArray:
    """Return E[X²], at least E[X]²: moments read off histogram buckets may be below."""
    return np.maximum(second, mean * mean)


def computed_prompt_tokens(workloads: Workloads) -> FloatArray:
    """Return prompt tokens that aren't in the prefix cache; of a prompt, at least one."""
    prompt = workloads.prompt_tokens_mean
    return np.maximum(prompt * (1.0 - workloads.prefix_hit_ratio), np.minimum(prompt, 1.0))


def prefill_steps(workloads: Workloads, limits: EngineLimits, batch_size: FloatArray) -> FloatArray:
    """Return the iterations that a prompt takes beside `batch_size` - 1 other requests.

    Parameters
    ----------
    workloads : Workloads, V rows
    limits : EngineLimits, V rows
        Its token budget M, `max_batched_tokens`.
    batch_size : array, shape (V,), >= 1
        Requests in the batch, B.

    Returns
    -------
    ndarray, shape (V,)
        c, whole, between 1 and the computed prompt tokens I.

    Notes
    -----
    The smallest c for which a chunk of the prompt fits beside the batch's mean load,

        B (I + D) / (c + D) + I / c <= M,

    a quadratic in c. Past B = M the decode steps alone fill the budget: then c = I.
    """
    tokens = computed_prompt_tokens(workloads)
    steps = workloads.output_tokens_mean - 1.0
    budget = limits.max_batched_tokens
    most = np.maximum(np.ceil(tokens), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        linear = steps * budget - tokens - batch_size * (tokens + steps)
        root = (np.sqrt(linear**2 + 4.0 * budget * steps * tokens) - linear) / (2.0 * budget)
    # A root that is whole but for rounding is that whole number.
    chunks = np.where(np.isfinite(root), np.ceil(root - 1e-9), 1.0)
    return np.clip(chunks, 1.0, most)


def request_work(profiles: ServiceProfiles, workloads: Workloads, steps: FloatArray) -> RequestWork:
    """Return what a request costs when its prompt takes `steps` iterations.

    Parameters
    ----------
    profiles : ServiceProfiles, V rows
    workloads : Workloads, V rows
    steps : array, shape (V,), >= 1
        Iterations of its prefill, c.

    Returns
    -------
    RequestWork

    Notes
    -----
    With I prompt tokens, P of them computed, D decode steps and the profile's slopes,

        S = prefill P + kv (c (I - P) + P (c + 1) / 2)
        W = decode E[D] + kv (E[D] E[I] + E[D (D + 1)] / 2)

    where the KV terms add up the context at the end of every iteration.
    """
    prompt, computed = workloads.prompt_tokens_mean, computed_prompt_tokens(workloads)
    output = workloads.output_tokens_mean
    prompt_second = second_moment(prompt, workloads.prompt_tokens_second_moment)
    output_second = second_moment(output, workloads.output_tokens_second_moment)
    decode = output - 1.0
    decode_second = output_second - 2.0 * output + 1.0
    kv = profiles.kv_slope_s
    read_tokens = steps * (prompt - computed) + computed * (steps + 1.0) / 2.0
    prefill_s = profiles.prefill_slope_s * computed + kv * read_tokens
    context = decode * prompt + (decode_second + decode) / 2.0
    return RequestWork(
        iteration_base_s=profiles.iteration_base_s,
        prefill_steps=steps,
        decode_steps=decode,
        prefill_s=prefill_s,
        decode_s=profiles.decode_slope_s * decode + kv * context,
        decode_step_s=profiles.decode_slope_s + kv * (prompt + 0.5),
        kv_slope_s=kv,
        prompt_kv_s=kv * prompt,
        prompt_token_s=prefill_s / np.maximum(computed, 1.0),
        prompt_shape=_shape(prompt, prompt_second),
        decode_shape=_shape(decode, decode_second),
    )


def iteration_time_s(work: RequestWork, batch_size: FloatArray) -> FloatArray:
    """Return the mean time of an iteration with `batch_size` requests, [s].

    T(B) = base + B (S + W) / (c + D). `batch_size` has shape (V,) or (V, N), here and below.
    """
    each = (work.prefill_s + work.decode_s) / _steps(work)
    return _like(work.iteration_base_s, batch_size) + batch_size * _like(each, batch_size)


def prefill_time_s(work: RequestWork, batch_size: FloatArray) -> FloatArray:
    """Return the mean time from the first to the last iteration of a prompt, [s].

    c (T(B - 1))⁺ + S: its own work is counted once, beside that of B - 1 others.
    """
    others = np.maximum(iteration_time_s(work, batch_size - 1.0), 0.0)
    return _like(work.prefill_steps, batch_size) * others + _like(work.prefill_s, batch_size)


def decode_time_s(work: RequestWork, batch_size: FloatArray) -> FloatArray:
    """Return the mean time per decode step, (T(B - 1))⁺ + W / D; 0 without any. [s]"""
    own = work.decode_s / np.maximum(work.decode_steps, np.finfo(np.float64).tiny)
    others = np.maximum(iteration_time_s(work, batch_size - 1.0), 0.0)
    decodes = _like(work.decode_steps, batch_size) > 0.0
    return np.where(decodes, others + _like(own, batch_size), 0.0)


def service_time_s(work: RequestWork, batch_size: FloatArray) -> FloatArray:
    """Return the mean time in the batch, (c + D) T(B). [s]"""
    return _like(_steps(work), batch_size) * iteration_time_s(work, batch_size)


def service_rate_rps(work: RequestWork, batch_size: FloatArray) -> FloatArray:
    """Return requests completed per second, B / ((c + D) T(B)). [requests/s]

    This is the closed law: as many prompts start as requests end.
    """
    return batch_size / service_time_s(work, batch_size)


def _steps(work: RequestWork) -> FloatArray:
    return work.prefill_steps + work.decode_steps


def _shape(mean: FloatArray, second: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = np.where(mean > 0.0, second / (mean * mean), 1.0)
    return np.clip(shape, 1.0, _LARGEST_SHAPE)


def _like(column: FloatArray, batch_size: FloatArray) -> FloatArray:
    """Stand `column` beside `batch_size`, whose rows it describes."""
    return column[:, None] if np.ndim(batch_size) == 2 else column
