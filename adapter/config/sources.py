"""Where readings come from, and the metric names that are looked for there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from .section import Positive, Section

__all__ = [
    "DialectSettings",
    "DiscoverySource",
    "PrometheusSource",
    "RouterSource",
    "ScrapeSource",
    "Sources",
]


class ScrapeSource(Section):
    """Reading engines' /metrics directly, once for each decision."""

    interval_s: Positive | None = None  # the decisions', which is what it may say
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


class DialectSettings(Section):
    """A user's own table of metric names; see docs/operations.md."""

    detect: tuple[str, ...]
    extends: str | None = None
    signals: Mapping[str, Any] = {}
