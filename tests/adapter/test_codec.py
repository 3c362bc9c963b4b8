"""Bytes back to records: the same ones, or an error; never something else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from adapter.codec import MAX_BYTES, SAVED, CodecError, pack, unpack


class Color(IntEnum):
    RED = 1
    BLUE = 2


class Key(NamedTuple):
    namespace: str
    row: int


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    rates: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Record:
    number: float
    count: int
    flag: bool
    maybe: float | None
    color: Color
    keys: tuple[Key, ...]
    pair: tuple[int, str]
    words: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, NDArray[np.float64]]
    whole: NDArray[np.int64]
    small: NDArray[np.int8]
    bits: NDArray[np.bool_]
    inner: Inner
    later: int = field(default=7)


def column(kind, **elements):
    return arrays.arrays(
        kind, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), **elements
    )


TEXT = st.text(max_size=8)
RECORDS = st.builds(
    Record,
    number=st.floats(),
    count=st.integers(-(2**62), 2**62),
    flag=st.booleans(),
    maybe=st.none() | st.floats(allow_nan=False),
    color=st.sampled_from(Color),
    keys=st.lists(st.builds(Key, TEXT, st.integers(0, 9)), max_size=3).map(tuple),
    pair=st.tuples(st.integers(0, 9), TEXT),
    words=st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=3),
    columns=st.dictionaries(TEXT, column(np.float64), max_size=3),
    whole=column(np.int64),
    small=column(np.int8),
    bits=column(np.bool_),
    inner=st.builds(Inner, name=TEXT, rates=column(np.float64)),
    later=st.integers(0, 9),
)


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype == float)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, f), getattr(other, f)) for f in one.__dataclass_fields__)
    return type(one) is type(other) and repr(one) == repr(other)


RECORD = Record(
    number=float("nan"),
    count=3,
    flag=True,
    maybe=None,
    color=Color.BLUE,
    keys=(Key("default", 1),),
    pair=(1, "a"),
    words={"a": ("b", "c")},
    columns={"x": np.array([1.0, np.nan, np.inf])},
    whole=np.arange(6).reshape(2, 3),
    small=np.array([1, 2], dtype=np.int8),
    bits=np.array([True, False]),
    inner=Inner(name="i", rates=np.zeros((0, 4))),
)


@given(RECORDS)
def test_what_is_read_is_what_was_written(record):
    read = unpack(pack(record), Record)
    assert same(record, read)


def test_columns_that_are_read_may_be_written_to():
    read = unpack(pack(RECORD), Record)
    read.whole[0, 0] = 9  # nobody else holds these bytes


@given(st.data())
def test_no_damaged_byte_goes_unnoticed(data):
    packed = bytearray(pack(RECORD))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        unpack(bytes(packed), Record)


@pytest.mark.parametrize("length", [0, 3, 10, 20, 25, 60])
def test_a_cut_is_noticed(length):
    with pytest.raises(CodecError):
        unpack(pack(RECORD)[:length], Record)


@given(st.binary(max_size=80))
def test_noise_is_refused(noise):
    with pytest.raises(CodecError):
        unpack(noise, Record)


@dataclass(frozen=True, kw_only=True)
class Newer:
    count: int
    added: tuple[str, ...] = ("default",)


@dataclass(frozen=True, kw_only=True)
class Strict:
    count: int
    needed: str


@dataclass(frozen=True, kw_only=True)
class Retyped:
    count: str


@dataclass(frozen=True, kw_only=True)
class Recolumned:
    small: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Colored:
    count: Color


def test_a_field_that_is_new_takes_its_default_and_one_that_is_gone_is_passed_over():
    assert unpack(pack(RECORD), Newer) == Newer(count=3)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param(Strict, "lacks needed", id="missing"),
        pytest.param(Retyped, "where a str belongs", id="another-type"),
        pytest.param(Recolumned, "int8 where float64", id="another-column"),
        pytest.param(Colored, "not a valid Color", id="no-such-member"),
    ],
)
def test_another_record_is_refused(kind, says):
    with pytest.raises(CodecError, match=says):
        unpack(pack(RECORD), kind)


def forged(content: bytes) -> bytes:
    """Wrap content as somebody would who knows the format."""
    import zlib
    from hashlib import blake2b

    packed = zlib.compress(content, 1)
    return b"WVA1" + blake2b(packed, digest_size=16).digest() + packed


def document(text: bytes, body: bytes = b"") -> bytes:
    return forged(len(text).to_bytes(4, "little") + text + body)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(forged(b""), id="nothing"),
        pytest.param(forged(b"\xff\xff\xff\xff{}"), id="text-beyond-the-end"),
        pytest.param(document(b"[]"), id="a-list"),
        pytest.param(document(b'{"columns":[["f8",-1]],"record":{}}'), id="negative-shape"),
        pytest.param(document(b'{"columns":[["f8",1e3]],"record":{}}'), id="broken-shape"),
        pytest.param(document(b'{"columns":[["O",1]],"record":{}}', b"12345678"), id="objects"),
        pytest.param(document(b'{"columns":[["f8",2]],"record":{}}', b"12345678"), id="too-short"),
        pytest.param(document(b'{"columns":[],"record":{}}', b"1"), id="too-long"),
        pytest.param(
            document(b'{"columns":[["f8",1]],"record":{"small":-1}}', b"12345678"), id="no-column"
        ),
        pytest.param(document(b'{"columns":[],"record":' + b"[" * 9000), id="nested"),
        pytest.param(document(b"\xff\xfe"), id="not-text"),
    ],
)
def test_forged_content_is_refused(data):
    with pytest.raises(CodecError):
        unpack(data, Recolumned)


def test_a_bomb_is_not_unpacked():
    with pytest.raises(CodecError, match="more than"):
        unpack(forged(bytes(MAX_BYTES + 10)), Record)


@dataclass(frozen=True, kw_only=True)
class Partly:
    kept: int
    spared: object = field(default=None, metadata={SAVED: False})


def test_what_can_be_computed_again_is_not_written():
    assert unpack(pack(Partly(kept=3, spared=object())), Partly) == Partly(kept=3)
