"""The whole of the settings, and the faults that only the whole can show."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .classes import ServiceClass
from .fleet import Accelerator, Model, Variant
from .section import NonNegative, Positive, Section
from .serving import (
    ApiSettings,
    HealthSettings,
    HighAvailability,
    KedaSettings,
    KubernetesSettings,
)
from .sources import DialectSettings, Sources

__all__ = [
    "Brakes",
    "Mechanisms",
    "Settings",
]


class Brakes(Section):
    """The publication guard: brakes outside the optimizer (design 4.11)."""

    warm_up_s: NonNegative = 600.0
    max_scale_down_ratio: Annotated[float, Field(gt=0, le=1)] = 0.2  # per minute
    max_scale_up_factor: Annotated[float, Field(ge=1)] = 3.0  # per cold start
    min_scale_up_step: Annotated[int, Field(ge=1)] = 4  # replicas that the factor never forbids
    budget_per_hour: NonNegative | None = None
    budget_per_hour_by_namespace: Mapping[str, NonNegative] = {}


class Mechanisms(Section):
    """Parts of the decision that can be left out, to see in a replay what they are worth."""

    fragmentation_check: bool = True
    global_allocation: bool = True
    profile_learning: bool = True


class Settings(Section):
    """Everything that a person can set."""

    interval_s: Positive = 5.0
    wake_interval_s: Positive = 0.5
    max_decision_age_s: Positive = 30.0
    hold_s: NonNegative = 600.0
    mode: Literal["active", "observe", "paused"] = "active"
    stability_margin_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    down_window_s: Positive = 60.0
    down_hysteresis_ratio: NonNegative = 0.02
    patience_ratio: NonNegative = 1.0
    upper_need_ratio: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    expected_after_rises: Annotated[int, Field(ge=0)] = 0
    change_price_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    energy_price_per_kwh: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    zero_after_s: NonNegative = 600.0
    max_nudge_replicas: Annotated[int, Field(ge=0)] = 2
    hpa_tolerance: NonNegative = 0.1
    name_leaving_pods: bool = False
    controller_instance: str | None = None
    state_dir: Path | None = None
    sources: Sources = Sources()
    accelerators: Mapping[str, Accelerator] = {}
    strict_capacity: bool = False
    quotas: Mapping[str, Mapping[str, Annotated[int, Field(ge=-1)]]] = {}
    service_classes: Mapping[str, ServiceClass] = {}
    models: Mapping[str, Model] = {}
    variants: tuple[Variant, ...] = ()
    dialects: Mapping[str, DialectSettings] = {}
    brakes: Brakes = Brakes()
    mechanisms: Mechanisms = Mechanisms()
    api: ApiSettings = ApiSettings()
    keda: KedaSettings = KedaSettings()
    health: HealthSettings = HealthSettings()
    high_availability: HighAvailability = HighAvailability()
    kubernetes: KubernetesSettings = KubernetesSettings()

    @model_validator(mode="after")
    def _references_resolve(self) -> Self:
        faults = [*_reference_faults(self), *_cluster_faults(self), *_source_faults(self)]
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _reference_faults(settings: Settings) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for variant in settings.variants:
        if variant.key in seen:
            yield f"variant {variant.namespace}/{variant.name} is declared twice"
        seen.add(variant.key)
        model = settings.models.get(variant.model)
        if settings.models and model is None:
            known = ", ".join(sorted(settings.models))
            yield f"variant {variant.name}: model {variant.model!r} is not under models: ({known})"
        if (name := variant.service_class) is not None and name not in settings.service_classes:
            known = ", ".join(sorted(settings.service_classes)) or "none"
            yield (
                f"variant {variant.name}: service class {name!r} is not declared (known: {known})"
            )
    yield from _role_faults(settings)
    yield from _routing_faults(settings)
    for name, model in settings.models.items():
        service_class = model.service_class
        if service_class is not None and service_class not in settings.service_classes:
            known = ", ".join(sorted(settings.service_classes)) or "none"
            yield f"model {name}: service class {service_class!r} is not declared (known: {known})"
    if settings.api.auth == "none" and not _is_loopback(settings.api.host):
        yield (
            f"api.auth: none is refused on {settings.api.host!r}: anyone there could read every "
            "decision. Bind api.host to 127.0.0.1, or use auth: kubernetes"
        )


def _role_faults(settings: Settings) -> Iterator[str]:
    roles: dict[tuple[str, str], set[str]] = {}
    for variant in settings.variants:
        roles.setdefault((variant.namespace, variant.model), set()).add(variant.role)
    for (namespace, model), found in roles.items():
        if found not in ({"both"}, {"prefill", "decode"}):
            yield (
                f"model {model} in {namespace}: roles {', '.join(sorted(found))}: its variants "
                "must all be both, or some prefill and some decode"
            )


def _routing_faults(settings: Settings) -> Iterator[str]:
    """Yield weights that no router has, and requests that can't be kept apart."""
    known = {variant.key for variant in settings.variants}
    for variant in settings.variants:
        old = variant.takes_over
        if old is not None and (variant.namespace, old) not in known - {variant.key}:
            yield (
                f"variant {variant.name}: takes_over {old!r} is no other variant of "
                f"namespace {variant.namespace}"
            )
        if variant.role != "both" and (variant.hold or variant.takes_over):
            yield (
                f"variant {variant.name}: hold and takes_over need role: both, and it is "
                f"{variant.role}: a request needs prefill and decode, so neither is apart"
            )
        model = settings.models.get(variant.model)
        law = model.routing if model is not None else "learned"
        if variant.routing_weight is not None and law != "weighted":
            yield (
                f"variant {variant.name}: routing_weight {variant.routing_weight:g} says nothing "
                f"where model {variant.model} has routing: {law}. Set routing: weighted there, or "
                "leave it out"
            )
        if law == "separate" and variant.role != "both":
            yield (
                f"model {variant.model}: routing: separate with role: {variant.role} of "
                f"{variant.name}: a request needs prefill and decode, so they can't be apart. "
                "Leave routing out"
            )


def _cluster_faults(settings: Settings) -> Iterator[str]:
    """Yield what can't be had without asking Kubernetes who callers are."""
    if settings.api.auth == "kubernetes":
        return
    remedy = "it needs api.auth: kubernetes"
    if settings.high_availability.enabled:
        yield f"high_availability.enabled: true with api.auth: none: {remedy}"
    if settings.api.manage_api_service:
        yield f"api.manage_api_service: true with api.auth: none: {remedy}"


def _source_faults(settings: Settings) -> Iterator[str]:
    """Yield what would leave the adapter without a rate for ever: it takes two readings."""
    scrape = settings.sources.scraping
    if scrape is None:
        return
    if scrape.interval_s is not None and scrape.interval_s != settings.interval_s:
        yield (
            f"sources.scrape.interval_s {scrape.interval_s:g} isn't interval_s "
            f"{settings.interval_s:g}: engines are read once for each decision. Leave it out, "
            "and set interval_s"
        )
    least_s = 2.0 * settings.interval_s
    if scrape.window_s < least_s:
        yield (
            f"sources.scrape.window_s {scrape.window_s:g} is below {least_s:g}, twice interval_s: "
            "rates need two readings in the window. Make window_s longer or interval_s shorter"
        )


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
