"""A scenario as a file: who asks for what, what serves it, and what goes wrong when.

Checked whole, unknown keys refused. Everything is in base units but performance profiles.
"""

from importlib import resources
from pathlib import Path
from typing import Self

import yaml
from pydantic import ValidationError, model_validator

from optimizer.errors import InvalidInputError

from .cluster_spec import AcceleratorSpec, Event, NodeSpec, VariantSpec
from .demand_spec import ModelSpec
from .section import NonNegative, Positive, Section

__all__ = ["Scenario", "load_scenario", "parse_scenario", "shipped_scenarios"]


class Scenario(Section):
    """A whole replay: world, workload and events, without a policy."""

    name: str
    about: str
    sources: tuple[str, ...] = ()
    duration_s: Positive
    drain_s: NonNegative = 300.0
    lead_in_s: NonNegative = 0.0  # before it, at the first moment's rate: learned from, not judged
    accelerators: dict[str, AcceleratorSpec]
    nodes: tuple[NodeSpec, ...] = ()
    models: tuple[ModelSpec, ...]
    variants: tuple[VariantSpec, ...]
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        models = {model.name for model in self.models}
        for variant in self.variants:
            if variant.model not in models:
                raise ValueError(f"variant {variant.name}: no model {variant.model!r}")
            if variant.accelerator not in self.accelerators:
                raise ValueError(f"variant {variant.name}: no accelerator {variant.accelerator!r}")
        served = {variant.model for variant in self.variants}
        if unserved := models - served:
            raise ValueError(f"no variant serves {', '.join(sorted(unserved))}")
        if self.lead_in_s and any(model.workload.trace is not None for model in self.models):
            raise ValueError("lead_in_s: a trace has no moments before its first")
        return self

    def led_in(self) -> "Scenario":
        """Return the scenario on a clock that starts with the lead-in: all later by its length."""
        by_s = self.lead_in_s
        if not by_s:
            return self
        return self.model_copy(
            update={
                "lead_in_s": 0.0,
                "duration_s": self.duration_s + by_s,
                "models": tuple(
                    model.model_copy(update={"workload": model.workload.later(by_s)})
                    for model in self.models
                ),
                "events": tuple(
                    event.model_copy(
                        update={"at_s": event.at_s + by_s, "until_s": event.until_s + by_s}
                    )
                    for event in self.events
                ),
            }
        )

    @property
    def model_of(self) -> tuple[int, ...]:
        """Row of each variant's model."""
        row = {model.name: at for at, model in enumerate(self.models)}
        return tuple(row[variant.model] for variant in self.variants)


def shipped_scenarios() -> tuple[str, ...]:
    """Return the names of the scenarios that come with the package."""
    folder = resources.files(__package__).joinpath("scenarios")
    return tuple(
        sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if _is_yaml(each.name))
    )


def _is_yaml(name: str) -> bool:
    return name.endswith(".yaml")


def load_scenario(name: str) -> Scenario:
    """Return the scenario in a file, or the shipped one of that name.

    Raises
    ------
    InvalidInputError
        If there is none, or it breaks a rule; the message lists every fault.
    """
    path = Path(name)
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        shipped = name.removesuffix(".yaml")
        if shipped not in shipped_scenarios():
            known = ", ".join(shipped_scenarios())
            raise InvalidInputError(f"{name}: no such file, and no shipped scenario ({known})")
        folder = resources.files(__package__).joinpath("scenarios")
        text = folder.joinpath(f"{shipped}.yaml").read_text(encoding="utf-8")
    return parse_scenario(text, origin=name)


def parse_scenario(text: str, *, origin: str) -> Scenario:
    """Return the scenario that `text` (YAML) declares."""
    try:
        return Scenario.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as exc:
        raise InvalidInputError(f"{origin} is not YAML: {exc}") from exc
    except ValidationError as exc:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or '(top)'}: {e['msg']}"
            for e in exc.errors()
        ]
        raise InvalidInputError("\n".join([f"{origin}: {len(lines)} fault(s)", *lines])) from exc
