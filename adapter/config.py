"""The settings: one YAML file, checked whole, unknown keys refused.

Files speak milliseconds (`*_ms`), as people do; the `*_s` properties are what the rest
of the adapter uses. Nothing here reads the network, the clock or the environment.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import ConfigError

__all__ = [
    "Accelerator",
    "ApiSettings",
    "ApiTlsFiles",
    "Brakes",
    "DialectSettings",
    "DiscoverySource",
    "HealthSettings",
    "HighAvailability",
    "Hours",
    "KedaSettings",
    "KubernetesSettings",
    "Model",
    "Profile",
    "PrometheusSource",
    "RouterSource",
    "ScheduledWarm",
    "ScrapeSource",
    "ServiceClass",
    "Settings",
    "Slo",
    "Sources",
    "TargetRef",
    "Variant",
    "Warm",
    "load_settings",
    "parse_settings",
]

# libyaml's loader where the installation has it: ten times faster, and a thousand variants
# leave tens of megabytes less of a fragmented heap behind.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class Section(BaseModel):
    """A part of the settings: frozen, and a key that it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PowerDraw(Section):
    """Electrical power of one accelerator, in watts."""

    idle: NonNegative
    full: NonNegative


class Accelerator(Section):
    """A GPU type: its price, power and memory; `count` caps how many may be used."""

    cost_per_hour: NonNegative | None = None  # absent: a list price, marked assumed
    power_w: PowerDraw | None = None
    memory_gib: Positive | None = None
    count: Annotated[int, Field(ge=-1)] | None = None


class Slo(Section):
    """Latency targets at a percentile; a target that isn't given isn't checked."""

    ttft_ms: Positive | None = None
    itl_ms: Positive | None = None
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95
    deadline_s: Positive | None = None

    @property
    def ttft_s(self) -> float:
        return float("inf") if self.ttft_ms is None else self.ttft_ms / 1e3

    @property
    def itl_s(self) -> float:
        return float("inf") if self.itl_ms is None else self.itl_ms / 1e3


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Hours(Section):
    """A part of the week in a zone's own time; an end not after its start is the next day's."""

    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start: Clock
    end: Clock
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"timezone {name!r} isn't known; name one like Europe/Berlin") from exc
        return name


class Warm(Section):
    """Ready replicas without work: so many, and a share of what demand needs."""

    replicas: Annotated[int, Field(ge=0)] = 0
    percent: NonNegative = 0.0


class ScheduledWarm(Hours):
    """What is kept warm in these hours instead."""

    warm: Warm


class ServiceClass(Section):
    """What a kind of traffic is promised; priority 1 is the highest, 100 the lowest.

    In its quiet hours a class keeps nothing warm, and its variants may go to zero whatever
    their min_replicas.
    """

    priority: Annotated[int, Field(ge=1, le=100)] = 100
    kind: Literal["online", "offline"] = "online"
    slo: Slo = Slo()
    warm: Warm = Warm()
    schedules: tuple[ScheduledWarm, ...] = ()
    quiet_hours: tuple[Hours, ...] = ()


class Profile(Section):
    """How fast one replica is on an accelerator. Only alpha and beta are required.

    alpha_ms: base time of an iteration. beta_ms: per token decoded, and per prompt
    token unless beta_prefill_ms says otherwise. gamma_ms: per KV-cache token held.
    """

    alpha_ms: Positive
    beta_ms: NonNegative
    beta_prefill_ms: NonNegative | None = None
    gamma_ms: NonNegative = 0.0
    ttft_constant_ms: NonNegative = 0.0
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    max_batched_tokens: Annotated[int, Field(ge=1)] | None = None
    max_queue_size: Annotated[int, Field(ge=0)] | None = None
    kv_capacity_tokens: Positive | None = None


class Demand(Section):
    """PromQL of any gateway for what clients offered and what was turned away, in requests/s."""

    arrivals_query: str | None = None
    rejections_query: str | None = None


