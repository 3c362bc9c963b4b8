"""The part of docs/proof.md that says how far the engine is from an independent simulator."""

import json
from typing import Any

from . import referee_loop
from .referee import BOUNDS, POINTS, RESULTS, engine_sha256

__all__ = ["render_referee"]

ABOUT = """
## The engine, validated by others

The simulated engine and the engine simulator of ai-dynamo 1.2.1 (Apache-2.0, Rust) on the same
requests with the same timing law, 3,000 requests a point: relative difference of ours.

```sh
python -m bench.referee --install
python -m bench.referee
```
"""


LOOP_ABOUT = """
## The public ramp, served by others

The same requests and timing law; the engines, their router (round robin) and their start-up are
ai-dynamo's. Each policy reads those engines and is obeyed by them: ours with its own decision code
behind the same HPA. One seed.

```sh
python -m bench.referee_loop
```
"""


def render_referee() -> str:
    """Return the sections; without results of today's code, that there are none."""
    return _engines() + _loop()


def _loop() -> str:
    rows = [
        (
            "| policy | attained there | here | difference, points | replicas there | here "
            "| TTFT p95 there, s | here | ITL p95 there, ms | here |"
        ),
        "| --- " + "| ---: " * 9 + "|",
    ]
    found = _closed()
    if not found:
        return f"{LOOP_ABOUT}\nNo run with today's code yet.\n"
    for name, (there, here) in found.items():
        gap = 100.0 * (here["attainment"] - there["attainment"])
        rows.append(
            f"| {name} | {there['attainment']:.1%} | {here['attainment']:.1%} | {gap:+.1f} | "
            f"{there['replicas_mean']:.2f} | {here['replicas_mean']:.2f} | "
            f"{there['ttft_p95_s']:.2f} | {here['ttft_p95_s']:.2f} | "
            f"{1e3 * there['itl_p95_s']:.0f} | {1e3 * here['itl_p95_s']:.0f} |"
        )
    return "\n".join([LOOP_ABOUT, *rows]) + "\n"


def _closed() -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Return each policy's figures there and here, where its code is today's."""
    if not referee_loop.RESULTS.exists():
        return {}
    kept: dict[str, Any] = json.loads(referee_loop.RESULTS.read_text(encoding="utf-8"))
    return {
        name: (kept[name]["there"], kept[name]["here"])
        for name in referee_loop.POLICIES
        if name in kept and kept[name]["code_sha256"] == referee_loop.code_sha256(name)
    }


def _engines() -> str:
    errors = _errors()
    if not errors:
        return f"{ABOUT}\nNo comparison with today's engine yet.\n"
    rows = ["| point | " + " | ".join(BOUNDS) + " |", "| --- " + "| ---: " * len(BOUNDS) + "|"]
    for point in POINTS:
        cells = [f"{errors[f'{point.name}: {name}']:+.1%}" for name in BOUNDS]
        rows.append(f"| {point.name} | {' | '.join(cells)} |")
    bounds = ", ".join(f"{name} {bound:.0%}" for name, bound in BOUNDS.items())
    outside = [
        point.name
        for point in POINTS
        if any(abs(errors[f"{point.name}: {name}"]) > bound for name, bound in BOUNDS.items())
    ]
    inside = len(POINTS) - len(outside)
    mark = "*holds*" if inside >= 12 else "**fails**"
    claim = f"- {mark}: {inside} of {len(POINTS)} points within the bounds ({bounds}; wanted: 12)"
    if outside:
        claim += f"; outside: {', '.join(outside)}. {WHY_OUTSIDE}"
    return "\n".join([ABOUT, *rows, "", claim]) + "\n"


WHY_OUTSIDE = (
    "Where KV memory runs out the other simulator preempts in circles and hardly recovers; who is "
    "right there isn't shown"
)


def _errors() -> dict[str, float]:
    if not RESULTS.exists():
        return {}
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    known = {f"{point.name}: {name}" for point in POINTS for name in BOUNDS}
    fresh = content["engine_sha256"] == engine_sha256() and known <= content["errors"].keys()
    return dict(content["errors"]) if fresh else {}
