"""Requests from a CSV trace: `timestamp, input_tokens, output_tokens`.

Timestamps are seconds, or dates and times in ISO 8601; the first is time 0. The column
names of the Azure LLM inference traces are understood, too.
"""

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from optimizer.errors import InvalidInputError

from .workload import Requests

__all__ = ["read_trace"]

COLUMNS = {
    "timestamp": "timestamp",
    "input_tokens": "input_tokens",
    "contexttokens": "input_tokens",
    "output_tokens": "output_tokens",
    "generatedtokens": "output_tokens",
}


def read_trace(path: Path) -> Requests:
    """Return the trace's requests, sorted by arrival, the first at 0 s.

    Raises
    ------
    InvalidInputError
        If a column is missing or a row isn't numbers; the message names file and line.

    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = [COLUMNS.get(name.strip().lower(), "") for name in next(reader, [])]
        missing = {"timestamp", "input_tokens", "output_tokens"} - set(header)
        if missing:
            raise InvalidInputError(
                f"{path}: no column {', '.join(sorted(missing))}; "
                "the first line must be timestamp,input_tokens,output_tokens"
            )
        order = [header.index(name) for name in ("timestamp", "input_tokens", "output_tokens")]
        rows = [
            _row(f"{path}:{line}", [row[column] for column in order])
            for line, row in enumerate(reader, start=2)
            if len(row) > max(order)
        ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
    columns = columns[np.argsort(columns[:, 0], kind="stable")]
    lengths = columns[:, 1:].astype(np.int64)
    return Requests(
        arrival_s=columns[:, 0] - (columns[0, 0] if len(columns) else 0.0),
        prompt_tokens=lengths[:, 0],
        output_tokens=lengths[:, 1],
        cached_tokens=np.zeros(len(columns), dtype=np.int64),
    )


def _row(where: str, texts: list[str]) -> tuple[float, int, int]:
    try:
        at_s, prompt, output = _seconds(texts[0].strip()), int(texts[1]), int(texts[2])
    except ValueError as exc:
        raise InvalidInputError(f"{where}: {texts} is not a time and two counts") from exc
    if prompt < 1 or output < 1:
        raise InvalidInputError(f"{where}: {prompt} and {output} tokens; both must be at least 1")
    return at_s, prompt, output


def _seconds(text: str) -> float:
    try:
        at_s = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(at_s):
        raise ValueError(text)
    return at_s
