"""The grammar of one exposition line, in full: text format 0.0.4 and OpenMetrics 1.0. Pure.

`exposition` reads the plain lines that engines print by itself and comes here for the rest: odd
spacing, escapes, quoted names, timestamps, exemplars. Well-formed input means what it means to
`prometheus_client`; where the two formats differ, the content type decides.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics
specification 1.0. Repetitions are possessive, so that no input takes more than linear time.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["NO_LABELS", "Labels", "Series", "label_names", "parse_labels", "parse_line"]


class Labels(NamedTuple):
    """Labels sorted by name; one tuple of names serves all series of a family."""

    names: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> "Labels":
        """Return the labels of a mapping."""
        names = tuple(sorted(labels))
        return cls(names, tuple(labels[name] for name in names))


class Series(NamedTuple):
    """One time series."""

    name: str
    labels: Labels

    def label(self, name: str) -> str:
        """Return a label's value; a label that isn't there is empty, as in PromQL."""
        names, values = self.labels
        return values[names.index(name)] if name in names else ""

    def as_dict(self) -> dict[str, str]:
        """Return the labels as a dictionary."""
        return dict(zip(*self.labels, strict=True))


NO_LABELS = Labels((), ())


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
_TERM = re.compile(
    rf"\s*+(?:([a-zA-Z_:][a-zA-Z0-9_:]*+)|{_QUOTED})\s*+(?:=\s*+{_QUOTED})?+\s*+(?:,|\Z)", re.DOTALL
)
_INSIDE = rf'(?:[^"}}]|{_QUOTED})*+'
_BRACES = re.compile(rf"\{{({_INSIDE})\}}", re.DOTALL)
_EXEMPLAR = re.compile(rf"# \{{{_INSIDE}\}} (?P<value>\S++)(?: (?P<time>\S++))?+", re.DOTALL)
_ESCAPE = re.compile(r'\\([\\n"])')
_ESCAPED = {"\\": "\\", "n": "\n", '"': '"'}


def parse_number(text: str) -> float:
    """Return a sample's value.

    Raises
    ------
    ValueError
        If `text` is no number; digits grouped by `_` are Python's and not the format's.
    """
    if "_" in text:
        raise ValueError(f"not a number: {text[:40]!r}")
    return float(text)


def parse_labels(text: str) -> tuple[str | None, Labels]:
    """Return what stands between the braces: a quoted metric name if there is one, and labels.

    Raises
    ------
    ValueError
        If a term has no closing quote, or a label comes twice.
    """
    name: str | None = None
    labels: dict[str, str] = {}
    text = text.strip()
    place = 1 if text.startswith(",") else 0  # which the text format's readers let pass
    while place < len(text):
        term = _TERM.match(text, place)
        if term is None:
            raise ValueError(f"no label at {text[place : place + 40]!r}")
        plain, quoted, value = term[1], term[2], term[3]
        place = term.end()
        if value is None:
            if quoted is None or name is not None:
                raise ValueError(f"label without a value in {text[:80]!r}")
            name = _unescape(quoted)
            continue
        key = plain if plain is not None else _unescape(quoted)
        if key in labels:
            raise ValueError(f"label {key!r} comes twice")
        labels[key] = _unescape(value)
    return name, Labels.of(labels)


def label_names(between: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the label names, given what stands between quoted values; None: not plainly that.

    `a="x",b="y"` has `('a=', ',b=', '')` around its values.
    """
    if between == ("",):
        return ()
    if len(between) < 2:
        return None
    first, *others, last = between
    names = [first[:-1], *(part[1:-1] for part in others)]
    again = [f"{names[0]}=", *(f",{name}=" for name in names[1:])]
    if last or again != [first, *others]:
        return None
    if not all(name.isidentifier() and name.isascii() for name in names):
        return None
    return tuple(names) if sorted(set(names)) == names else None


def parse_line(line: bytes, *, openmetrics: bool) -> tuple[Series, float, int]:
    """Return the series, the value, and the offset in `line` at which the value's text starts.

    Raises
    ------
    ValueError
        If the line is not a sample, or isn't UTF-8.
    """
    text = line.decode("utf-8")
    start = len(text) - len(text.lstrip())
    head = _NAME.match(text, start)
    name = head[0] if head is not None else None
    after_name = head.end() if head is not None else start
    place = _past_blanks(text, after_name)
    labels = NO_LABELS
    braces = _BRACES.match(text, place)
    if braces is not None:
        quoted_name, labels = parse_labels(braces[1])
        if name is not None and quoted_name is not None:
            raise ValueError(f"two metric names: {name!r} and {quoted_name!r}")
        name = name or quoted_name
        place = _past_blanks(text, braces.end())
    elif place == after_name:
        raise ValueError(f"nothing after the metric name in {text[:40]!r}")
    if not name:
        raise ValueError(f"no metric name in {text[:40]!r}")
    value = parse_tail(text[place:], openmetrics=openmetrics)
    return Series(name, labels), value, len(text[:place].encode("utf-8"))


def parse_tail(text: str, *, openmetrics: bool) -> float:
    """Return the value in what follows name and labels, once the rest of it is found sound.

    The rest is a timestamp (milliseconds in the text format, seconds in OpenMetrics) and, in
    OpenMetrics, an exemplar; neither is used.

    Raises
    ------
    ValueError
        If a part isn't a number or doesn't belong there.
    """
    if not openmetrics:
        parts = text.split()
        if len(parts) > 1:
            # A timestamp; exemplars are OpenMetrics', but do get sent.
            parse_number(parts[-1])
            if len(parts) > 2 and "#" not in parts[1:3]:
                raise ValueError(f"expected a value and a timestamp, got {text[:80]!r}")
        return parse_number(parts[0] if parts else "")
    plain, mark, _ = text.partition(" # ")
    if mark:
        exemplar = _EXEMPLAR.fullmatch(text, len(plain) + 1)
        if exemplar is None:
            raise ValueError(f"not an exemplar: {text[:80]!r}")
        for number in exemplar.group("value", "time"):
            if number is not None:
                parse_number(number)
    parts = plain.split(" ")
    if len(parts) > 2:
        raise ValueError(f"expected a value and a timestamp, got {plain[:80]!r}")
    for number in parts[1:]:
        parse_number(number)
    return parse_number(parts[0])


def _past_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r":
        place += 1
    return place


def _unescape(text: str) -> str:
    """Resolve the three escapes of the formats; any other backslash stands for itself."""
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text) if "\\" in text else text
