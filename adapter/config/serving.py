"""How the adapter serves, and what it takes from a cluster."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .section import Name, Port, Section

__all__ = [
    "ApiSettings",
    "ApiTlsFiles",
    "HealthSettings",
    "HighAvailability",
    "KedaSettings",
    "KubernetesSettings",
    "TlsFiles",
]


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
