"""The stock HorizontalPodAutoscaler's decision for one External metric, as pure code.

`averageValue` targets only. Follows kube-controller-manager: bounds first, then the
proposal ceil(usage / target) unless usage is within the tolerance of what is there, then
stabilization windows, then rate policies, each with the names that its conditions show.
The controller's clock, its list of recommendations and of scale events come in and go out
as `HpaState`. Source: Kubernetes, autoscaling/v2 and its documented algorithm.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from .hpa_spec import Behavior, HpaSpec, Policy, ScalingRules, SelectPolicy

__all__ = [
    "Behavior",
    "HpaDecision",
    "HpaReason",
    "HpaSpec",
    "HpaState",
    "Policy",
    "ScalingRules",
    "SelectPolicy",
    "decide",
]

Record: TypeAlias = tuple[float, int]  # when, how many


class HpaReason(StrEnum):
    """Why the count is what it is, in the words of the HPA's conditions."""

    WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW = "TooFewReplicas"
    TOO_MANY = "TooManyReplicas"
    UP_LIMIT = "ScaleUpLimit"
    DOWN_LIMIT = "ScaleDownLimit"
    UP_STABILIZED = "ScaleUpStabilized"
    DOWN_STABILIZED = "ScaleDownStabilized"
    NO_METRIC = "FailedGetExternalMetric"
    DISABLED = "ScalingDisabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaState:
    """What the controller remembers: proposals, and changes by direction, with their times."""

    recommendations: tuple[Record, ...] = ()
    up_events: tuple[Record, ...] = ()
    down_events: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaDecision:
    """The count to set, why, what the metric alone proposed, and the next state."""

    replicas: int
    reason: HpaReason
    proposal: int | None
    state: HpaState


def decide(
    state: HpaState,
    spec: HpaSpec,
    *,
    replicas: int,
    metric: float | None,
    now_s: float,
    status_replicas: int | None = None,
) -> HpaDecision:
    """Return what one sync of the controller does.

    `replicas` is the scale's `spec.replicas`; `status_replicas`, what tolerance is computed
    on, is the same unless given. `metric` is the sum over the metric's items, None where
    the metrics API gave none: then nothing changes.
    """
    if replicas == 0 and spec.min_replicas > 0:
        return HpaDecision(replicas=0, reason=HpaReason.DISABLED, proposal=None, state=state)
    if not spec.min_replicas <= replicas <= spec.max_replicas:
        above = replicas > spec.max_replicas
        return _changed(
            state,
            spec,
            replicas=replicas,
            count=spec.max_replicas if above else spec.min_replicas,
            reason=HpaReason.TOO_MANY if above else HpaReason.TOO_FEW,
            now_s=now_s,
        )
    if metric is None:
        return HpaDecision(
            replicas=replicas, reason=HpaReason.NO_METRIC, proposal=None, state=state
        )
    there = replicas if status_replicas is None else status_replicas
    proposal = _proposal(spec, metric, there)
    recommended, state, stabilized = _stabilize(state, spec, replicas, proposal, now_s)
    count, reason = _limit(state, spec, replicas, recommended, now_s)
    if reason is HpaReason.WITHIN_RANGE and stabilized is not None:
        reason = stabilized
    return _changed(
        state,
        spec,
        replicas=replicas,
        count=count,
        reason=reason,
        now_s=now_s,
        proposal=proposal,
    )


def _rules(spec: HpaSpec) -> Behavior:
    return Behavior() if spec.behavior is None else spec.behavior


def _proposal(spec: HpaSpec, metric: float, there: int) -> int:
    """Return ceil(usage / target), or what is there if usage is close enough to it.

    In thousandths, as the controller reads quantities; at zero replicas nothing is close.
    """
    usage, target = round(metric * 1000.0), round(spec.average_value * 1000.0)
    if there > 0:
        ratio = usage / (target * there)
        rules = _rules(spec)
        if 1.0 - rules.scale_down.tolerance <= ratio <= 1.0 + rules.scale_up.tolerance:
            return there
    return min(math.ceil(usage / target), 2**31 - 1)


