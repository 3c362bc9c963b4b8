"""Prometheus's text format 0.0.4 as Python's client library writes it, fast.

Everything but the numbers is laid out once. Order of lines, placing of the `_created`
families and the look of numbers are those of `prometheus_client.generate_latest`.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar

__all__ = [
    "CONTENT_TYPE",
    "Family",
    "Histogram",
    "Page",
    "counter",
    "format_number",
    "gauge",
    "histogram",
    "summary",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Source = TypeVar("Source")


@dataclass(slots=True)
class Histogram:
    """Observations by bucket; the last one is +Inf."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        """Start empty."""
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value; bounds are inclusive."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def values(self) -> list[float]:
        """Return cumulative buckets, count and sum, as they are written."""
        return histogram_values(self.counts, self.total)


def histogram_values(counts: Iterable[int], total: float) -> list[float]:
    """Return a histogram's numbers in the order of its lines."""
    cumulative = list(accumulate(counts))
    return [*cumulative, cumulative[-1], total]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Generic[Source]):
    """One metric family: its lines up to the numbers, and how to read these."""

    name: str
    kind: str
    help: str
    samples: tuple[str, ...]
    created: tuple[str, ...] = ()
    read: Callable[[Source], Sequence[float]]

    def header(self, suffix: str = "") -> str:
        """Return the HELP and TYPE lines, of the family or of its `_created` twin."""
        name = self.name
        if suffix:
            name = name.removesuffix("_total") if self.kind == "counter" else name
        kind = "gauge" if suffix else self.kind
        return f"# HELP {name}{suffix} {self.help}\n# TYPE {name}{suffix} {kind}\n"


def gauge(
    name: str, text: str, read: Callable[[Source], Sequence[float]], *labels: Labels
) -> Family[Source]:
    """Describe a gauge with one series per label set."""
    samples = tuple(name + _label_text(each) for each in labels or ({},))
    return Family(name=name, kind="gauge", help=text, samples=samples, read=read)


def counter(
    name: str, text: str, read: Callable[[Source], Sequence[float]], *labels: Labels
) -> Family[Source]:
    """Describe a counter, whose name ends in `_total`, with one series per label set."""
    texts = tuple(_label_text(each) for each in labels)
    return Family(
        name=name,
        kind="counter",
        help=text,
        samples=tuple(name + each for each in texts),
        created=tuple(f"{name.removesuffix('_total')}_created{each}" for each in texts),
        read=read,
    )


def histogram(
    name: str,
    text: str,
    bounds: Sequence[float],
    read: Callable[[Source], Sequence[float]],
    *labels: Labels,
) -> Family[Source]:
    """Describe a histogram with one set of buckets per label set."""
    samples: list[str] = []
    for each in labels:
        limits = ({**each, "le": format_number(bound)} for bound in (*bounds, math.inf))
        samples += [f"{name}_bucket{_label_text(limit)}" for limit in limits]
        samples += [f"{name}_count{_label_text(each)}", f"{name}_sum{_label_text(each)}"]
    return Family(
        name=name,
        kind="histogram",
        help=text,
        samples=tuple(samples),
        created=tuple(f"{name}_created{_label_text(each)}" for each in labels),
        read=read,
    )


def summary(
    name: str, text: str, read: Callable[[Source], Sequence[float]], *labels: Labels
) -> Family[Source]:
    """Describe a summary without quantiles."""
    texts = [_label_text(each) for each in labels]
    return Family(
        name=name,
        kind="summary",
        help=text,
        samples=tuple(f"{name}{end}{each}" for each in texts for end in ("_count", "_sum")),
        created=tuple(f"{name}_created{each}" for each in texts),
        read=read,
    )


def _label_text(labels: Labels) -> str:
    """Return labels as the client library writes them: sorted, escaped."""
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def format_number(value: float) -> str:
    """Return a number as the client library does: exponents from 10^6 on, as in Go."""
    value = float(value)
    if value == math.inf:
        return "+Inf"
    if value == -math.inf:
        return "-Inf"
    if value != value:  # noqa: PLR0124 - the quickest test for NaN
        return "NaN"
    text = repr(value)
    dot = text.find(".")
    if value > 0.0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


class Page(Generic[Source]):
    """A page of families with everything laid out but the numbers."""

    def __init__(self, families: Sequence[Family[Source]], *, created_unix_s: float) -> None:
        self._families = families
        self._gaps: list[str] = []
        text = ""
        for family in families:
            text += family.header()
            for sample in family.samples:
                self._gaps.append(f"{text}{sample} ")
                text = "\n"
            if family.samples:
                text = "\n"
            if family.created:
                text += family.header("_created")
                stamp = format_number(created_unix_s)
                text += "".join(f"{sample} {stamp}\n" for sample in family.created)
        self._tail = text

    def render(self, source: Source) -> str:
        """Return the page with the numbers that `source` holds now."""
        numbers: list[float] = []
        for family in self._families:
            numbers.extend(family.read(source))
        return self.text(numbers)

    def text(self, numbers: Sequence[float]) -> str:
        """Return the page with these numbers, one per sample."""
        parts = [
            f"{gap}{format_number(number)}" for gap, number in zip(self._gaps, numbers, strict=True)
        ]
        return "".join(parts) + self._tail
