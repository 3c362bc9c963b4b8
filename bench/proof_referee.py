"""The part of docs/proof.md that says how far the engine is from an independent simulator."""

import json

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


def render_referee() -> str:
    """Return the section; without results of today's engine, that there are none."""
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
