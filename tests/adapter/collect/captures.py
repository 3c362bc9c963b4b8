"""What was recorded of real engines, and the samples of the notes; absent in a bare clone."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"
CAPTURES = SHARED / "captures"
NOTES = SHARED / "research" / "engine-metrics.md"

needs_captures = pytest.mark.skipif(
    not CAPTURES.exists(), reason="the recordings (../shared/captures) are not here"
)
needs_notes = pytest.mark.skipif(
    not NOTES.exists(), reason="the notes on engines' metrics (../shared/research) are not here"
)


def capture(name: str) -> bytes:
    return (CAPTURES / f"vllm-0.32-cpu-{name}.prom").read_bytes()


@cache
def ramp() -> tuple[tuple[float, bytes], ...]:
    """Return the recorded ramp: seconds since its start, and the page."""
    with gzip.open(CAPTURES / "vllm-ramp" / "scrapes.jsonl.gz", "rt") as lines:
        scrapes = [json.loads(line) for line in lines]
    return tuple((one["t_s"], one["body"].encode()) for one in scrapes)


@cache
def samples() -> dict[str, list[str]]:
    """Return the sample pages of section 3 by their number, `3.1` to `3.11`."""
    if not NOTES.exists():
        return {}
    section = NOTES.read_text().partition("\n## 3. ")[2].partition("\n## 4. ")[0]
    found: dict[str, list[str]] = {}
    for part in re.split(r"\n### ", section)[1:]:
        number = part.split(" ", 1)[0]
        found[number] = [
            b.strip("\n") + "\n" for b in re.findall(r"```text\n(.*?)```", part, re.DOTALL)
        ]
    return found
