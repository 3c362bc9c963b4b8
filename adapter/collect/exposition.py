"""Read the wanted series of an exposition, and no more than that. Pure: bytes in, numbers out.

An engine's page has some six hundred lines, of which a decision needs a hundred and thirty, and
between two scrapes only numbers change. So a first (cold) reading parses the wanted lines and
remembers the page's layout: how each line must begin to mean the same again. The next (warm)
reading compares all these beginnings at once (`layout`) and then parses nothing but numbers.
Where anything differs, a cold reading follows: the answer is never from memory.

For a line that isn't wanted, the beginning is the shortest that no wanted name shares; for a
comment it is its `#`; for a line that is too odd for either, the whole line.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceMalformedError
from .grammar import NO_LABELS, Labels, Series, label_names, parse_line
from .layout import Layout, LayoutShelf, Page, read_numbers

__all__ = ["Exposition", "ExpositionReader"]

_NAMED = re.compile(rb"([a-zA-Z_:][a-zA-Z0-9_:]*+)[{ \t]")
_MAX_REMEMBERED = 20_000
_STEP = 8  # bytes, the layout's word
_COMMENT = b"#"


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


@dataclass(slots=True)
class _Draft:
    """What a cold reading has found so far."""

    lengths: list[int] = field(default_factory=list)  # per line: the bytes that are its meaning
    samples: list[tuple[int, Series, float]] = field(default_factory=list)
    facts: list[tuple[int, Series]] = field(default_factory=list)
    odd_lines: int = 0
    bad_lines: int = 0


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
        self._wanted = {name.encode(): name for name in wanted}
        self._facts = {n.encode(): frozenset(labels) for n, labels in (facts or {}).items()}
        self._beginnings = {
            name[:length]
            for name in (*self._wanted, *self._facts)
            for length in range(_STEP, len(name) + 1, _STEP)
        }
        self._limits = limits or PageLimits()
        self._shelf = LayoutShelf()
        self._known: dict[bytes, Series] = {}
        self._labels: dict[bytes, Labels] = {}
        self._label_names: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        self._skips: dict[bytes, int] = {}
        self._known_facts: dict[bytes, Series] = {}

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
        if layout is not None and layout.openmetrics is openmetrics and layout.fits(page):
            values = read_numbers(page, layout)
            facts = [self._known_facts.get(_digest(page.line(n))) for n in layout.fact_line]
            if values is not None and None not in facts:
                return Exposition(layout, values, tuple(f for f in facts if f is not None))
        return self._read_first(page, openmetrics=openmetrics, source=source)

    def _read_first(self, page: Page, *, openmetrics: bool, source: str) -> Exposition:
        limits = self._limits
        if len(page.starts) > limits.lines:
            raise SourceMalformedError(source, f"more than {limits.lines} lines")
        self._forget_excess()
        draft = _Draft()
        lengths, samples, known = draft.lengths, draft.samples, self._known
        skip = _COMMENT
        for number, line in enumerate(page.lines()):
            if line.startswith(skip):
                lengths.append(len(skip))
                continue
            if line.startswith(_COMMENT):
                lengths.append(1)
                continue
            begin = line.rfind(b" ") + 1
            series = known.get(line[:begin])
            if series is not None and (value := _number(line[begin:])) is not None:
                lengths.append(begin)
                samples.append((number, series, value))
                continue
            skip = self._look_closer(line, number, draft, openmetrics=openmetrics) or skip
            if draft.odd_lines > limits.odd_lines:
                raise SourceMalformedError(source, "the body is no exposition of metrics")
        if len(samples) > limits.series:
            raise SourceMalformedError(source, f"more than {limits.series} series of engines")
        return self._finish(page, draft, openmetrics=openmetrics)

    def _finish(self, page: Page, draft: _Draft, *, openmetrics: bool) -> Exposition:
        layout = self._shelf.put(
            page,
            lengths=draft.lengths,
            series=[series for _, series, _ in draft.samples],
            value_line=[number for number, _, _ in draft.samples],
            fact_line=[number for number, _ in draft.facts],
            bad_lines=draft.bad_lines,
            openmetrics=openmetrics,
        )
        values = np.array([value for _, _, value in draft.samples])
        return Exposition(layout, values, tuple(fact for _, fact in draft.facts))

    def _forget_excess(self) -> None:
        """Bound what is remembered: whoever makes up names without end makes us learn again."""
        memories: tuple[dict[Any, Any], ...]
        memories = (self._known, self._labels, self._label_names, self._skips, self._known_facts)
        for memory in memories:
            if len(memory) > _MAX_REMEMBERED:
                memory.clear()

    def _look_closer(
        self, line: bytes, number: int, draft: _Draft, *, openmetrics: bool
    ) -> bytes | None:
        """Take a line that was never seen; return its beginning if that tells it isn't wanted."""
        named = _NAMED.match(line)
        name = named[1] if named is not None else b""
        if name in self._wanted:
            if self._take_plain(line, name, number, draft):
                return None
        elif name in self._facts:
            if self._take_fact(line, name, number, draft):
                return None
        elif name:
            beginning = line[: self._skips.get(name) or self._learn_skip(name)]
            draft.lengths.append(len(beginning))
            return beginning
        self._take_odd(line, number, draft, openmetrics=openmetrics)
        return None

    def _learn_skip(self, name: bytes) -> int:
        """Return how much of a line tells that it isn't wanted, in whole words where that does.

        Where the name is the beginning of a wanted one, what follows it tells them apart.
        """
        length = _STEP
        while length <= len(name) and name[:length] in self._beginnings:
            length += _STEP
        self._skips[name] = length = min(length, len(name) + 1)
        return length

    def _take_plain(self, line: bytes, name: bytes, number: int, draft: _Draft) -> bool:
        """Take a wanted line as engines print it, `name{a="b",...} value`; False: it isn't."""
        begin = line.rfind(b" ") + 1
        labels: Labels | None = NO_LABELS
        if begin != len(name) + 1:
            braced = line[len(name)] == 0x7B and line[begin - 2 : begin] == b"} "
            labels = self._plain_labels(line[len(name) + 1 : begin - 2]) if braced else None
        value = _number(line[begin:])
        if labels is None or value is None:
            return False
        series = self._known[line[:begin]] = Series(self._wanted[name], labels)
        draft.lengths.append(begin)
        draft.samples.append((number, series, value))
        return True

    def _plain_labels(self, inside: bytes) -> Labels | None:
        """Return the labels in `a="b",c="d"`; None where only the full grammar can tell."""
        labels = self._labels.get(inside)
        if labels is not None or b"\\" in inside:
            return labels
        try:
            parts = inside.decode("utf-8").split('"')
        except UnicodeDecodeError:
            return None
        between = tuple(parts[::2])
        if between not in self._label_names:
            self._label_names[between] = label_names(between)
        names = self._label_names[between]
        if names is None:
            return None
        labels = self._labels[inside] = Labels(names, tuple(parts[1::2]))
        return labels

    def _take_fact(self, line: bytes, name: bytes, number: int, draft: _Draft) -> bool:
        """Take a line whose labels are its values; False: it takes the full grammar."""
        key = _digest(line)
        fact = self._known_facts.get(key)
        if fact is None:
            braced = line[len(name)] == 0x7B
            labels = self._plain_labels(line[len(name) + 1 : line.rfind(b"} ")]) if braced else None
            if labels is None:
                return False
            fact = self._known_facts[key] = self._fact(name, labels)
        draft.facts.append((number, fact))
        draft.lengths.append(len(name) + 1)
        return True

    def _fact(self, name: bytes, labels: Labels) -> Series:
        series, keep = Series(name.decode(), labels), self._facts[name]
        kept = {key: value for key, value in series.as_dict().items() if key in keep}
        return Series(series.name, Labels.of(kept))

    def _take_odd(self, line: bytes, number: int, draft: _Draft, *, openmetrics: bool) -> None:
        """Take a line by the full grammar. Unless it holds a value, all of it is its meaning."""
        whole = len(line) + 1
        if not line.strip() or line.lstrip().startswith(_COMMENT):
            draft.lengths.append(whole)
            return
        draft.odd_lines += 1
        try:
            series, value, begin = parse_line(line, openmetrics=openmetrics)
        except ValueError:
            draft.bad_lines += 1
            draft.lengths.append(whole)
            return
        name = series.name.encode()
        if name in self._wanted:
            draft.lengths.append(begin)
            draft.samples.append((number, series, value))
            return
        if name in self._facts:
            fact = self._fact(name, series.labels)
            self._known_facts[_digest(line)] = fact
            draft.facts.append((number, fact))
        draft.lengths.append(whole)


def _number(text: bytes) -> float | None:
    if b"_" in text:  # Python's digit groups, not the format's
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()
