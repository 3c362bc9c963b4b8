"""Records as bytes that somebody else may have written or damaged: read back checked. Pure.

A pickle runs what it is told to; this only builds the records that the reader asked for.
What a record's annotations say is what is read: frozen dataclasses, named tuples, enums,
tuples, mappings with string keys, numbers, strings, optional values and numpy columns. A
field that the bytes lack takes its default, one that the record lacks is passed over, so
that neighbouring versions read each other as long as a name keeps its meaning. A field
whose metadata says `SAVED: False` is left out: what can be computed again.

Form: magic, digest of the rest, then, compressed, the length of a JSON text, the text, and
all columns one after another, little-endian.
"""

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .errors import AdapterError

__all__ = ["MAX_BYTES", "SAVED", "CodecError", "pack", "unpack"]

MAGIC = b"WVA1"
# Of the uncompressed content: what is larger is no state of ours.
MAX_BYTES = 1 << 27
MAX_DEPTH = 16
SAVED = "saved"

_DIGEST_BYTES = 16
_LENGTH = struct.Struct("<I")
# Fast: it is done at every tick; columns that change little shrink well at any level.
_LEVEL = 1
_CODES = {"f8": np.float64, "i8": np.int64, "i1": np.int8, "u1": np.uint8, "b1": np.bool_}
_CODE_OF = {np.dtype(kind): code for code, kind in _CODES.items()}

T = TypeVar("T")


class CodecError(AdapterError):
    """The bytes aren't a record of the kind that was asked for, or they are damaged."""


def pack(record: Any) -> bytes:
    """Return `record`, a dataclass, as bytes."""
    columns: list[NDArray[Any]] = []
    tree = _plain(record, columns)
    heads = [[_CODE_OF[column.dtype], *column.shape] for column in columns]
    text = json.dumps({"columns": heads, "record": tree}, separators=(",", ":")).encode()
    body = b"".join(np.ascontiguousarray(c).astype(c.dtype.newbyteorder("<")).data for c in columns)
    packed = zlib.compress(_LENGTH.pack(len(text)) + text + body, _LEVEL)
    return MAGIC + _digest(packed) + packed


def unpack(data: bytes, kind: type[T]) -> T:
    """Return the record of `kind` that `pack` wrote.

    Raises
    ------
    CodecError
        If the bytes are damaged, of another format, or don't hold such a record.
    """
    content = _opened(data)
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    try:
        document = json.loads(content[_LENGTH.size : start])
        columns = _columns(document["columns"], content[start:])
        record: T = _read(document["record"], kind, columns, 0)
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as exc:
        raise CodecError(f"not a {kind.__name__}: {exc}") from exc
    return record


def _opened(data: bytes) -> bytes:
    """Return the content once it is known to be whole."""
    head = len(MAGIC) + _DIGEST_BYTES
    if data[: len(MAGIC)] != MAGIC:
        raise CodecError(f"unknown format: starts with {data[: len(MAGIC)]!r}, not {MAGIC!r}")
    if _digest(data[head:]) != data[len(MAGIC) : head]:
        raise CodecError(f"damaged: the digest of {len(data)} bytes is another")
    opener = zlib.decompressobj()
    try:
        content = opener.decompress(data[head:], MAX_BYTES)
    except zlib.error as exc:
        raise CodecError(f"damaged: {exc}") from exc
    if opener.unconsumed_tail:
        raise CodecError(f"more than {MAX_BYTES} bytes of content")
    if not opener.eof or len(content) < _LENGTH.size:
        raise CodecError(f"cut short after {len(content)} bytes of content")
    return content


def _digest(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=_DIGEST_BYTES).digest()


def _columns(heads: Any, body: bytes) -> list[NDArray[Any]]:
    columns: list[NDArray[Any]] = []
    start = 0
    for code, *shape in heads:
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"a column of the shape {shape}")
        count, dtype = math.prod(shape), np.dtype(_CODES[code]).newbyteorder("<")
        end = start + count * dtype.itemsize
        if end > len(body):
            raise ValueError(f"a column ends at {end} of {len(body)} bytes")
        column = np.frombuffer(body, dtype, count=count, offset=start).reshape(shape)
        columns.append(column.astype(_CODES[code]))
        start = end
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes belong to no column")
    return columns


