"""Charts as inline SVG: axes, steps, lines, bands, points. Pure text; looks the same on paper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Axis", "Chart", "ticks"]

LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 34.0
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values between the bounds, about `count` of them."""
    span = high - low
    if not span > 0.0:
        return [low]
    rough = span / count
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(s * scale for s in STEPS if s * scale >= rough * (1.0 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: bounds, words, how its numbers look, and whether it is logarithmic."""

    low: float
    high: float
    label: str = ""
    form: str = "g"
    log: bool = False

    def part(self, value: float) -> float:
        """Return where a value is, 0 to 1; what is outside is put on the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Return the values that are named."""
        if not self.log:
            return ticks(self.low, self.high)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [10.0**n for n in powers if self.low <= 10.0**n <= self.high]


@dataclass(slots=True)
class Chart:
    """A chart that is drawn from the back to the front."""

    x: Axis
    y: Axis
    width: float = 860.0
    height: float = 260.0
    _parts: list[str] = field(default_factory=list)

    def steps(self, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """Draw a line that keeps each value until the next point."""
        points: list[tuple[float, float]] = []
        for x, y in zip(xs, ys, strict=True):
            if points:
                points.append((x, points[-1][1]))
            points.append((x, y))
        self._path(points, style)

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """Draw straight lines between points; NaN leaves a gap."""
        self._path(list(zip(xs, ys, strict=True)), style)

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: str
    ) -> None:
        """Fill what lies between two stepped lines."""
        upper, lower = _stepped(xs, highs), _stepped(xs, lows)
        corners = [*upper, *reversed(lower)]
        text = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in corners)
        self._parts.append(f'<polygon points="{text}" style="{style}"/>')

    def level(self, y: float, label: str) -> None:
        """Draw a dashed horizontal line with its name."""
        at = self._y(y)
        self._parts.append(
            f'<line x1="{LEFT}" x2="{self.width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
            f'class="target"/>'
            f'<text x="{self.width - RIGHT - 4}" y="{at - 4:.1f}" class="target end">'
            f"{escape(label)}</text>"
        )

    def point(
        self, x: float, y: float, *, color: str, label: str, bars: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """Draw a named dot with error bars in both directions."""
        across, up = (0.0 if math.isnan(bar) else bar for bar in bars)
        cx, cy = self._x(x), self._y(y)
        self._parts.append(
            f'<line x1="{self._x(x - across):.1f}" x2="{self._x(x + across):.1f}" y1="{cy:.1f}" '
            f'y2="{cy:.1f}" style="stroke:{color}"/><line x1="{cx:.1f}" x2="{cx:.1f}" '
            f'y1="{self._y(y - up):.1f}" y2="{self._y(y + up):.1f}" style="stroke:{color}"/>'
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4.5" style="fill:{color}">'
            f"<title>{escape(label)}</title></circle>"
        )

    def text(self, x: float, y: float, words: str, *, dx: float, dy: float, css: str = "") -> None:
        """Write words beside a point."""
        self._parts.append(
            f'<text x="{self._x(x) + dx:.1f}" y="{self._y(y) + dy:.1f}" class="{css}">'
            f"{escape(words)}</text>"
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is drawn, for who keeps labels apart."""
        return self._x(x), self._y(y)

    def svg(self, title: str) -> str:
        """Return the chart."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(title)}">{self._axes()}{"".join(self._parts)}</svg>'
        )

    def _axes(self) -> str:
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        parts = []
        for value in self.y.ticks():
            at = self._y(value)
            parts.append(
                f'<line x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
                f'<text x="{LEFT - 6}" y="{at + 4:.1f}" class="end">{value:{self.y.form}}</text>'
            )
        for value in self.x.ticks():
            at = self._x(value)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}" class="axis"/>'
                f'<text x="{at:.1f}" y="{bottom + 16}" class="middle">{value:{self.x.form}}</text>'
            )
        middle = (TOP + bottom) / 2.0
        parts.append(
            f'<line x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" class="axis"/>'
            f'<text x="{(LEFT + right) / 2}" y="{self.height - 4}" class="middle name">'
            f"{escape(self.x.label)}</text>"
            f'<text transform="translate(13 {middle}) rotate(-90)" class="middle name">'
            f"{escape(self.y.label)}</text>"
        )
        return "".join(parts)

    def _x(self, value: float) -> float:
        return LEFT + self.x.part(value) * (self.width - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return self.height - BOTTOM - self.y.part(value) * (self.height - TOP - BOTTOM)

    def _path(self, points: Sequence[tuple[float, float]], style: str) -> None:
        text, pen = [], "M"
        for x, y in points:
            if math.isnan(y):
                pen = "M"
                continue
            text.append(f"{pen}{self._x(x):.1f} {self._y(y):.1f}")
            pen = "L"
        self._parts.append(f'<path d="{" ".join(text)}" style="fill:none;{style}"/>')


def _stepped(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for x, y in zip(xs, ys, strict=True):
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    return points
