"""Read the wanted series of an exposition, and no more than that. Pure: bytes in, numbers out.

An engine's page has some six hundred lines, of which a decision needs a hundred and thirty, and
between two scrapes only numbers change. So a first (cold) reading parses the wanted lines and
remembers the page's layout: how each line must begin to mean the same again. The next (warm)
reading compares all these beginnings at once and then parses nothing but numbers. Where anything
differs, a cold reading follows: the answer is never from memory.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceMalformedError
from .grammar import Series
from .layout import Layout, LayoutShelf, Page, read_numbers
from .lines import LineReader, Vocabulary, digest

__all__ = ["Exposition", "ExpositionReader", "PageLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """What a page may hold; more is no engine's page, and would only take our time."""

    lines: int = 200_000
    series: int = 50_000
    odd_lines: int = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Exposition:
    """What was read: a value per series of the layout, and the facts.

    Facts are series that carry their values in labels (`vllm:cache_config_info`). They are no
    part of the layout, so that pods that differ in them alone still share one.
    """

    layout: Layout
    values: NDArray[np.float64]
    facts: tuple[Series, ...]

    @property
    def series(self) -> tuple[Series, ...]:
        """Return the series that `values` belong to."""
        return self.layout.series

    @property
    def bad_lines(self) -> int:
        """Return how many lines were skipped because they are not what the format says."""
        return self.layout.bad_lines


class ExpositionReader:
    """Reads pages for one set of wanted names; pages that are laid out alike share a layout.

    Parameters
    ----------
    wanted : collection of str
        Sample names, exactly as exposed.
    facts : mapping of str to collection of str
        Names of series whose labels hold the values, and which of their labels to keep.
    """

    def __init__(
        self,
        wanted: Collection[str],
        *,
        facts: Mapping[str, Collection[str]] | None = None,
        limits: PageLimits | None = None,
    ) -> None:
        self._vocabulary = Vocabulary(wanted, facts or {})
        self._limits = limits or PageLimits()
        self._shelf = LayoutShelf()

    def read(
        self,
        body: bytes,
        *,
        openmetrics: bool = False,
        layout: Layout | None = None,
        source: str = "",
    ) -> Exposition:
        """Return the wanted series of `body`; `layout` is that of the source's last page.

        Lines that break the format are skipped and counted.

        Raises
        ------
        SourceMalformedError
            If the page is beyond the limits.
        """
        page = Page.of(body)
        again = None
        if layout is not None and layout.openmetrics is openmetrics and layout.fits(page):
            again = self._read_again(page, layout)
        return again or self._read_first(page, openmetrics=openmetrics, source=source)

    def _read_again(self, page: Page, layout: Layout) -> Exposition | None:
        values = read_numbers(page, layout)
        known = self._vocabulary.known_facts
        facts = tuple(known.get(digest(page.line(number))) for number in layout.fact_line)
        if values is None or None in facts:
            return None
        return Exposition(layout, values, tuple(fact for fact in facts if fact is not None))

    def _read_first(self, page: Page, *, openmetrics: bool, source: str) -> Exposition:
        limits = self._limits
        if len(page.starts) > limits.lines:
            raise SourceMalformedError(source, f"more than {limits.lines} lines")
        self._vocabulary.forget_excess()
        reader = LineReader(self._vocabulary, openmetrics=openmetrics)
        if not reader.read(page.lines(), max_odd_lines=limits.odd_lines):
            raise SourceMalformedError(source, "the body is no exposition of metrics")
        samples = reader.samples
        if len(samples) > limits.series:
            raise SourceMalformedError(source, f"more than {limits.series} series of engines")
        layout = self._shelf.put(
            page,
            lengths=reader.lengths,
            series=[series for _, series, _ in samples],
            value_line=[number for number, _, _ in samples],
            fact_line=[number for number, _ in reader.facts],
            bad_lines=reader.bad_lines,
            openmetrics=openmetrics,
        )
        values = np.array([value for _, _, value in samples])
        return Exposition(layout, values, tuple(fact for _, fact in reader.facts))