def _plain(value: Any, columns: list[NDArray[Any]]) -> Any:
    """Return `value` as JSON has it; columns are put aside and their number takes their place."""
    if isinstance(value, np.ndarray):
        columns.append(value)
        return len(columns) - 1
    if is_dataclass(value):
        return {
            f.name: _plain(getattr(value, f.name), columns)
            for f in fields(value)
            if f.metadata.get(SAVED, True)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item, columns) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, columns) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


# Reads one JSON value as some type, at some depth.
_Reader = Callable[[Any, list[NDArray[Any]], int], Any]


def _read(value: Any, kind: Any, columns: list[NDArray[Any]], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    return _reader(kind)(value, columns, depth + 1)


@lru_cache(maxsize=256)
def _reader(kind: Any) -> _Reader:
    """Return what reads values of a type; TypeError for one that nobody has thought of."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return _optional_reader(arguments)
    if origin is np.ndarray:
        return _column_reader(np.dtype(get_args(arguments[1])[0]))
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(arguments[1])
    return _class_reader(kind)


def _class_reader(kind: Any) -> _Reader:
    if is_dataclass(kind):
        return _record_reader(kind)
    if issubclass(kind, tuple):
        return _named_tuple_reader(kind)
    if issubclass(kind, IntEnum):
        return lambda value, _columns, _depth: kind(_checked(value, int))
    if kind is float:
        return lambda value, _columns, _depth: float(_checked(value, int, float))
    if kind in {int, str, bool}:
        return lambda value, _columns, _depth: _checked(value, kind)
    raise TypeError(f"no way to read a {kind}")


def _checked(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise ValueError(f"{str(value)[:40]!r} where a {kinds[-1].__name__} belongs")
    return value


def _optional_reader(arguments: tuple[Any, ...]) -> _Reader:
    (inner,) = (kind for kind in arguments if kind is not NoneType)

    def read(value: Any, columns: list[NDArray[Any]], depth: int) -> Any:
        return None if value is None else _read(value, inner, columns, depth)

    return read


def _column_reader(dtype: np.dtype[Any]) -> _Reader:
    def read(value: Any, columns: list[NDArray[Any]], _depth: int) -> Any:
        if not 0 <= _checked(value, int) < len(columns):
            raise ValueError(f"column {value} of {len(columns)}")
        column = columns[value]
        if column.dtype != dtype:
            raise ValueError(f"a column of {column.dtype} where {dtype} belongs")
        return column

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> _Reader:
    def read(value: Any, columns: list[NDArray[Any]], depth: int) -> Any:
        items = _checked(value, list)
        if arguments[-1] is Ellipsis:
            return tuple(_read(item, arguments[0], columns, depth) for item in items)
        pairs = zip(items, arguments, strict=True)
        return tuple(_read(item, kind, columns, depth) for item, kind in pairs)

    return read


def _named_tuple_reader(kind: Any) -> _Reader:
    read = _tuple_reader(tuple(get_type_hints(kind).values()))
    return lambda value, columns, depth: kind(*read(value, columns, depth))


def _mapping_reader(kind: Any) -> _Reader:
    def read(value: Any, columns: list[NDArray[Any]], depth: int) -> Any:
        items = _checked(value, dict).items()
        return MappingProxyType({k: _read(item, kind, columns, depth) for k, item in items})

    return read


def _record_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    required = {
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    }

    def read(value: Any, columns: list[NDArray[Any]], depth: int) -> Any:
        found = _checked(value, dict)
        if lacking := required - found.keys():
            raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(lacking))}")
        return kind(
            **{
                f.name: _read(found[f.name], hints[f.name], columns, depth)
                for f in fields(kind)
                if f.name in found
            }
        )

    return read
