"""What the cluster's objects declare: variants, who asks for what, and what can't be taken. Pure.

Precedence where two objects declare one variant, or two variants one scale target: the
settings, then a ScaledObject, then an HPA, then a VariantAutoscaling; of one kind the oldest.
The loser is reported, and changes nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..kube.fields import count_at, text_at
from .autoscalers import Hpa, Metadata, ScaledObject, Target, reduce_metadata, target_of
from .holds import Holds

__all__ = ["Declaration", "Problem", "VariantAutoscaling", "declared", "reduce_variant"]

MANAGED, MODEL, COST = "llm-d.ai/managed", "llm-d.ai/model-id", "llm-d.ai/variant-cost"
OURS = "wva.llm-d.ai/"
_OLD_ACCELERATOR = "inference.optimization/acceleratorName"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An object that can't be taken as it is, and what to do about it."""

    source: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantAutoscaling:
    """What is kept of a VariantAutoscaling (llmd.ai/v1alpha1)."""

    metadata: Metadata
    target: Target
    model: str
    cost: str
    least: int | None
    most: int | None
    service_class: str
    accelerator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One variant as an object declares it; the scale target fills in the rest."""

    source: str  # kind, namespace and name of the object
    namespace: str
    name: str
    model: str
    target: Target
    cost_per_hour: float | None
    service_class: str
    accelerator: str
    least: int
    most: int
    can_idle: bool  # its consumer may go to zero
    paused: bool
    holds: Holds  # of its consumer
    zero: str
    fallback_risk: str
    notes: Mapping[str, str]


def reduce_variant(document: Mapping[str, Any]) -> VariantAutoscaling:
    """Return what is kept of a VariantAutoscaling."""
    spec = document.get("spec")
    metadata = reduce_metadata(document)
    return VariantAutoscaling(
        metadata=metadata,
        target=target_of(spec if isinstance(spec, Mapping) else {}),
        model=text_at(spec, "modelID"),
        cost=text_at(spec, "variantCost"),
        least=count_at(spec, "minReplicas"),
        most=count_at(spec, "maxReplicas"),
        service_class=text_at(spec, "serviceClass"),
        accelerator=text_at(spec, "accelerator") or metadata.notes.get(_OLD_ACCELERATOR, ""),
    )


def declared(
    *,
    hpas: Iterable[Hpa],
    scaled_objects: Iterable[ScaledObject],
    variants: Iterable[VariantAutoscaling],
    instance: str = "",
) -> tuple[tuple[Declaration, ...], tuple[Problem, ...]]:
    """Return the variants that objects declare, one declaration each, and what was left out.

    Parameters
    ----------
    instance : str
        The settings' `controller_instance`: objects labelled for another one are others'.
    """
    hpas, scaled_objects = tuple(hpas), tuple(scaled_objects)
    problems: list[Problem] = []
    found: list[Declaration] = []
    for each in sorted(scaled_objects, key=_age):
        found += _annotated("ScaledObject", each, instance, problems)
    for hpa in sorted(hpas, key=_age):
        if not hpa.made_by:  # KEDA hands its ScaledObject's annotations on
            found += _annotated("HPA", hpa, instance, problems)
    bounds = _bounds(hpas, scaled_objects)
    for variant in sorted(variants, key=_age):
        if variant.metadata.instance == instance:
            found.append(_from_variant(variant, bounds, problems))
    return _first_of_each(found, problems), tuple(problems)


def _age(each: Hpa | ScaledObject | VariantAutoscaling) -> tuple[str, str, str]:
    return (each.metadata.created, each.metadata.namespace, each.metadata.name)


def _annotated(
    kind: str, each: Hpa | ScaledObject, instance: str, problems: list[Problem]
) -> Iterator[Declaration]:
    metadata = each.metadata
    notes, source = metadata.notes, f"{kind} {metadata.namespace}/{metadata.name}"
    if notes.get(MANAGED, "").lower() != "true" or metadata.instance != instance:
        return
    if not notes.get(MODEL):
        message = f"{MANAGED} is true, but {MODEL} is missing: add the model's served name"
        problems.append(Problem(source=source, message=message))
        return
    yield Declaration(
        source=source,
        namespace=metadata.namespace,
        name=each.variant or metadata.name,
        model=notes[MODEL],
        target=each.target,
        cost_per_hour=_cost(notes.get(COST, ""), source, problems),
        service_class=notes.get(f"{OURS}service-class", ""),
        accelerator=notes.get(f"{OURS}accelerator", ""),
        least=min(each.least, each.most),
        most=each.most,
        can_idle=each.least == 0,
        paused=isinstance(each, ScaledObject) and each.paused,
        holds=each.holds,
        zero=each.zero,
        fallback_risk=each.fallback_risk,
        notes=notes,
    )


def _bounds(
    hpas: tuple[Hpa, ...], scaled_objects: tuple[ScaledObject, ...]
) -> dict[tuple[str, str], Hpa | ScaledObject]:
    """Return the consumers of variants by namespace and name, those of KEDA first."""
    consumers: dict[tuple[str, str], Hpa | ScaledObject] = {}
    by_hand = (hpa for hpa in hpas if not hpa.made_by)
    following: tuple[Hpa | ScaledObject, ...] = (*scaled_objects, *by_hand)
    for each in following:
        if each.variant:
            consumers.setdefault((each.metadata.namespace, each.variant), each)
    return consumers


def _from_variant(
    variant: VariantAutoscaling,
    bounds: Mapping[tuple[str, str], Hpa | ScaledObject],
    problems: list[Problem],
) -> Declaration:
    metadata = variant.metadata
    source = f"VariantAutoscaling {metadata.namespace}/{metadata.name}"
    consumer = bounds.get((metadata.namespace, metadata.name))
    least = variant.least if variant.least is not None else (consumer.least if consumer else 1)
    most = variant.most if variant.most is not None else (consumer.most if consumer else 10)
    if consumer is None:
        message = f"no HPA or ScaledObject selects variant_name={metadata.name}: nothing follows it"
        problems.append(Problem(source=source, message=message))
    return Declaration(
        source=source,
        namespace=metadata.namespace,
        name=metadata.name,
        model=variant.model,
        target=variant.target,
        cost_per_hour=_cost(variant.cost, source, problems),
        service_class=variant.service_class,
        accelerator=variant.accelerator,
        least=min(least, most),
        most=most,
        can_idle=consumer is not None and consumer.least == 0,
        paused=isinstance(consumer, ScaledObject) and consumer.paused,
        holds=consumer.holds if consumer is not None else Holds(),
        zero=consumer.zero if consumer is not None else "",
        fallback_risk=consumer.fallback_risk if consumer is not None else "",
        notes=metadata.notes,
    )


def _cost(text: str, source: str, problems: list[Problem]) -> float | None:
    if not text:
        return None
    try:
        cost = float(text)
    except ValueError:
        cost = math.nan
    if math.isfinite(cost) and cost >= 0:
        return cost
    message = f"{COST} {text!r} is no number from 0 on; the list price is assumed"
    problems.append(Problem(source=source, message=message))
    return None


def _first_of_each(
    found: Iterable[Declaration], problems: list[Problem]
) -> tuple[Declaration, ...]:
    """Keep the first declaration of a variant, and of a scale target."""
    by_name: dict[tuple[str, str], Declaration] = {}
    by_target: dict[tuple[str, str, str], Declaration] = {}
    for each in found:
        target = (each.namespace, each.target.kind, each.target.name)
        winner = by_name.get((each.namespace, each.name)) or by_target.get(target)
        if winner is None:
            by_name[(each.namespace, each.name)] = by_target[target] = each
            continue
        what = f"variant {each.name}" if winner.name == each.name else f"{target[1]} {target[2]}"
        message = f"{what} is declared by {winner.source} already, which counts; this one doesn't"
        problems.append(Problem(source=each.source, message=message))
    return tuple(by_name.values())
