"""Label selectors: the whole grammar that Kubernetes accepts, and what they match. Pure.

A selector is a conjunction of requirements joined by commas. Errors read as those of
the API machinery, since that is what its users search for.

Grammar: Kubernetes API concepts, "Labels and selectors" (apimachinery `labels.Parse`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from ..errors import BadSelectorError

__all__ = ["Operator", "Requirement", "Selector", "parse_selector"]

MAX_SELECTOR_CHARACTERS = 16_384


class Operator(Enum):
    """How a requirement compares a label's value."""

    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    IN = "in"  # also = and ==
    NOT_IN = "notin"  # also !=
    GREATER = "gt"
    LESS = "lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` meets the condition; NOT_IN is met by an absent key."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                met = value is not None
            case Operator.DOES_NOT_EXIST:
                met = value is None
            case Operator.IN:
                met = value in self.values
            case Operator.NOT_IN:
                met = value not in self.values
            case Operator.GREATER | Operator.LESS:
                met = value is not None and self._compares(value)
        return met

    def _compares(self, value: str) -> bool:
        number = _integer(value)
        (bound,) = map(_integer, self.values)
        if number is None or bound is None:
            return False
        return number > bound if self.operator is Operator.GREATER else number < bound


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of requirements; an empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` meets every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def pinned(self, key: str) -> frozenset[str] | None:
        """Return the only values of `key` that can match, None if any could.

        It lets an index answer `key=value` without looking at every label set.
        """
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator is Operator.IN:
                return requirement.values
        return None


_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", flags=re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", flags=re.ASCII)
_DNS_SUBDOMAIN = re.compile(
    r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", flags=re.ASCII
)
# A token is the longest run of symbols that means something, or a word up to the next symbol.
_TOKEN = re.compile(r"[ \t\r\n]*(?P<token>==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)?")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})
_END = ""

_COMPARISONS = {
    "=": Operator.IN,
    "==": Operator.IN,
    "!=": Operator.NOT_IN,
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
    ">": Operator.GREATER,
    "<": Operator.LESS,
}


def parse_selector(text: str) -> Selector:
    """Return the selector that `text` stands for; blank text selects everything.

    Raises
    ------
    BadSelectorError
        If `text` breaks the grammar, or a key or value can't be a label's.
    """
    if len(text) > MAX_SELECTOR_CHARACTERS:
        raise BadSelectorError(
            f"the label selector has {len(text)} characters, above {MAX_SELECTOR_CHARACTERS}"
        )
    return _Parser(text).selector()


class _Parser:
    """Reads tokens from left to right, one ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0

    def selector(self) -> Selector:
        requirements: list[Requirement] = []
        if self._ahead in _SYMBOLS - {"!"}:
            self._fail("!, identifier, or 'end of string'")
        while self._ahead != _END:
            try:
                requirements.append(self._requirement())
            except BadSelectorError as exc:
                raise BadSelectorError(f"unable to parse requirement: {exc}") from None
            if self._ahead not in {",", _END}:
                self._fail("',' or 'end of string'")
            if self._take() == "," and self._ahead != "!" and not self._word_ahead:
                self._fail("identifier after ','")
        return Selector(tuple(requirements))

    def _requirement(self) -> Requirement:
        absent = self._ahead == "!"
        if absent:
            self._take()
        if not self._word_ahead:
            self._fail("identifier")
        key = self._take()
        _check_key(key)
        if absent:
            return Requirement(key, Operator.DOES_NOT_EXIST)
        if self._ahead in {",", _END}:
            return Requirement(key, Operator.EXISTS)
        symbol = self._ahead
        operator = _COMPARISONS.get(symbol)
        if operator is None:
            self._fail("in, notin, =, ==, !=, gt, lt")
        self._take()
        values = self._set() if symbol in {"in", "notin"} else frozenset({self._exact()})
        _check_values(key, operator, values)
        return Requirement(key, operator, values)

    def _exact(self) -> str:
        """Return the value after = and the like; none there means the empty value."""
        if self._ahead in {",", _END}:
            return ""
        if not self._word_ahead:
            self._fail("identifier")
        return self._take()

    def _set(self) -> frozenset[str]:
        """Return the values in parentheses; nothing between two commas is the empty value."""
        if self._ahead != "(":
            self._fail("'('")
        self._take()
        if self._ahead == ")":
            raise BadSelectorError("for 'in', 'notin' operators, values set can't be empty")
        values: set[str] = set()
        while True:
            values.add(self._take() if self._word_ahead else "")
            if self._ahead not in {",", ")"}:
                self._fail("',' or ')'")
            if self._take() == ")":
                return frozenset(values)

    @property
    def _ahead(self) -> str:
        return self._tokens[self._next]

    @property
    def _word_ahead(self) -> bool:
        return self._ahead != _END and self._ahead not in _SYMBOLS

    def _take(self) -> str:
        token = self._tokens[self._next]
        if token != _END:
            self._next += 1
        return token

    def _fail(self, expected: str) -> NoReturn:
        raise BadSelectorError(f"found '{self._ahead}', expected: {expected}")


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    while (match := _TOKEN.match(text, position)) and match["token"]:
        tokens.append(match["token"])
        position = match.end()
    return [*tokens, _END]


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _DNS_SUBDOMAIN.fullmatch(prefix)):
        raise BadSelectorError(
            f"key: Invalid value: {_quoted(key)}: prefix part must be a lowercase RFC 1123 "
            "subdomain of at most 253 characters (e.g. 'example.com')"
        )
    if len(name) > 63 or not _NAME.fullmatch(name):
        raise BadSelectorError(
            f"key: Invalid value: {_quoted(key)}: name part must consist of alphanumeric "
            "characters, '-', '_' or '.', must start and end with an alphanumeric character and "
            "be no more than 63 characters (e.g. 'MyName')"
        )


def _check_values(key: str, operator: Operator, values: frozenset[str]) -> None:
    if operator in {Operator.GREATER, Operator.LESS}:
        if any(_integer(value) is None for value in values):
            raise BadSelectorError("for 'Gt', 'Lt' operators, the value must be an integer")
        return
    for value in values:
        if value and (len(value) > 63 or not _NAME.fullmatch(value)):
            raise BadSelectorError(
                f"values[0][{key}]: Invalid value: {_quoted(value)}: a valid label must be an "
                "empty string or consist of alphanumeric characters, '-', '_' or '.', must start "
                "and end with an alphanumeric character and be no more than 63 characters "
                "(e.g. 'my_value')"
            )


def _integer(text: str) -> int | None:
    """Return the 64-bit integer that `text` spells, None if it spells none."""
    number = int(text) if _INTEGER.fullmatch(text) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _quoted(text: str) -> str:
    return f'"{text[:80]}"' if len(text) <= 80 else f'"{text[:80]}..."'
