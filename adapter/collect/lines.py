"""The first, cold reading of a page, line by line: which lines matter, and what they say. Pure.

For every line it notes how many of its first bytes decide what it means; the layout is made of
these. For a sample they go up to the value; for a line that isn't wanted they are the shortest
beginning that no wanted name has; for a comment, its `#`; for a line that is too odd, all of it.

Plain lines, as engines print them, are taken apart here; the rest goes to `grammar`.
"""

import re
from array import array
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any

from .grammar import NO_LABELS, Labels, Series, label_names, parse_line

__all__ = ["LineReader", "Vocabulary", "digest"]

_NAMED = re.compile(rb"([a-zA-Z_:][a-zA-Z0-9_:]*+)[{ \t]")
_COMMENT = b"#"
_BRACE = 0x7B
_STEP = 8  # bytes, the layout's word
_MAX_REMEMBERED = 20_000


def plain_number(text: bytes) -> float | None:
    """Return the number that `text` is; None: there is more to it, or less."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if b"_" in text else value  # Python's digit groups, not the format's


def digest(line: bytes) -> bytes:
    """Return what a long line is remembered by."""
    return blake2b(line, digest_size=16).digest()


class Vocabulary:
    """The wanted names, and what pages have taught so far about labels and other names."""

    def __init__(self, wanted: Collection[str], facts: Mapping[str, Collection[str]]) -> None:
        self.wanted = {name.encode(): name for name in wanted}
        self.fact_labels = {name.encode(): frozenset(keep) for name, keep in facts.items()}
        self.known_facts: dict[bytes, Series] = {}
        self.labels: dict[bytes, Labels] = {}
        self._label_names: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        self._telling: dict[bytes, int] = {}
        self._beginnings = {
            name[:length]
            for name in (*self.wanted, *self.fact_labels)
            for length in range(_STEP, len(name) + 1, _STEP)
        }

    def forget_excess(self) -> None:
        """Bound what is remembered: whoever makes up names without end makes us learn again."""
        memories: tuple[dict[Any, Any], ...]
        memories = (self.known_facts, self.labels, self._label_names, self._telling)
        for memory in memories:
            if len(memory) > _MAX_REMEMBERED:
                memory.clear()

    def telling_length(self, name: bytes) -> int:
        """Return how much of a line with an unwanted name tells that it isn't wanted.

        Where the name is the beginning of a wanted one, what follows it tells them apart.
        """
        length = self._telling.get(name)
        if length is None:
            length = _STEP
            while length <= len(name) and name[:length] in self._beginnings:
                length += _STEP
            self._telling[name] = length = min(length, len(name) + 1)
        return length

    def plain_labels(self, inside: bytes) -> Labels | None:
        """Return the labels in `a="b",c="d"`; None where only the full grammar can tell."""
        labels = self.labels.get(inside)
        if labels is not None or b"\\" in inside:
            return labels
        try:
            parts = inside.decode("utf-8").split('"')
        except UnicodeDecodeError:
            return None
        if len(parts) % 2 == 0:  # a quote is open
            return None
        between = tuple(parts[::2])
        if between not in self._label_names:
            self._label_names[between] = label_names(between)
        names = self._label_names[between]
        if names is None:
            return None
        labels = self.labels[inside] = Labels(names, tuple(parts[1::2]))
        return labels

    def learn_fact(self, line: bytes, name: bytes, labels: Labels) -> Series:
        """Keep the wanted labels of a line whose labels are its values."""
        keep = self.fact_labels[name]
        kept = {k: v for k, v in zip(*labels, strict=True) if k in keep}
        fact = self.known_facts[digest(line)] = Series(name.decode(), Labels.of(kept))
        return fact


class LineReader:
    """Reads the lines of one page and holds what it found."""

    def __init__(self, vocabulary: Vocabulary, *, openmetrics: bool) -> None:
        self._vocabulary = vocabulary
        self._openmetrics = openmetrics
        self._skip = _COMMENT  # the beginning that told that the last line wasn't wanted
        self._head = b"\n"  # the name and brace of the last wanted line
        self._name = ""
        self.lengths = array("i")
        self.samples: list[tuple[int, tuple[str, Labels], float]] = []  # line, series, value
        self.facts: list[tuple[int, Series]] = []
        self.odd_lines = 0
        self.bad_lines = 0

    def read(self, lines: list[bytes], *, max_odd_lines: int) -> bool:
        """Read all lines; False: more than `max_odd_lines` of them are like no engine's."""
        append, take = self.lengths.append, self.samples.append
        known, learn = self._vocabulary.labels, self._vocabulary.plain_labels
        skip, head = self._skip, self._head
        telling, labels_begin = len(skip), len(head)
        for number, line in enumerate(lines):
            if line.startswith(skip):
                append(telling)
                continue
            if line.startswith(_COMMENT):
                append(1)
                continue
            if line.startswith(head):
                begin = line.rfind(b"} ") + 2
                inside = line[labels_begin : begin - 2]
                labels = known.get(inside) or learn(inside)
                if labels is not None and (value := plain_number(line[begin:])) is not None:
                    append(begin)
                    take((number, (self._name, labels), value))
                    continue
            self._look_closer(line, number)
            skip, head = self._skip, self._head
            telling, labels_begin = len(skip), len(head)
            if self.odd_lines > max_odd_lines:
                return False
        return True

    def _take_labeled(self, line: bytes, number: int) -> bool:
        """Take `head` + `a="b",...} value`; False: it isn't quite that."""
        begin = line.rfind(b"} ") + 2
        labels = self._vocabulary.plain_labels(line[len(self._head) : begin - 2])
        return labels is not None and self._take_plain(line, number, begin, labels)

    def _take_plain(self, line: bytes, number: int, begin: int, labels: Labels) -> bool:
        value = plain_number(line[begin:])
        if value is None:
            return False
        self.lengths.append(begin)
        self.samples.append((number, (self._name, labels), value))
        return True

    def _look_closer(self, line: bytes, number: int) -> None:
        """Take a line that isn't like the last one."""
        vocabulary = self._vocabulary
        named = _NAMED.match(line)
        name = named[1] if named is not None else b""
        if name in vocabulary.wanted:
            self._head, self._name = name + b"{", vocabulary.wanted[name]
            if line[len(name)] == _BRACE:
                taken = self._take_labeled(line, number)
            else:
                taken = self._take_plain(line, number, len(name) + 1, NO_LABELS)
        elif name in vocabulary.fact_labels:
            taken = self._take_fact(line, number, name)
        elif name:
            self._skip = line[: vocabulary.telling_length(name)]
            self.lengths.append(len(self._skip))
            taken = True
        else:
            taken = False
        if not taken:
            self._take_odd(line, number)

    def _take_fact(self, line: bytes, number: int, name: bytes) -> bool:
        vocabulary = self._vocabulary
        fact = vocabulary.known_facts.get(digest(line))
        if fact is None:
            end = line.rfind(b"} ")
            if line[len(name)] != _BRACE or end < 0:
                return False
            labels = vocabulary.plain_labels(line[len(name) + 1 : end])
            if labels is None:
                return False
            fact = vocabulary.learn_fact(line, name, labels)
        self.facts.append((number, fact))
        self.lengths.append(len(name) + 1)
        return True

    def _take_odd(self, line: bytes, number: int) -> None:
        """Take a line by the full grammar. Unless it holds a value, all of it is its meaning."""
        whole = len(line) + 1
        if not line.strip() or line.lstrip().startswith(_COMMENT):
            self.lengths.append(whole)
            return
        self.odd_lines += 1
        try:
            series, value, begin = parse_line(line, openmetrics=self._openmetrics)
        except ValueError:
            self.bad_lines += 1
            self.lengths.append(whole)
            return
        name = series.name.encode()
        if name in self._vocabulary.wanted:
            self.lengths.append(begin)
            self.samples.append((number, series, value))
            return
        if name in self._vocabulary.fact_labels:
            self.facts.append((number, self._vocabulary.learn_fact(line, name, series.labels)))
        self.lengths.append(whole)
