"""Fields of objects as the API server sends them: what isn't as it should be is absent.

Objects of custom resources may hold anything; none of it may break the adapter.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

__all__ = ["count_at", "instant_s", "items_at", "mapping_at", "quantity", "text_at", "texts_at"]

_SUFFIXES = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def mapping_at(document: Any, *path: str) -> Mapping[str, Any]:
    """Return the mapping at `path`, empty if there is none."""
    found = _at(document, path)
    return found if isinstance(found, Mapping) else {}


def items_at(document: Any, *path: str) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in the list at `path`."""
    found = _at(document, path)
    if isinstance(found, list):
        yield from (item for item in found if isinstance(item, Mapping))


def text_at(document: Any, *path: str) -> str:
    """Return the string at `path`, without blanks around it; "" if there is none."""
    found = _at(document, path)
    return found.strip() if isinstance(found, str) else ""


def texts_at(document: Any, *path: str) -> tuple[str, ...]:
    """Return the strings in the list at `path`."""
    found = _at(document, path)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def count_at(document: Any, *path: str) -> int | None:
    """Return the whole number at `path`, None if there is none."""
    found = _at(document, path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def quantity(value: Any) -> float | None:
    """Return what a Kubernetes quantity of countable things says, None if it is none.

    >>> quantity("50m"), quantity(2), quantity("x")
    (0.05, 2.0, None)
    """
    text = str(value).strip()
    number, suffix = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "")
    try:
        result = float(number) * _SUFFIXES[suffix]
    except (ValueError, KeyError):
        return None
    return result if math.isfinite(result) else None


def instant_s(text: str) -> float | None:
    """Return a timestamp of Kubernetes as Unix seconds, None if it is none."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.timestamp() if instant.tzinfo is not None else None
