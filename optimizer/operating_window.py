"""The window of operating points that a profile is learned from. Pure.

A new observation joins the operating point it resembles, or takes a slot of its own; the
slot heard of least recently makes room. So the window remembers the loads that a variant
has seen instead of the last minutes of one load, and noise averages out point by point.
"""

from dataclasses import replace

import numpy as np

from .domain import BoolArray, FloatArray, IntArray, Workloads
from .estimator_state import FEATURES, EstimatorSettings, EstimatorState, Observations
from .profile_points import Points
from .step_law import Load, load_of

__all__ = ["features_of", "points_kept", "points_of", "remembered", "says_enough"]

_RATE, _PROMPT, _SECOND, _HELD, _STEPS, _CONTEXT, _DECODING, _ITL, _TTFT = range(FEATURES)


def features_of(observations: Observations, workloads: Workloads) -> FloatArray:
    """Return what is kept of each row's window, shape (V, FEATURES); NaN: unknown."""
    load = _load(observations, workloads)
    # By Little's law λ TTFT requests are on their way to a first token; where a tenth of
    # that many wait for a slot, TTFT tells of the queue and not of the engine.
    on_the_way = observations.arrival_rate_rps * observations.ttft_s
    queued = np.nan_to_num(observations.waiting_requests) > 0.1 * on_the_way
    ttft = np.where(queued | ~(observations.ttft_s > 0), np.nan, observations.ttft_s)
    columns = (
        load.arrival_rate_rps,
        load.prompt_tokens,
        load.prompt_tokens_second,
        load.held_tokens,
        load.decode_steps,
        load.context_tokens,
        observations.decoding_requests,
        observations.itl_s,
        ttft,
    )
    return np.stack(columns, axis=1)


def says_enough(features: FloatArray) -> BoolArray:
    """Return the rows that all is known of but TTFT, with a gap between tokens."""
    known = np.isfinite(features[:, :_TTFT].sum(axis=1))
    return np.asarray(known & (features[:, _ITL] > 0))


def _load(observations: Observations, workloads: Workloads) -> Load:
    """Return the load, with what was measured of it in the place of what lengths say.

    Requests that finish in a window aren't those whose prompts it computed, nor those
    that it decoded: long ones are decoded for longer, and while lengths drift the two
    differ. A regressor with such an error would make its slope too small.
    """
    load = load_of(workloads, observations.arrival_rate_rps)
    measured = observations.prompt_tokens
    prompt = np.where(measured > 0.0, measured, load.prompt_tokens)
    scale = prompt / np.maximum(load.prompt_tokens, 1e-9)
    context = observations.context_tokens
    return replace(
        load,
        prompt_tokens=prompt,
        prompt_tokens_second=load.prompt_tokens_second * scale**2,
        context_tokens=np.where(context > 0.0, context, load.context_tokens),
    )


def remembered(
    state: EstimatorState,
    rows: IntArray,
    features: FloatArray,
    requests: FloatArray,
    now_s: float,
    settings: EstimatorSettings,
) -> EstimatorState:
    """Return the state with one new window for each of `rows`."""
    mine, mass, seen = state.points[rows], state.requests[rows], state.seen_s.copy()
    distance = np.where(mass > 0, _distance(mine, features), np.inf)
    joins = distance.min(axis=1) < settings.same_point_ratio
    slot = np.where(joins, distance.argmin(axis=1), seen[rows].argmin(axis=1))
    row = np.arange(len(rows))
    old = mine[row, slot]
    before = np.where(joins, np.minimum(mass[row, slot], settings.memory_requests), 0.0)
    # A TTFT that is missing on one side leaves the other as it is.
    old = np.where(np.isnan(old) | ~joins[:, None], features, old)
    new = np.where(np.isnan(features), old, features)
    mean = old + (new - old) * (requests / (before + requests))[:, None]
    points, total, taken = state.points.copy(), state.requests.copy(), state.taken_s.copy()
    points[rows, slot], total[rows, slot] = mean, before + requests
    seen[rows, slot], taken[rows] = now_s, now_s
    return replace(state, points=points, requests=total, seen_s=seen, taken_s=taken)


def _distance(points: FloatArray, features: FloatArray) -> FloatArray:
    """Return the largest relative difference in load and lengths, shape (rows, slots)."""
    kinds = [_DECODING, _PROMPT, _STEPS, _HELD]
    here, there = np.log1p(points[:, :, kinds]), np.log1p(features[:, None, kinds])
    return np.asarray(np.abs(here - there).max(axis=2), dtype=np.float64)


def points_of(points: FloatArray, weight: FloatArray) -> Points:
    """Return windows, shape (rows, points, FEATURES), as points of a fit."""
    return Points(
        load=Load(
            arrival_rate_rps=points[..., _RATE],
            prompt_tokens=points[..., _PROMPT],
            prompt_tokens_second=points[..., _SECOND],
            held_tokens=points[..., _HELD],
            decode_steps=points[..., _STEPS],
            context_tokens=points[..., _CONTEXT],
        ),
        decoding_requests=points[..., _DECODING],
        itl_s=points[..., _ITL],
        ttft_s=points[..., _TTFT],
        weight=weight,
    )


def points_kept(
    state: EstimatorState, rows: IntArray, now_s: float, settings: EstimatorSettings
) -> Points:
    """Return what is remembered of `rows`, the newest counting most."""
    # Slots fill from the first on: the empty ones at the end needn't be carried along.
    used = slice(0, int((state.requests[rows] > 0).sum(axis=1).max()))
    points, mass = state.points[rows, used], state.requests[rows, used]
    age_s = np.where(mass > 0, now_s - state.seen_s[rows, used], 0.0)
    weight = mass / (mass + settings.half_trusted_requests)
    return points_of(points, weight * np.exp2(-age_s / settings.half_life_s))
