"""The layout of a page of metrics: what must be there again for a page to mean the same. Pure.

Lines move when numbers change their length, so a layout speaks of places within lines: the bytes
at the start of each line that decide what it means. They are compared eight at a time, wherever
the lines now start, in a few array operations.
"""

from array import array
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from .grammar import Labels, Series

__all__ = ["Layout", "LayoutShelf", "Page", "read_numbers"]

_WORD = 8
_WORD_TYPE = np.dtype("<u8")  # the first byte is the lowest on every machine
# What counts of a word of which the last i bytes lie beyond the beginning of its line.
_MASKS = np.array([(1 << 8 * (_WORD - i)) - 1 for i in range(_WORD)], dtype=np.uint64)
# What Series._make does, without the detour through its own tests.
_AS_SERIES = partial(tuple.__new__, Series)
_PAD = b"\n" + bytes(_WORD)
_NEWLINE = 10


class Page(NamedTuple):
    """A body and the places of its lines; the last line may be empty."""

    text: bytes  # the body, a newline, and padding
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, body: bytes) -> "Page":
        """Return the page that `body` is."""
        text = body + _PAD
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
        return cls(text, starts, ends)

    def words(self) -> NDArray[np.uint64]:
        """Return the word of eight bytes at every place, as a view."""
        return np.ndarray((len(self.text) - _WORD + 1,), _WORD_TYPE, self.text, strides=(1,))

    def line(self, number: int) -> bytes:
        """Return one line."""
        return self.text[self.starts[number] : self.ends[number]]

    def lines(self) -> list[bytes]:
        """Return all lines."""
        lines = self.text.split(b"\n")
        lines.pop()  # the padding
        return lines


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, kw_only=True)
class Layout:
    """What a page must repeat: word i, masked, at `word_offset[i]` in line `word_line[i]`."""

    lines: int
    openmetrics: bool
    word_line: NDArray[np.int32]
    word_offset: NDArray[np.int32]
    word_mask: NDArray[np.uint64]
    words: NDArray[np.uint64]
    series: tuple[Series, ...]
    value_line: NDArray[np.int32]
    value_offset: NDArray[np.int32]
    fact_line: tuple[int, ...]
    bad_lines: int
    bindings: dict[Any, Any] = field(default_factory=dict)  # what readers derive from `series`

    def fits(self, page: Page) -> bool:
        """Return whether the page is laid out like this."""
        if len(page.starts) != self.lines:
            return False
        words = page.words()
        places = page.starts.take(self.word_line)
        places += self.word_offset
        # Shorter lines can put a word beyond the end; what is read there then can't fit.
        np.minimum(places, len(words) - 1, out=places)
        found = words[places]
        found &= self.word_mask
        return np.array_equal(found, self.words)


def read_numbers(page: Page, layout: Layout) -> NDArray[np.float64] | None:
    """Return the values of a page that `layout` fits; None if one of them isn't a number."""
    text = page.text
    begins = (page.starts.take(layout.value_line) + layout.value_offset).tolist()
    ends = page.ends.take(layout.value_line).tolist()
    tails = b"\n".join([text[begin:end] for begin, end in zip(begins, ends, strict=True)])
    if b"_" in tails:  # Python's digit groups, not the format's
        return None
    try:
        parts = tails.decode("utf-8").split("\n") if begins else []
        return np.array(list(map(float, parts)))
    except ValueError:
        return None


class LayoutShelf:
    """Keeps layouts as long as somebody uses them, each once."""

    def __init__(self) -> None:
        self._layouts: WeakValueDictionary[Hashable, Layout] = WeakValueDictionary()

    def put(
        self,
        page: Page,
        *,
        lengths: "array[int]",
        series: list[tuple[str, Labels]],
        value_line: list[int],
        fact_line: list[int],
        bad_lines: int,
        openmetrics: bool,
    ) -> Layout:
        """Return the layout of a page of which `lengths[i]` bytes of line i are its meaning."""
        length = np.array(lengths, dtype=np.intc)
        count = (length + (_WORD - 1)) // _WORD
        word_line = np.repeat(np.arange(len(length), dtype=np.int32), count)
        first = np.cumsum(count, dtype=np.int32) - count
        word_offset = (np.arange(len(word_line), dtype=np.int32) - first[word_line]) * _WORD
        beyond = np.maximum(word_offset + _WORD - length[word_line], 0)
        mask = _MASKS[beyond]
        words = page.words()[page.starts[word_line] + word_offset] & mask
        at = np.array(value_line, dtype=np.int32)
        rest = (*fact_line, bad_lines, openmetrics)
        key = (words.tobytes(), length.tobytes(), at.tobytes(), rest)
        layout = self._layouts.get(key)
        if layout is None:
            layout = Layout(
                lines=len(length),
                openmetrics=openmetrics,
                word_line=word_line,
                word_offset=word_offset,
                word_mask=mask,
                words=words,
                series=tuple(map(_AS_SERIES, series)),
                value_line=at,
                value_offset=length[at],
                fact_line=tuple(fact_line),
                bad_lines=bad_lines,
            )
            self._layouts[key] = layout
        return layout