class Model(Section):
    """A model that several variants may serve."""

    service_class: str | None = None
    served_names: tuple[str, ...] = ()
    profiles: Mapping[str, Profile] = {}
    demand: Demand = Demand()
    routing: Literal["learned", "equal_per_replica", "least_loaded", "weighted", "separate"] = (
        "learned"
    )


class TargetRef(Section):
    """A scale target in the variant's namespace."""

    api_version: Name = "apps/v1"
    kind: Name = "Deployment"
    name: Name
    service: str = ""  # whose endpoints are its replicas


class Variant(Section):
    """One (model, accelerator, engine settings) that scales as one workload."""

    name: Name
    namespace: Name = "default"
    model: Name
    accelerator: Name
    accelerators_per_replica: Annotated[int, Field(ge=1)] = 1
    accelerator_resource: str = ""  # as pods request it and quotas bound it
    engine_arguments: tuple[str, ...] = ()
    role: Literal["both", "prefill", "decode"] = "both"
    cost_per_hour: NonNegative | None = None
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 10
    endpoints: tuple[str, ...] = ()
    discovery: str | None = None
    series: Mapping[str, str] = {}
    metrics_path: str | None = None
    analyzer: Literal["model", "paper"] = "model"
    mode: Literal["active", "observe", "paused"] = "active"
    cold_start_s: Positive | None = None
    service_class: Name | None = None  # default: the model's
    target_ref: TargetRef | None = None  # whose pods are its replicas, in a cluster
    hpa_ref: Name | None = None  # the HPA that follows it, where its metric doesn't say

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}"
            )
        return self

    @field_validator("endpoints")
    @classmethod
    def _endpoints_are_http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"endpoint {url!r} must start with http:// or https://")
        return urls


class ScrapeSource(Section):
    """Reading engines' /metrics directly."""

    interval_s: Positive = 5.0
    timeout_s: Positive = 2.0
    window_s: Positive = 20.0
    max_concurrency: Annotated[int, Field(ge=1)] = 64
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024


class PrometheusSource(Section):
    """Reading engine metrics through a Prometheus server."""

    url: str
    timeout_s: Positive = 5.0
    window_s: Positive = 60.0
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False
    labels: Mapping[str, str] = {}


class RouterSource(Section):
    """The router's (EPP's) own metrics: queue length and outcomes, per model."""

    endpoints: tuple[str, ...]
    bearer_token_file: Path | None = None
    timeout_s: Positive = 2.0


class DiscoverySource(Section):
    """Endpoints over HTTP, in the JSON that Prometheus's http_sd reads."""

    url: str
    timeout_s: Positive = 2.0


class Sources(Section):
    """Where readings come from: exactly one of scrape and prometheus."""

    scrape: ScrapeSource | None = None
    prometheus: PrometheusSource | None = None
    router: RouterSource | None = None
    discovery: DiscoverySource | None = None

    @model_validator(mode="after")
    def _one_engine_source(self) -> Self:
        if self.scrape is not None and self.prometheus is not None:
            raise ValueError("give either scrape or prometheus, not both")
        return self

    @property
    def scraping(self) -> ScrapeSource | None:
        """The scrape source, which is also the default."""
        return None if self.prometheus is not None else (self.scrape or ScrapeSource())


class Brakes(Section):
    """The publication guard: brakes outside the optimizer (design 4.11)."""

    warm_up_s: NonNegative = 600.0
    max_scale_down_ratio: Annotated[float, Field(gt=0, le=1)] = 0.2  # per minute
    max_scale_up_factor: Annotated[float, Field(ge=1)] = 3.0  # per cold start
    min_scale_up_step: Annotated[int, Field(ge=1)] = 4  # replicas that the factor never forbids
    budget_per_hour: NonNegative | None = None
    budget_per_hour_by_namespace: Mapping[str, NonNegative] = {}


class TlsFiles(Section):
    """A certificate that somebody else makes and renews."""

    cert_file: Path
    key_file: Path


class ApiTlsFiles(TlsFiles):
    """The same, and the authority that clients are told to trust."""

    ca_file: Path | None = None


