"""An emulated engine's `/metrics`, line for line as vLLM 0.32's Python server writes it."""

from .engine import EngineSpec
from .http_families import answered_statuses, http_families
from .process_families import process_families
from .prometheus_text import Page
from .vllm_families import EngineMetrics, ServedModel, vllm_families

__all__ = ["Exposition"]


class Exposition:
    """One replica's page; laid out once, and again when a new class of status appears."""

    def __init__(self, model: ServedModel, spec: EngineSpec, *, start_unix_s: float) -> None:
        self._start_unix_s = start_unix_s
        self._page = Page(
            [*process_families(start_unix_s=start_unix_s), *vllm_families(model, spec)],
            created_unix_s=start_unix_s,
        )
        self._statuses: tuple[str, ...] = ()
        self._http_page = Page(http_families(()), created_unix_s=start_unix_s)

    def render(self, metrics: EngineMetrics) -> bytes:
        """Return the page with the numbers of this moment."""
        statuses = answered_statuses(metrics)
        if statuses != self._statuses:
            self._statuses = statuses
            self._http_page = Page(http_families(statuses), created_unix_s=self._start_unix_s)
        return (self._page.render(metrics) + self._http_page.render(metrics)).encode()
