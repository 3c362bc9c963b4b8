# ruff: noqa: INP001 - part of a script, not a package
"""The tables of settings.md: what adapter/config accepts, kept in step with the page.

Key, type and default of every row come from the code; the meanings, which a person
writes, stay. A key without a meaning is a fault.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

HEAD = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
WORDS = {float: "number", int: "whole number", str: "text", bool: "true, false", Path: "path"}


@dataclass(frozen=True, slots=True)
class Row:
    """What the code says of one key."""

    key: str
    type: str
    default: str


def sections(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, list[Row]]]:
    """Yield (place in the file, rows) for `model` and for every section inside it."""
    yield place, [_row(name, field) for name, field in model.model_fields.items()]
    for name, field in model.model_fields.items():
        inner = _inner_model(field.annotation)
        if inner is not None:
            container = _container(field.annotation)
            suffix = "[]" if container is tuple else ".NAME" if container is Mapping else ""
            yield from sections(inner, f"{place}.{name}{suffix}".lstrip("."))


def updated(text: str, model: type[BaseModel]) -> tuple[str, list[str]]:
    """Return the page with its tables in step with `model`, and a line for each fault.

    A section of the page is headed by its place in the settings file, in backticks.
    """
    wanted = dict(sections(model))
    intro, *parts = re.split(r"^(## .*\n)", text, flags=re.MULTILINE)
    out, faults, found = [intro], [], set()
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        place = "" if "`" not in heading else heading.split("`")[1]
        found.add(place)
        meanings = _meanings(body)
        rows = wanted.get(place, [])
        faults += [f"{place}: {r.key} has no meaning" for r in rows if not meanings.get(r.key)]
        lines = [f"| {r.key} | {r.type} | {r.default} | {meanings.get(r.key, '')} |" for r in rows]
        prose = re.split(r"^\|", body, maxsplit=1, flags=re.MULTILINE)[0]
        out += [heading, prose, "\n".join([HEAD, *lines, "", ""])]
    faults += [f"no section for {place!r}" for place in wanted if place not in found]
    faults += [f"{place!r} is no part of the settings" for place in found if place not in wanted]
    return "".join(out).rstrip("\n") + "\n", [f"settings.md: {fault}" for fault in faults]


def _meanings(body: str) -> dict[str, str]:
    rows = [line.strip("| ").split(" | ", 3) for line in body.splitlines() if line[:3] == "| `"]
    return {row[0]: row[3] for row in rows if len(row) == 4}


def _row(name: str, field: FieldInfo) -> Row:
    kind = _with_bounds(_type_text(field.annotation), field.metadata)
    return Row(f"`{name}`", kind, "required" if field.is_required() else _value(field.default))


def _container(annotation: Any) -> type | None:
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Mapping
    return origin if origin is tuple else None


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner_model, get_args(annotation))), None)


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in WORDS:
        text = WORDS[annotation]
    elif origin is Literal:
        text = ", ".join(f"`{value}`" for value in arguments)
    elif origin is Annotated:
        text = _with_bounds(_type_text(arguments[0]), arguments[1:])
    elif origin in {Union, UnionType}:
        text = " or ".join(_type_text(a) for a in arguments if a is not type(None))
    elif _container(annotation) is tuple:
        text = f"list of {_type_text(arguments[0])}"
    elif _container(annotation) is Mapping:
        text = f"map of name to {_type_text(arguments[1])}"
    else:
        text = "section" if _inner_model(annotation) else "anything"
    return text


def _with_bounds(text: str, metadata: Any) -> str:
    """Return `text` with what pydantic's constraints (Gt(gt=0), ...) add to it."""
    constraints = [c for m in metadata for c in getattr(m, "metadata", [m])]
    bounds = [
        f"{sign} {getattr(constraint, name):g}"
        for constraint in constraints
        for name, sign in SIGNS.items()
        if hasattr(constraint, name)
    ]
    return " ".join([text, ", ".join(bounds)]).strip()


def _value(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "its defaults"
    if isinstance(default, tuple | Mapping):
        return "`" + ", ".join(map(str, default)) + "`" if default else "empty"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
