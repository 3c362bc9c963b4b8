"""Dialects: every engine's way to say things, ours and the user's, in the order they are tried.

A dialect is data (`dialects.yaml`, and `dialects:` in the settings); nothing here knows an engine.
The only thing read is the file that comes with this package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any, cast

import yaml

from ..config import DialectSettings
from ..errors import ConfigError
from .dialect_table import Dialect, DialectTable
from .selectors import canonical

__all__ = ["builtin_dialects", "load_dialects", "wanted_names"]

_DEFAULT_MODEL_LABEL = "model_name"


def builtin_dialects() -> dict[str, Mapping[str, Any]]:
    """Return the tables that come with the adapter, unread."""
    text = resources.files(__package__).joinpath("dialects.yaml").read_text(encoding="utf-8")
    return cast("dict[str, Mapping[str, Any]]", yaml.safe_load(text))


def load_dialects(added: Mapping[str, DialectSettings] | None = None) -> tuple[Dialect, ...]:
    """Return all dialects in the order in which they are tried, the added ones first.

    Raises
    ------
    ConfigError
        If a table is wrong; the message names dialect, signal and remedy.
    """
    builtin = builtin_dialects()
    tables: dict[str, Mapping[str, Any]] = {}
    for name, settings in (added or {}).items():
        table: dict[str, Any] = settings.model_dump(exclude_none=True)
        if settings.extends is None:
            # What a person lists is what the engine exports, if not from its start.
            table = {"model_label": _DEFAULT_MODEL_LABEL, "from_first_event": True, **table}
        tables[name] = table
    order = (*tables, *(name for name in builtin if name not in tables))
    return tuple(_dialect(name, tables, builtin, ()) for name in order)


_Tables = Mapping[str, Mapping[str, Any]]


def _dialect(name: str, added: _Tables, builtin: _Tables, children: tuple[str, ...]) -> Dialect:
    # A table that extends its own name changes the one that comes with the adapter.
    table = added.get(name) if name not in children[-1:] else None
    table = table if table is not None else builtin.get(name)
    if table is None or name in children[:-1]:
        chain = " -> ".join((*children, name))
        known = ", ".join(sorted({*added, *builtin}))
        raise ConfigError(f"dialects: {chain}: extends a dialect that isn't there (known: {known})")
    reader = DialectTable(name, first_event=bool(table.get("from_first_event", False)))
    own = reader.read(table)
    if table.get("extends") is None:
        return own
    base = _dialect(str(table["extends"]), added, builtin, (*children, name))
    terms, histograms = base.terms, base.histograms
    if reader.first_event:
        terms = {
            n: tuple(replace(way, from_first_event=True) for way in w) for n, w in terms.items()
        }
        histograms = {
            n: tuple(replace(way, from_first_event=True) for way in w)
            for n, w in histograms.items()
        }
    return replace(
        own,
        model_label=own.model_label if "model_label" in table else base.model_label,
        paths=own.paths if "paths" in table else base.paths,
        process_start=own.process_start if "process_start" in table else base.process_start,
        terms={**terms, **own.terms},
        histograms={**histograms, **own.histograms},
    )


def wanted_names(dialects: Iterable[Dialect]) -> tuple[set[str], dict[str, set[str]]]:
    """Return the sample names that the dialects read, and the labels of facts that they keep.

    Both are in the two spellings that servers use for a colon.
    """
    wanted: set[str] = set()
    facts: dict[str, set[str]] = {}
    for dialect in dialects:
        for selector in dialect.selectors():
            wanted.update({selector.name, canonical(selector.name)})
        for name, labels in dialect.fact_labels().items():
            for spelling in (name, canonical(name)):
                facts.setdefault(spelling, set()).update(labels)
    return wanted - facts.keys(), facts
