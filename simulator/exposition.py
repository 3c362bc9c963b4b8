"""An emulated engine's `/metrics`, line for line as vLLM 0.32's Python server writes it."""

from collections.abc import Callable

import numpy as np

from optimizer import FloatArray, IntArray

from .engine import EngineSpec
from .http_families import answered_statuses, http_families
from .process_families import process_families
from .prometheus_text import Page
from .vllm_families import EngineMetrics, ServedModel, vllm_families

__all__ = ["Exposition", "ShownNumbers"]


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


class ShownNumbers:
    """The numbers of a page without its text, for readers that know its layout.

    `template` is the page with every sample's place for its value: whoever parses it learns
    where each series that it wants is among the numbers.
    """

    def __init__(self, model: ServedModel, spec: EngineSpec, *, start_unix_s: float) -> None:
        self._families = (
            *process_families(start_unix_s=start_unix_s),
            *vllm_families(model, spec),
        )
        self._start_unix_s = start_unix_s
        sizes = [len(family.samples) for family in self._families]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def template(self) -> bytes:
        """Return the numbered page."""
        page = Page(self._families, created_unix_s=self._start_unix_s)
        return page.text(range(int(self._starts[-1]))).encode()

    def reader(self, places: IntArray) -> Callable[[EngineMetrics], FloatArray]:
        """Return a function that reads the numbers at `places` of the page, no others.

        Places beyond the samples are those of `_created` series, whose value is the start.
        """
        created = places >= self._starts[-1]
        family = np.searchsorted(self._starts, np.where(created, 0, places), side="right") - 1
        needed = np.unique(family)
        sizes = np.diff(self._starts)[needed]
        begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        within = places - self._starts[family] + begins[np.searchsorted(needed, family)]
        within[created] = -1
        reads = [self._families[at].read for at in needed]
        start_s = self._start_unix_s

        def read(metrics: EngineMetrics) -> FloatArray:
            numbers = [number for one in reads for number in one(metrics)]
            shown: FloatArray = np.array([*numbers, start_s], dtype=np.float64)[within]
            return shown

        return read
