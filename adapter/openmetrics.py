"""Prometheus exposition of columns: a gauge over many variants, rendered in small pieces.

`prometheus_client` formats one sample at a time, several times slower than this, and all
at once: with 10,000 variants the serving process would answer nothing for seconds. Families
that it made itself go through its own encoders, so what is negotiated is its decision;
only `ColumnFamily` is rendered here. Both ways say the same (held by a test).
"""

import asyncio
import math
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

__all__ = ["ColumnFamily", "Exposition", "RowLabels", "Series", "expose", "gzipped"]

# About a millisecond of formatting; between two pieces other requests are served.
LINES_PER_PIECE = 1000
_EOF = b"# EOF\n"
_GZIP = 16 + zlib.MAX_WBITS
# Escaping schemes that rewrite even names of the classic character set.
_REWRITES_NAMES = ("escaping=dots", "escaping=values")


class RowLabels:
    """Labels of each row, as a mapping and as they are written between the braces."""

    __slots__ = ("rows", "texts")

    def __init__(self, rows: Sequence[Mapping[str, str]]) -> None:
        self.rows = rows
        self.texts = [
            ",".join([f'{name}="{_escaped(value)}"' for name, value in row.items()]) for row in rows
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A value per row under one more label; NaN: no sample."""

    values: NDArray[np.float64]
    label: tuple[str, str] | None = None


class ColumnFamily(Metric):
    """A gauge whose samples are columns; its `samples` are made only when they are asked for."""

    def __init__(
        self, name: str, documentation: str, labels: RowLabels, series: Sequence[Series]
    ) -> None:
        self._labels = labels
        self._series = tuple(series)
        super().__init__(name, documentation, "gauge")

    @property
    def samples(self) -> list[Sample]:
        """Return every sample, as `prometheus_client` wants them."""
        return [
            Sample(self.name, {**self._labels.rows[row], **dict(filter(None, [one.label]))}, value)
            for one in self._series
            for row, value in enumerate(one.values.tolist())
            if not math.isnan(value)
        ]

    @samples.setter
    def samples(self, empty: list[Sample]) -> None:
        """Accept what the base class starts with; columns are all there is."""

    def pieces(self) -> Iterator[str]:
        """Return the family in text, which is the same in both formats, piece by piece."""
        help_text = self.documentation.replace("\\", r"\\").replace("\n", r"\n")
        head = f"# HELP {self.name} {help_text}\n# TYPE {self.name} gauge\n"
        for one in self._series:
            known = np.flatnonzero(~np.isnan(one.values))
            for start in range(0, len(known), LINES_PER_PIECE):
                yield head + self._lines(one, known[start : start + LINES_PER_PIECE])
                head = ""
        if head:
            yield head

    def _lines(self, one: Series, rows: NDArray[np.int64]) -> str:
        extra = "" if one.label is None else f'{one.label[0]}="{_escaped(one.label[1])}",'
        begin, texts = f"{self.name}{{{extra}", self._labels.texts
        values = one.values[rows]
        written = map(repr if np.isfinite(values).all() else _number, values.tolist())
        return "".join(
            [
                f"{begin}{texts[row]}}} {value}\n"
                for row, value in zip(rows.tolist(), written, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Exposition:
    """A scrape's answer: its media type, and its body as it is made."""

    content_type: str
    body: AsyncIterator[bytes]


def expose(registry: Collector, accept: str) -> Exposition:
    """Return the answer to a scrape whose Accept header is `accept`."""
    encode, content_type = choose_encoder(accept)
    columns: list[ColumnFamily] = []
    plain: list[Metric] = []
    direct = not content_type.endswith(_REWRITES_NAMES)
    for family in registry.collect():
        if direct and isinstance(family, ColumnFamily):
            columns.append(family)
        else:
            plain.append(family)
    return Exposition(content_type, _body(encode(_Families(plain)), columns))


async def gzipped(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress a body as it is made."""
    # Level 1: the text repeats itself so much that more effort saves little.
    compressor = zlib.compressobj(1, wbits=_GZIP)
    async for piece in body:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


class _Families:
    """A registry of families that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _body(plain: bytes, columns: Sequence[ColumnFamily]) -> AsyncIterator[bytes]:
    end = _EOF if plain.endswith(_EOF) else b""
    yield plain.removesuffix(_EOF)
    for family in columns:
        for piece in family.pieces():
            yield piece.encode()
            await asyncio.sleep(0)
    if end:
        yield end


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