def _stabilize(
    state: HpaState, spec: HpaSpec, replicas: int, proposal: int, now_s: float
) -> tuple[int, HpaState, HpaReason | None]:
    """Return the proposal within what the windows allow, and the state with it recorded."""
    rules = _rules(spec)
    windows_s = (rules.scale_up.stabilization_s, rules.scale_down.stabilization_s)
    up, down = (
        [proposal, *(count for at_s, count in state.recommendations if at_s > now_s - window_s)]
        for window_s in windows_s
    )
    recommended = min(max(replicas, min(up)), max(down))
    if spec.behavior is None:  # the older rule: an unmet proposal of the past counts, too
        recommended = max(down)
    kept = _since(state.recommendations, now_s - max(windows_s))
    state = replace(state, recommendations=(*kept, (now_s, proposal)))
    if recommended == proposal:
        return recommended, state, None
    upward = proposal >= replicas
    return recommended, state, (HpaReason.UP_STABILIZED if upward else HpaReason.DOWN_STABILIZED)


def _limit(
    state: HpaState, spec: HpaSpec, replicas: int, wanted: int, now_s: float
) -> tuple[int, HpaReason]:
    """Return `wanted` within the rate policies and the bounds."""
    if wanted > replicas:
        allowed = max(_up_limit(state, spec, replicas, now_s), replicas)
        if wanted > min(allowed, spec.max_replicas):
            limited = allowed < spec.max_replicas
            reason = HpaReason.UP_LIMIT if limited else HpaReason.TOO_MANY
            return min(allowed, spec.max_replicas), reason
    elif wanted < replicas:
        allowed = min(_down_limit(state, spec, replicas, now_s), replicas)
        if wanted < max(allowed, spec.min_replicas):
            limited = allowed > spec.min_replicas
            reason = HpaReason.DOWN_LIMIT if limited else HpaReason.TOO_FEW
            return max(allowed, spec.min_replicas), reason
    return wanted, HpaReason.WITHIN_RANGE


def _up_limit(state: HpaState, spec: HpaSpec, replicas: int, now_s: float) -> int:
    if spec.behavior is None:
        return max(2 * replicas, 4)
    rules = spec.behavior.scale_up
    if rules.select is SelectPolicy.DISABLED:
        return replicas
    proposals = []
    for policy in rules.policies:
        start = _at_period_start(state, policy, replicas, now_s)
        grown = math.ceil(start * (1.0 + policy.value / 100.0))
        proposals.append(start + policy.value if policy.type == "Pods" else grown)
    return max(proposals) if rules.select is SelectPolicy.MAX else min(proposals)


def _down_limit(state: HpaState, spec: HpaSpec, replicas: int, now_s: float) -> int:
    if spec.behavior is None:
        return 0
    rules = spec.behavior.scale_down
    if rules.select is SelectPolicy.DISABLED:
        return replicas
    proposals = []
    for policy in rules.policies:
        start = _at_period_start(state, policy, replicas, now_s)
        shrunk = int(start * (1.0 - policy.value / 100.0))
        proposals.append(start - policy.value if policy.type == "Pods" else shrunk)
    return min(proposals) if rules.select is SelectPolicy.MAX else max(proposals)


def _at_period_start(state: HpaState, policy: Policy, replicas: int, now_s: float) -> int:
    """Return the count when the policy's period began, going by the changes since."""
    added = sum(count for _, count in _since(state.up_events, now_s - policy.period_s))
    removed = sum(count for _, count in _since(state.down_events, now_s - policy.period_s))
    return replicas - added + removed


def _since(records: Iterable[Record], start_s: float) -> tuple[Record, ...]:
    return tuple(record for record in records if record[0] > start_s)


def _changed(
    state: HpaState,
    spec: HpaSpec,
    *,
    replicas: int,
    count: int,
    reason: HpaReason,
    now_s: float,
    proposal: int | None = None,
) -> HpaDecision:
    """Return the decision with its change recorded; without a behavior nobody asks for it."""
    if spec.behavior is not None and count != replicas:
        rules = (spec.behavior.scale_up, spec.behavior.scale_down)
        longest_s = max((p.period_s for rule in rules for p in rule.policies), default=0.0)
        up = _since(state.up_events, now_s - longest_s)
        down = _since(state.down_events, now_s - longest_s)
        if count > replicas:
            up = (*up, (now_s, count - replicas))
        else:
            down = (*down, (now_s, replicas - count))
        state = replace(state, up_events=up, down_events=down)
    return HpaDecision(replicas=count, reason=reason, proposal=proposal, state=state)
