"""The settings: one YAML file, checked whole, unknown keys refused.

Files speak milliseconds (`*_ms`), as people do; the `*_s` properties are what the rest
of the adapter uses. Nothing here reads the network, the clock or the environment.
"""

from .classes import Hours, ScheduledWarm, ServiceClass, Slo, Warm
from .fleet import Accelerator, Model, Profile, TargetRef, Variant
from .reading import load_settings, parse_settings
from .serving import (
    ApiSettings,
    ApiTlsFiles,
    HealthSettings,
    HighAvailability,
    KedaSettings,
    KubernetesSettings,
    TlsFiles,
)
from .settings import Brakes, Mechanisms, Settings
from .sources import (
    DialectSettings,
    DiscoverySource,
    PrometheusSource,
    RouterSource,
    ScrapeSource,
    Sources,
)

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
    "Mechanisms",
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
    "TlsFiles",
    "Variant",
    "Warm",
    "load_settings",
    "parse_settings",
]
