"""Series selectors, `name{label="value",other=~"regex"}`, as PromQL writes them. Pure.

One notation serves pages and queries. Metric names compare with `:` and `_` alike, since some
servers hand out `vllm_num_requests_running` for `vllm:num_requests_running`. A label that isn't
there is empty, and regular expressions match whole values.
"""

import re
from dataclasses import dataclass

from .grammar import Series

__all__ = ["Matcher", "Selector", "canonical", "parse_selector"]

_SELECTOR = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
_MATCHER = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*+)"\s*(?:,|\Z)', re.DOTALL
)
_QUOTE = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_UNQUOTE = re.compile(r"\\(.)", re.DOTALL)


def canonical(name: str) -> str:
    """Return the form of a metric name that both spellings share."""
    return name.replace(":", "_")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label."""

    label: str
    operator: str  # = != =~ !~
    value: str

    def matches(self, series: Series) -> bool:
        """Return whether the series meets the condition."""
        found = series.label(self.label)
        if self.operator in {"=", "!="}:
            return (found == self.value) is (self.operator == "=")
        return (re.fullmatch(self.value, found) is not None) is (self.operator == "=~")

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value.translate(_QUOTE)}"'


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric name and conditions on labels."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def matches(self, series: Series) -> bool:
        """Return whether the series is selected; the name is compared by its caller."""
        return all(matcher.matches(series) for matcher in self.matchers)

    def named(self, name: str, *more: Matcher) -> "Selector":
        """Return the same conditions, and `more`, on another name."""
        return Selector(name, (*self.matchers, *more))

    def __str__(self) -> str:
        inside = ",".join(str(matcher) for matcher in self.matchers)
        return f"{self.name}{{{inside}}}" if inside else self.name


def parse_selector(text: str) -> Selector:
    """Return the selector that `text` writes.

    Raises
    ------
    ValueError
        If it isn't one; the message quotes the part.
    """
    found = _SELECTOR.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is no selector; write it as name{{label="value"}}')
    matchers, inside, place = [], (found[2] or "").strip(), 0
    while place < len(inside):
        term = _MATCHER.match(inside, place)
        if term is None:
            raise ValueError(f'{inside[place:]!r} is no label condition; write label="value"')
        value = _UNQUOTE.sub(lambda m: "\n" if m[1] == "n" else m[1], term[3])
        if "~" in term[2]:
            _check_regex(value)
        matchers.append(Matcher(term[1], term[2], value))
        place = term.end()
    return Selector(found[1], tuple(matchers))


def _check_regex(text: str) -> None:
    try:
        re.compile(text)
    except re.error as exc:
        raise ValueError(f"{text!r} is no regular expression: {exc}") from exc
