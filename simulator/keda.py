"""KEDA's ScaledObject as pure code: its operator between zero and one, its metric beyond.

A trigger is asked on every poll whether it is active; an external-push trigger also says so
itself. Between one and the maximum KEDA does nothing but hand on the metric, or, after too many
failures of the trigger, one that asks for the fallback's count. Source: KEDA 2.20, its scale
executor and fallback, and its documentation of ScaledObject; push ignores `false` since 2.18.
"""

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Fallback", "KedaState", "ScaledObject", "request_scale", "served"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What is asked for while a trigger fails, from the failure after `failure_threshold` on."""

    failure_threshold: int = 3
    replicas: int = 1
    behavior: Literal[
        "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
    ] = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObject:
    """The spec, with KEDA's defaults."""

    min_replicas: int = 0
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaState:
    """When a trigger was last seen active (None: never), and how often in a row it has failed."""

    last_active_s: float | None = None
    failures: int = 0


def request_scale(
    state: KedaState, spec: ScaledObject, *, replicas: int, active: bool | None, now_s: float
) -> tuple[int, KedaState]:
    """Return the count after a poll or a push, and the next state.

    `active` is what the trigger says; None: it failed. Then nothing changes, but with a fallback
    of 0 replicas, which lets the workload go to zero.
    """
    if active:
        woken = max(spec.min_replicas, 1) if replicas == 0 else replicas
        return woken, replace(state, last_active_s=now_s)
    if active is None and (spec.fallback is None or spec.fallback.replicas > 0):
        return replicas, state
    if spec.min_replicas > 0:
        return max(replicas, spec.min_replicas), state
    cooled = state.last_active_s is None or now_s > state.last_active_s + spec.cooldown_s
    return 0 if cooled else replicas, state


def served(
    state: KedaState, spec: ScaledObject, *, value: float | None, replicas: int
) -> tuple[float | None, KedaState]:
    """Return what the HPA gets for the metric, over its target, and the next state.

    `value` is the trigger's, over its target; None: it failed. None for the HPA: an error, on
    which it changes nothing.
    """
    if value is not None:
        return value, replace(state, failures=0)
    failing = replace(state, failures=state.failures + 1)
    fallback = spec.fallback
    if fallback is None or failing.failures <= fallback.failure_threshold:
        return None, failing
    counts = {
        "static": fallback.replicas,
        "currentReplicas": replicas,
        "currentReplicasIfHigher": max(replicas, fallback.replicas),
        "currentReplicasIfLower": min(replicas, fallback.replicas),
    }
    return float(counts[fallback.behavior]), failing
