"""Logging: one line per record, JSON for machines or text for a terminal, on standard error.

Everything goes through the root logger, uvicorn's and grpc's records too. What a record
carries in `extra=` becomes keys of the line; names are those of docs/nomenclature.md.
"""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

__all__ = ["ConsoleFormatter", "JsonFormatter", "configure_logging"]

# Loggers that may have got handlers of their own.
_REROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "grpc", "grpc._cython")
# These tell of every request, one of them with the body: tokens would be in it.
_CHATTY = ("uvicorn.access", "aiohttp.access", "httpx", "httpcore", "kubernetes")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "color_message",  # uvicorn's copy of the message for terminals
}


def configure_logging(
    *, level: str = "info", style: Literal["json", "console"] = "json", stream: TextIO | None = None
) -> None:
    """Send all records of `level` and above to `stream` (standard error if None)."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _REROUTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, then its extra keys."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # An extra key never hides one of the four above.
        line |= {key: value for key, value in _extra(record).items() if key not in line}
        if trace := _trace(self, record):
            line["exception"] = trace
        return _encoded(line)


class ConsoleFormatter(logging.Formatter):
    """A record as a line of text: time, level, logger, message, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        # One record, one line: what was read from outside can't forge a second one.
        message = record.getMessage().replace("\r", r"\r").replace("\n", r"\n")
        head = f"{_instant(record)} {record.levelname.lower():<7} {record.name}: {message}"
        pairs = [f"{key}={_encoded(value)}" for key, value in _extra(record).items()]
        trace = _trace(self, record)
        return " ".join([head, *pairs]) + (f"\n{trace}" if trace else "")


def _instant(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, tz=UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _encoded(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """Return the value with what JSON can't say (NaN, infinities) as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