class ApiSettings(Section):
    """The external metrics API over HTTPS."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod serves its network
    port: Port = 8443
    auth: Literal["kubernetes", "none"] = "kubernetes"
    tls: ApiTlsFiles | None = None
    service_name: str = "wva"
    service_namespace: str = "wva-system"
    service_port: Annotated[int, Field(ge=1, le=65535)] = 443
    manage_api_service: bool = False


class KedaSettings(Section):
    """The KEDA external scaler over gRPC."""

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - a pod serves its network
    port: Port = 6000
    tls: TlsFiles | None = None
    client_ca_file: Path | None = None
    namespaces: tuple[str, ...] = ()  # others that a ScaledObject may name; "*" for all


class HealthSettings(Section):
    """Own /metrics, /healthz and /readyz over plain HTTP."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod serves its network
    port: Port = 8080


class HighAvailability(Section):
    """Several adapters in one cluster: one decides, all serve."""

    enabled: bool = False
    lease: Name = "wva"
    address: str | None = None


class KubernetesSettings(Section):
    """Variants, replicas and limits that a cluster's objects declare."""

    enabled: Literal["auto"] | bool = "auto"  # auto: in a pod
    namespaces: tuple[Name, ...] = ()  # none: all

    def wanted(self, *, in_cluster: bool) -> bool:
        """Return whether a cluster's objects are read, by a process that is in one or isn't."""
        return in_cluster if self.enabled == "auto" else self.enabled


class DialectSettings(Section):
    """A user's own table of metric names; see docs/operations.md."""

    detect: tuple[str, ...]
    extends: str | None = None
    signals: Mapping[str, Any] = {}


class Settings(Section):
    """Everything that a person can set."""

    interval_s: Positive = 5.0
    wake_interval_s: Positive = 0.5
    max_decision_age_s: Positive = 30.0
    hold_s: NonNegative = 600.0
    stability_margin_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    down_window_s: Positive = 60.0
    down_hysteresis_ratio: NonNegative = 0.02
    patience_ratio: NonNegative = 1.0
    upper_need_ratio: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    change_price_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    energy_price_per_kwh: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    zero_after_s: NonNegative = 600.0
    max_nudge_replicas: Annotated[int, Field(ge=0)] = 2
    hpa_tolerance: NonNegative = 0.1
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
    api: ApiSettings = ApiSettings()
    keda: KedaSettings = KedaSettings()
    health: HealthSettings = HealthSettings()
    high_availability: HighAvailability = HighAvailability()
    kubernetes: KubernetesSettings = KubernetesSettings()

    @model_validator(mode="after")
    def _references_resolve(self) -> Self:
        faults = [*_reference_faults(self), *_cluster_faults(self)]
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


def _cluster_faults(settings: Settings) -> Iterator[str]:
    """Yield what can't be had without asking Kubernetes who callers are."""
    if settings.api.auth == "kubernetes":
        return
    remedy = "it needs api.auth: kubernetes"
    if settings.high_availability.enabled:
        yield f"high_availability.enabled: true with api.auth: none: {remedy}"
    if settings.api.manage_api_service:
        yield f"api.manage_api_service: true with api.auth: none: {remedy}"


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def parse_settings(text: str, *, origin: str = "settings") -> Settings:
    """Return the settings that `text` (YAML) declares.

    Raises
    ------
    ConfigError
        If the text isn't YAML or breaks a rule; the message lists every fault.
    """
    try:
        content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, either way
    except yaml.YAMLError as exc:
        raise ConfigError(f"{origin} is not YAML: {exc}") from exc
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: expected a mapping at the top, got {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as exc:
        lines = [f"  {_place(e['loc'])}: {e['msg']}{_given(e)}" for e in exc.errors()]
        raise ConfigError("\n".join([f"{origin}: {len(lines)} fault(s)", *lines])) from exc


def load_settings(path: Path) -> Settings:
    """Return the settings in the file at `path`.

    Raises
    ------
    ConfigError
        If the file can't be read or its content breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read settings {path}: {exc}") from exc
    return parse_settings(text, origin=str(path))


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(top)"


def _given(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    return f" (got {value!r})" if isinstance(value, str | int | float | bool) else ""
