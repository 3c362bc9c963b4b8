"""A decision's question as a file: settings, and the demand to plan for. Pure.

The file is a settings file with one more key, `demand`: by model, what arrives and how long
requests are. What-ifs change it before it is checked, so that they are checked as well.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optimizer import FloatArray, ModelTable, PlanRequest, Policy, Workloads

from .catalog import Catalog, build_catalog
from .config import parse_settings
from .errors import ConfigError
from .question import build_question

__all__ = ["ModelDemand", "build_request", "parse_plan_file"]

Tokens = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class ModelDemand(BaseModel):
    """What arrives for a model. Lengths are means; their spread defaults to that of chats."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    arrival_rate_rps: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    prompt_tokens_mean: Tokens = 512.0
    output_tokens_mean: Tokens = 256.0
    length_cv: Annotated[float, Field(ge=0, le=10)] = 1.0
    prefix_hit_ratio: Annotated[float, Field(ge=0, le=0.99)] = 0.0
    backlog_requests: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


def parse_plan_file(
    text: str,
    *,
    origin: str,
    demand: Sequence[str] = (),
    capacity: Sequence[str] = (),
    slo: Sequence[str] = (),
) -> tuple[Catalog, Mapping[str, ModelDemand]]:
    """Return the catalog and the demand by model, with the what-ifs applied.

    Parameters
    ----------
    text : str
        The file.
    origin : str
        Its name, for errors.
    demand : sequence of str
        `MODEL=+50%`, `MODEL=-20%` or `MODEL=12.5` (requests/s).
    capacity : sequence of str
        `ACCELERATOR=COUNT`; -1 is unlimited.
    slo : sequence of str
        `CLASS.ttft_ms=300`, and so for the other targets.

    Raises
    ------
    ConfigError
        If the file or a what-if breaks a rule; the message names it.
    """
    content = _mapping(text, origin)
    asked = content.pop("demand", {})
    if not isinstance(asked, dict):
        raise ConfigError(f"{origin}: demand must be a mapping of models, got {asked!r}")
    for change in capacity:
        _set_capacity(content, change)
    for change in slo:
        _set_slo(content, change)
    catalog = build_catalog(parse_settings(yaml.safe_dump(content), origin=origin))
    known = {key.model for key in catalog.models}
    unknown = sorted(set(asked) - known)
    if unknown:
        raise ConfigError(
            f"{origin}: demand for {unknown[0]!r}, which no variant serves "
            f"(known: {', '.join(sorted(known))})"
        )
    found = {name: _demand(name, value, origin) for name, value in asked.items()}
    for change in demand:
        name, value = _pair(change, "--demand")
        if name not in found:
            raise ConfigError(
                f"--demand {change}: no demand for {name!r} in {origin} "
                f"(there is {', '.join(sorted(found))})"
            )
        found[name] = _changed(found[name], value, change)
    return catalog, found


def _mapping(text: str, origin: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"{origin} is not YAML: {exc}") from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: expected a mapping at the top, got {type(content).__name__}")
    return content


def _demand(name: str, value: Any, origin: str) -> ModelDemand:
    try:
        return ModelDemand.model_validate(value)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in ("demand", name, *first["loc"]))
        raise ConfigError(f"{origin}: {place}: {first['msg']}") from exc


def _pair(change: str, flag: str) -> tuple[str, str]:
    name, equals, value = change.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{flag} {change}: expected NAME=VALUE")
    return name, value


def _changed(before: ModelDemand, value: str, change: str) -> ModelDemand:
    relative = re.fullmatch(r"([+-]\d+(?:\.\d+)?)%", value)
    try:
        rate = (
            before.arrival_rate_rps * (1.0 + float(relative[1]) / 100.0)
            if relative
            else float(value)
        )
        return ModelDemand.model_validate({**before.model_dump(), "arrival_rate_rps": rate})
    except ValueError as exc:
        raise ConfigError(
            f"--demand {change}: expected +50%, -20% or a rate in requests/s, 0 or more"
        ) from exc


def _set_capacity(content: dict[str, Any], change: str) -> None:
    name, value = _pair(change, "--capacity")
    accelerators = content.get("accelerators") or {}
    if name not in accelerators:
        known = ", ".join(sorted(accelerators)) or "none"
        raise ConfigError(f"--capacity {change}: accelerator {name!r} is not declared ({known})")
    try:
        accelerators[name]["count"] = int(value)
    except ValueError as exc:
        raise ConfigError(f"--capacity {change}: expected a whole number, -1: unlimited") from exc


def _set_slo(content: dict[str, Any], change: str) -> None:
    name, value = _pair(change, "--slo")
    service_class, _, target = name.rpartition(".")
    classes = content.get("service_classes") or {}
    if service_class not in classes:
        known = ", ".join(sorted(classes)) or "none"
        raise ConfigError(f"--slo {change}: expected CLASS.TARGET=VALUE with a class of: {known}")
    try:
        classes[service_class].setdefault("slo", {})[target] = float(value)
    except ValueError as exc:
        raise ConfigError(f"--slo {change}: {value!r} is not a number") from exc


def build_request(
    catalog: Catalog, demand: Mapping[str, ModelDemand], policy: Policy
) -> PlanRequest:
    """Return the question: nothing runs yet but the lower bounds, all demand is steady."""
    asked = [demand.get(key.model, ModelDemand(arrival_rate_rps=0.0)) for key in catalog.models]
    waiting = np.array([d.backlog_requests for d in asked], dtype=np.float64)
    question = build_question(
        catalog,
        models=ModelTable.of(
            _steady_rps(catalog, asked),
            router_queue_requests=np.where(catalog.supply.offline, 0.0, waiting),
        ),
        workloads=_workloads([asked[row] for row in catalog.variant_model]),
        policy=policy,
    )
    # The published law reads engines' queues: here there are none.
    lawless = np.zeros(len(catalog.variants), dtype=np.bool_)
    return replace(question, variants=replace(question.variants, paper_law=lawless))


def _steady_rps(catalog: Catalog, asked: Sequence[ModelDemand]) -> FloatArray:
    """Return the rate that arrives, and that clears a backlog by its deadline."""
    backlog = np.array([d.backlog_requests for d in asked], dtype=np.float64)
    due = np.where(catalog.supply.offline, backlog / catalog.supply.deadline_s, 0.0)
    return np.asarray(due + np.array([d.arrival_rate_rps for d in asked]))


def _workloads(asked: Sequence[ModelDemand]) -> Workloads:
    def column(name: str) -> FloatArray:
        return np.array([getattr(d, name) for d in asked], dtype=np.float64)

    prompt, output = column("prompt_tokens_mean"), column("output_tokens_mean")
    spread = 1.0 + column("length_cv") ** 2
    return Workloads(
        prompt_tokens_mean=prompt,
        prompt_tokens_second_moment=spread * prompt**2,
        output_tokens_mean=output,
        output_tokens_second_moment=spread * output**2,
        prefix_hit_ratio=column("prefix_hit_ratio"),
    )
