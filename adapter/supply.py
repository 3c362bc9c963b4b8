"""What may run out, as the settings say it: accelerators, quotas, budgets; who comes first. Pure.

A `count` of -1 is unlimited. An accelerator without a count is unlimited too, since nodes may
be added, unless `strict_capacity` says that what isn't declared isn't there.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from optimizer import FloatArray, Supply, Uses

from .config import ServiceClass, Settings
from .records import ModelKey

__all__ = ["build_supply"]


_ROLES = {"both": 0, "prefill": 1, "decode": 2}


class _Resource(NamedTuple):
    name: str
    capacity: float
    units: FloatArray  # per variant; 0: doesn't use it
    spares_running: bool = False


def build_supply(settings: Settings, models: Sequence[ModelKey], *, costs: FloatArray) -> Supply:
    """Return the resources of these settings, and the models' priorities and deadlines.

    Parameters
    ----------
    settings : Settings
    models : sequence of ModelKey, length M
    costs : array, shape (V,)
        Of one replica of each variant. [currency/h]
    """
    resources = [*_accelerators(settings), *_quotas(settings), *_budgets(settings, costs)]
    classes = _classes(settings, models)
    variant = [np.flatnonzero(r.units) for r in resources]
    return Supply(
        uses=Uses(
            resource=np.repeat(np.arange(len(resources)), [len(v) for v in variant]),
            variant=np.concatenate(variant) if variant else np.empty(0, dtype=np.int64),
            units=np.concatenate([r.units[v] for r, v in zip(resources, variant, strict=True)])
            if variant
            else np.empty(0),
            capacity=np.array([r.capacity for r in resources], dtype=np.float64),
        ),
        names=tuple(r.name for r in resources),
        spares_running=np.array([r.spares_running for r in resources], dtype=np.bool_),
        priority=np.array([c.priority for c in classes], dtype=np.int64),
        offline=np.array([c.kind == "offline" for c in classes], dtype=np.bool_),
        role=np.array([_ROLES[v.role] for v in settings.variants], dtype=np.int64),
        deadline_s=np.array([c.slo.deadline_s or np.inf for c in classes], dtype=np.float64),
    )


def _classes(settings: Settings, models: Sequence[ModelKey]) -> list[ServiceClass]:
    """Return each model's class: of several that its variants name, the one that comes first."""
    named: dict[ModelKey, list[ServiceClass]] = {}
    for variant in settings.variants:
        model = settings.models.get(variant.model)
        name = variant.service_class or (model.service_class if model is not None else None)
        found = settings.service_classes[name] if name is not None else ServiceClass()
        named.setdefault(ModelKey(variant.namespace, variant.model), []).append(found)
    return [min(named[key], key=lambda c: (c.kind == "offline", c.priority)) for key in models]


def _gpus(settings: Settings, accelerator: str, namespace: str | None = None) -> FloatArray:
    """Return the accelerators of a type, or resource, that a replica of each variant takes."""
    return np.array(
        [
            v.accelerators_per_replica
            if accelerator in {v.accelerator, v.accelerator_resource}
            and namespace in {None, v.namespace}
            else 0
            for v in settings.variants
        ],
        dtype=np.float64,
    )


def _accelerators(settings: Settings) -> Iterator[_Resource]:
    for name in sorted({v.accelerator for v in settings.variants}):
        declared = settings.accelerators.get(name)
        count = declared.count if declared is not None else None
        if count is None and settings.strict_capacity:
            count = 0
        if count is not None and count >= 0:
            yield _Resource(name, float(count), _gpus(settings, name))


def _quotas(settings: Settings) -> Iterator[_Resource]:
    for namespace, limits in sorted(settings.quotas.items()):
        for accelerator, count in sorted(limits.items()):
            if count >= 0:
                name = f"quota of {namespace} for {accelerator}"
                yield _Resource(name, float(count), _gpus(settings, accelerator, namespace))


def _budgets(settings: Settings, costs: FloatArray) -> Iterator[_Resource]:
    brakes = settings.brakes
    if brakes.budget_per_hour is not None:
        yield _Resource("budget", brakes.budget_per_hour, costs, spares_running=True)
    for namespace, amount in sorted(brakes.budget_per_hour_by_namespace.items()):
        mine = np.array([v.namespace == namespace for v in settings.variants], dtype=np.bool_)
        yield _Resource(
            f"budget of {namespace}", amount, np.where(mine, costs, 0.0), spares_running=True
        )
