"""The history as a scenario: the same arrivals, lengths and engines, for the simulator. Pure."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray
from simulator.scenario import Scenario

from .declared import Declared, Promise, Supply
from .fitting import Fitted, spread_of
from .history import History
from .own_hpa import OwnHpa

__all__ = ["Past", "build_past", "hpa_of"]

# Rates vary by chance within a step; what is drawn from them would vary twice as much.
SMOOTH_S = 30.0
PHASE_S = 600.0
MOST_PHASES = 48
DRAIN_S = 300.0
ROOM = 4  # replicas above the most that were seen, where nobody set a bound
BLOCK_TOKENS = 16
COLD_START_CV = 0.1
LONGEST = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The history, what is known of its workloads, and the scenario that it makes."""

    history: History
    supplies: tuple[Supply, ...]
    promises: tuple[Promise, ...]
    fits: tuple[Fitted, ...]
    hpas: tuple[OwnHpa | None, ...]
    scenario: Scenario


def hpa_of(history: History, hpas: Sequence[OwnHpa]) -> tuple[OwnHpa | None, ...]:
    """Return the autoscaler that scales each workload."""
    by_target = {hpa.target: hpa for hpa in hpas}
    return tuple(by_target.get(variant.name) for variant in history.variants)


def build_past(
    history: History,
    fits: Sequence[Fitted],
    supplies: Sequence[Supply],
    declared: Declared,
    hpas: Sequence[OwnHpa | None],
) -> Past:
    """Return the scenario of a history all of whose workloads have a profile."""
    promises = tuple(declared.promise(namespace, model) for namespace, model in history.models)
    names = _unique([variant.name for variant in history.variants], history)
    models = _unique([model for _, model in history.models], history)
    content = {
        "name": "audit",
        "about": _about(history),
        "duration_s": history.span.length_s,
        "drain_s": DRAIN_S,
        "accelerators": {
            supply.accelerator: {
                "cost_per_hour": supply.cost_per_hour,
                "idle_w": supply.idle_w,
                "full_w": supply.full_w,
            }
            for supply in supplies
        },
        "models": [
            {
                "name": models[row],
                "ttft_s": promise.ttft_s,
                "itl_s": promise.itl_s,
                "percentile": promise.percentile,
                "priority": promise.priority,
                "routing": declared.router(history.models[row][1]),
                "workload": {"rate": _rate(history, row), "phases": _phases(history, row, fits)},
            }
            for row, promise in enumerate(promises)
        ],
        "variants": [
            {
                "name": names[row],
                "model": models[int(history.model_of[row])],
                **_variant(int(history.counts[row].max()), fits[row], supplies[row], hpas[row]),
                "initial_replicas": int(history.counts[row][0]),
            }
            for row in range(len(history.variants))
        ],
    }
    return Past(
        history=history,
        supplies=tuple(supplies),
        promises=promises,
        fits=tuple(fits),
        hpas=tuple(hpas),
        scenario=Scenario.model_validate(content),
    )


def _about(history: History) -> str:
    span = history.span
    return (
        f"{span.length_s / 3600.0:.4g} h of Prometheus history in steps of {span.step_s:g} s: "
        f"{len(history.replicas)} replicas of {len(history.variants)} workloads"
    )


def _unique(names: list[str], history: History) -> list[str]:
    """Return names that need their namespace with it."""
    if len(set(names)) == len(names):
        return names
    whole = [v.namespace for v in history.variants]
    spaces = whole if len(names) == len(whole) else [space for space, _ in history.models]
    return [f"{space}/{name}" for space, name in zip(spaces, names, strict=True)]


def _rate(history: History, model: int) -> dict[str, object]:
    span = history.span
    rate = np.nan_to_num(history.offered_rps[model])
    width = max(int(SMOOTH_S / span.step_s), 1)
    edge = np.pad(rate, (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(edge, np.ones(width) / width, mode="valid")
    points = [(at * span.step_s, float(value)) for at, value in enumerate(smooth)]
    return {"points": points, "shape": "steps"}


def _phases(history: History, model: int, fits: Sequence[Fitted]) -> list[dict[str, object]]:
    """Return lengths and prefix hits of each few minutes; the whole's where a few say nothing."""
    span = history.span
    count = int(np.clip(math.ceil(span.length_s / PHASE_S), 1, MOST_PHASES))
    edges = np.linspace(0, span.count, count + 1).astype(int)
    most = _most_tokens(history, model, fits)
    columns = {
        "prompt": _amounts(
            history, model, "sum:request_prompt_tokens", "count:request_prompt_tokens"
        ),
        "output": _amounts(
            history, model, "sum:request_output_tokens", "count:request_output_tokens"
        ),
        "hits": _amounts(history, model, "rate:prefix_hit_tokens", "rate:prefix_query_tokens"),
    }
    spread = {
        "prompt": spread_of(history, model, "request_prompt_tokens"),
        "output": spread_of(history, model, "request_output_tokens"),
    }
    phases = []
    for first, last in itertools.pairwise(edges.tolist()):
        mean = {name: _mean(*column, first, last) for name, column in columns.items()}
        phases.append(
            {
                "at_s": float(first) * span.step_s,
                **{
                    name: {
                        "mean": max(1.0, mean[name] if mean[name] > 0 else 1.0),
                        "cv": spread[name],
                        "max": most,
                    }
                    for name in ("prompt", "output")
                },
                "prefix_hit_ratio": float(np.clip(np.nan_to_num(mean["hits"]), 0.0, 0.99)),
            }
        )
    return phases


def _amounts(history: History, model: int, part: str, whole: str) -> tuple[FloatArray, FloatArray]:
    sums = [
        history.by_model(history.by_variant(np.nan_to_num(history.signal(name))))[model]
        for name in (part, whole)
    ]
    return sums[0], sums[1]


def _mean(amount: FloatArray, count: FloatArray, first: int, last: int) -> float:
    """Return the mean over some steps, over all of them where these have none; NaN without any."""
    for steps in (slice(first, last), slice(None)):
        total = float(count[steps].sum())
        if total > 0:
            return float(amount[steps].sum()) / total
    return math.nan


def _most_tokens(history: History, model: int, fits: Sequence[Fitted]) -> int:
    """Return a bound on lengths with which every engine holds any request."""
    profiles = [fit.profile for fit, of in zip(fits, history.model_of, strict=True) if of == model]
    held = [p.kv_capacity_tokens for p in profiles if p is not None]
    least = min([LONGEST, *(tokens for tokens in held if tokens is not None)])
    return max(least // 2 - BLOCK_TOKENS, 1)


def _variant(seen: int, fit: Fitted, supply: Supply, hpa: OwnHpa | None) -> dict[str, object]:
    """Return a workload's part of the scenario that doesn't depend on its name."""
    if fit.profile is None:
        raise ValueError("a workload without a profile can't be simulated")
    bounded = hpa.spec.max_replicas if hpa is not None else supply.max_replicas
    cold_start_s = supply.cold_start_s
    return {
        "accelerator": supply.accelerator,
        "accelerators_per_replica": supply.accelerators_per_replica,
        "routing_weight": supply.routing_weight,
        "profile": fit.profile.model_dump(),
        "max_model_len": LONGEST,
        "cold_start": {"mean_s": cold_start_s, "cv": COLD_START_CV if cold_start_s else 0.0},
        "min_replicas": hpa.spec.min_replicas if hpa is not None else supply.min_replicas,
        "max_replicas": max(seen, 2 * seen + ROOM if bounded is None else bounded),
    }
