"""HPAs and ScaledObjects of today, as far as they can be simulated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adapter.errors import ConfigError
from adapter.kube.fields import count_at, items_at, mapping_at, quantity, text_at
from optimizer.errors import InvalidInputError
from simulator.hpa import Behavior
from simulator.hpa_spec import DEFAULT_DOWN, DEFAULT_UP, HpaSpec, Policy, ScalingRules, SelectPolicy

__all__ = ["OwnHpa", "Trigger", "parse_own_hpas", "read_own_hpas"]

KEDA_MAX = 100
# What a metric's name or query holds, what it is of, and its unit in ours.
SIGNALS = (
    ("num_requests_waiting", "waiting", 1.0),
    ("queue_size", "waiting", 1.0),
    ("num_queue_reqs", "waiting", 1.0),
    ("num_requests_running", "running", 1.0),
    ("num_running_reqs", "running", 1.0),
    ("kv_cache_usage", "kv", 1.0),
    ("gpu_cache_usage", "kv", 1.0),
    ("token_usage", "kv", 1.0),
    ("gpu_util", "gpu", 0.01),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One metric: of what, and its target in our unit; `per_replica` false: type Value."""

    signal: str
    target: float
    per_replica: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHpa:
    """One autoscaler: what it scales, within which bounds, by which metrics."""

    target: str
    spec: HpaSpec
    triggers: tuple[Trigger, ...]


def read_own_hpas(path: Path) -> tuple[OwnHpa, ...]:
    """Return the autoscalers in a file.

    Raises
    ------
    ConfigError
        If it can't be read, or holds one that can't be simulated; the message says which.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read {path}: {exc}") from exc
    return parse_own_hpas(text, origin=str(path))


def parse_own_hpas(text: str, *, origin: str) -> tuple[OwnHpa, ...]:
    """Return the autoscalers among a YAML stream's objects, those of Lists, too."""
    try:
        objects = list(_objects(text))
    except yaml.YAMLError as exc:
        raise ConfigError(f"{origin} is not YAML: {exc}") from exc
    found = tuple(_of(one, origin) for one in objects if text_at(one, "kind") in _KINDS)
    if not found:
        raise ConfigError(f"{origin}: no HorizontalPodAutoscaler or ScaledObject in it")
    return found


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    for document in yaml.safe_load_all(text):
        if isinstance(document, Mapping):
            yield from items_at(document, "items") if "items" in document else (document,)


def _of(document: Mapping[str, Any], origin: str) -> OwnHpa:
    kind, name = text_at(document, "kind"), text_at(document, "metadata", "name")
    where = f"{origin}: {kind} {name}"
    try:
        return _KINDS[kind](mapping_at(document, "spec"), where)
    except InvalidInputError as exc:
        raise ConfigError(f"{where}: {exc}") from exc


def _of_hpa(spec: Mapping[str, Any], where: str) -> OwnHpa:
    least, most = count_at(spec, "minReplicas"), count_at(spec, "maxReplicas")
    if most is None:
        raise ConfigError(f"{where}: spec.maxReplicas is missing")
    return OwnHpa(
        target=text_at(spec, "scaleTargetRef", "name"),
        spec=HpaSpec(
            min_replicas=1 if least is None else least,
            max_replicas=most,
            behavior=_behavior(mapping_at(spec, "behavior")),
        ),
        triggers=tuple(_metric(one, where) for one in items_at(spec, "metrics")),
    )


def _of_scaled_object(spec: Mapping[str, Any], where: str) -> OwnHpa:
    config = mapping_at(spec, "advanced", "horizontalPodAutoscalerConfig")
    least, most = count_at(spec, "minReplicaCount"), count_at(spec, "maxReplicaCount")
    return OwnHpa(
        target=text_at(spec, "scaleTargetRef", "name"),
        spec=HpaSpec(
            min_replicas=max(least or 0, 1),  # KEDA's HPA begins at 1; waking is KEDA's
            max_replicas=KEDA_MAX if most is None else most,
            behavior=_behavior(mapping_at(config, "behavior")),
        ),
        triggers=tuple(_keda_trigger(one, where) for one in items_at(spec, "triggers")),
    )


_KINDS = {"HorizontalPodAutoscaler": _of_hpa, "ScaledObject": _of_scaled_object}


def _metric(metric: Mapping[str, Any], where: str) -> Trigger:
    kind = text_at(metric, "type")
    part = mapping_at(metric, kind[:1].lower() + kind[1:])
    name = text_at(part, "metric", "name") or text_at(part, "name")
    target = mapping_at(part, "target")
    if text_at(target, "type") == "Utilization":
        raise ConfigError(f"{where}: {name} utilization: engines' use of it can't be simulated")
    value = quantity(target.get("averageValue", target.get("value")))
    return _trigger(name, value, where, per_replica="averageValue" in target)


def _keda_trigger(trigger: Mapping[str, Any], where: str) -> Trigger:
    if text_at(trigger, "type") != "prometheus":
        kind = text_at(trigger, "type") or "without a type"
        raise ConfigError(f"{where}: trigger {kind}: only prometheus triggers can be simulated")
    metadata = mapping_at(trigger, "metadata")
    value = quantity(metadata.get("threshold"))
    average = text_at(trigger, "metricType") != "Value"
    return _trigger(text_at(metadata, "query"), value, where, per_replica=average)


def _trigger(name: str, value: float | None, where: str, *, per_replica: bool) -> Trigger:
    if value is None or value <= 0:
        raise ConfigError(f"{where}: the target of {name!r} is {value}; must be above 0")
    for part, signal, unit in SIGNALS:
        if part in name.lower().replace(":", "_"):
            return Trigger(signal=signal, target=value * unit, per_replica=per_replica)
    known = ", ".join(part for part, _, _ in SIGNALS)
    raise ConfigError(f"{where}: {name!r} can't be simulated; what can, has one of {known} in it")


def _behavior(behavior: Mapping[str, Any]) -> Behavior | None:
    if not behavior:
        return None
    return Behavior(
        scale_up=_rules(mapping_at(behavior, "scaleUp"), DEFAULT_UP),
        scale_down=_rules(mapping_at(behavior, "scaleDown"), DEFAULT_DOWN),
    )


def _rules(rules: Mapping[str, Any], default: ScalingRules) -> ScalingRules:
    policies = tuple(
        Policy(
            text_at(one, "type"),
            count_at(one, "value") or 0,
            float(count_at(one, "periodSeconds") or 0),
        )
        for one in items_at(rules, "policies")
    )
    window_s = count_at(rules, "stabilizationWindowSeconds")
    tolerance = quantity(rules["tolerance"]) if "tolerance" in rules else None
    return ScalingRules(
        policies=policies or default.policies,
        stabilization_s=default.stabilization_s if window_s is None else float(window_s),
        select=SelectPolicy(text_at(rules, "selectPolicy") or default.select),
        tolerance=default.tolerance if tolerance is None else tolerance,
    )
