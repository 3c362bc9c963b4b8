"""Fit against data as one SVG: a panel for ITL, one for TTFT, over requests in flight. Pure."""

import numpy as np

from optimizer import FloatArray

from .profile_of_points import FittedToPoints

__all__ = ["draw_fit"]

WIDTH, HEIGHT, MARGIN, GAP = 460, 320, 56, 24
TICKS = 4
STYLE = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#999;fill:none}"
    ".grid{stroke:#e5e5e5}.data{fill:#1f77b4;fill-opacity:.55}"
    ".fit{stroke:#d62728;stroke-width:1.5;fill:none}.miss{stroke:#bbb}"
)


def draw_fit(found: FittedToPoints, *, title: str) -> str:
    """Return the SVG: dots are measured, crosses what the profile says of the same load."""
    panels = [
        _panel("mean gap between tokens, ms", found.requests, found.itl_s, found.fitted_itl_s, 0)
    ]
    there = np.isfinite(found.ttft_s)
    if there.any():
        panels.append(
            _panel(
                "mean time to first token, ms",
                found.requests[there],
                found.ttft_s[there],
                found.fitted_ttft_s[there],
                WIDTH + GAP,
            )
        )
    width = len(panels) * WIDTH + (len(panels) - 1) * GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 28}" '
        f'role="img"><title>{_escaped(title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="12" y="20">{_escaped(title)}: dots measured, crosses fitted</text>'
        f'<g transform="translate(0,28)">{"".join(panels)}</g></svg>\n'
    )


def _panel(label: str, x: FloatArray, y_s: FloatArray, fit_s: FloatArray, left: int) -> str:
    y, fit = y_s * 1e3, fit_s * 1e3
    right, top = _round_up(float(x.max())), _round_up(float(max(y.max(), fit.max())))
    across = left + MARGIN + x / right * (WIDTH - MARGIN - 12)
    down, down_fit = (HEIGHT - MARGIN - v / top * (HEIGHT - MARGIN - 12) for v in (y, fit))
    parts = [_axes(label, left, right, top)]
    for px, py, pf in zip(across, down, down_fit, strict=True):
        parts.append(f'<path class="miss" d="M{px:.1f} {py:.1f}V{pf:.1f}"/>')
        parts.append(f'<circle class="data" cx="{px:.1f}" cy="{py:.1f}" r="4"/>')
        parts.append(
            f'<path class="fit" d="M{px - 4:.1f} {pf - 4:.1f}l8 8m0 -8l-8 8"/>',
        )
    return "".join(parts)


def _axes(label: str, left: int, right: float, top: float) -> str:
    base, start, end = HEIGHT - MARGIN, left + MARGIN, left + WIDTH - 12
    parts = [f'<path class="axis" d="M{start} 12V{base}H{end}"/>']
    for tick in range(TICKS + 1):
        part = tick / TICKS
        x, y = start + part * (end - start), base - part * (base - 12)
        parts.append(f'<path class="grid" d="M{start} {y:.1f}H{end}"/>')
        parts.append(
            f'<text x="{start - 6}" y="{y + 4:.1f}" text-anchor="end">{part * top:.3g}</text>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{part * right:.3g}</text>'
        )
    middle = (start + end) / 2
    parts.append(
        f'<text x="{middle}" y="{base + 36}" text-anchor="middle">requests in flight</text>'
    )
    parts.append(f'<text x="{start + 8}" y="24">{label}</text>')
    return "".join(parts)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 2.5, 4, 5, 8, 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    steps = power * np.array([1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0])
    return float(steps[np.searchsorted(steps, value * (1.0 - 1e-9))])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
