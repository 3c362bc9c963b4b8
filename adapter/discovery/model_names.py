"""What the settings call a declared variant's model and service class. Pure."""

from collections.abc import Callable

from ..config import Model, Settings, Variant
from .declarations import Problem
from .workloads import Workload

__all__ = ["known_class", "known_model", "one_class_per_model"]


def known_class(name: str, settings: Settings, report: Callable[[str], None]) -> str | None:
    """Return a class of the settings, None (the model's) where they have none of that name."""
    if not name or name in settings.service_classes:
        return name or None
    known = ", ".join(sorted(settings.service_classes)) or "none"
    report(f"service class {name!r} is not in the settings (known: {known}); the model's counts")
    return None


def known_model(name: str, workload: Workload | None, models: dict[str, Model]) -> str:
    """Return the settings' name of a model, and add what its engines call it to `models`."""
    known = next(
        (own for own, model in models.items() if name == own or name in model.served_names),
        name,
    )
    served = workload.served_names if workload is not None else ()
    model = models.get(known) or Model()
    missing = [each for each in served if each not in {known, *model.served_names}]
    if missing or (models and known not in models):
        names = (*model.served_names, *missing)
        models[known] = model.model_copy(update={"served_names": names})
    return known


def one_class_per_model(
    variants: list[Variant], settings: Settings, reports: list[Problem]
) -> tuple[Variant, ...]:
    """Give all variants of a model in a namespace one class: demand belongs to the model.

    Of several the strictest counts: the highest priority, then the first in the alphabet.
    """
    asked: dict[tuple[str, str], set[str]] = {}
    for variant in variants:
        if variant.service_class is not None:
            asked.setdefault((variant.namespace, variant.model), set()).add(variant.service_class)
    chosen: dict[tuple[str, str], str] = {}
    for key, names in asked.items():
        chosen[key] = min(names, key=lambda name: (settings.service_classes[name].priority, name))
        if len(names) > 1:
            message = (
                f"its variants ask for the service classes {', '.join(sorted(names))}; the "
                f"strictest counts for all of them: {chosen[key]}"
            )
            reports.append(Problem(source=f"model {key[0]}/{key[1]}", message=message))
    return tuple(
        variant.model_copy(update={"service_class": wanted})
        if (wanted := chosen.get((variant.namespace, variant.model), variant.service_class))
        != variant.service_class
        else variant
        for variant in variants
    )
