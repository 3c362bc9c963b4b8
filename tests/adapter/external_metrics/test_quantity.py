import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.external_metrics.quantity import (
    MAX_QUANTITY,
    encode_quantity,
    milli_value,
    parse_quantity,
)
from adapter.store import MAX_VALUE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(3.0, "3", id="whole"),
        pytest.param(0.0, "0", id="zero"),
        pytest.param(-0.0, "0", id="negative-zero"),
        pytest.param(2.5, "2500m", id="fraction"),
        pytest.param(0.0004, "1m", id="never-rounds-to-zero"),
        pytest.param(5e-324, "1m", id="smallest-float"),
        pytest.param(1.0005, "1001m", id="rounds-up"),
        pytest.param(1.001, "1001m", id="shortest-decimal-form-counts"),
        pytest.param(4.35, "4350m", id="not-the-binary-fraction"),
        pytest.param(999.0, "999", id="below-a-suffix"),
        pytest.param(1000.0, "1k", id="largest-suffix"),
        pytest.param(1500.0, "1500", id="no-fraction-of-a-suffix"),
        pytest.param(2e6, "2M", id="mega"),
        pytest.param(9e15, "9P", id="peta"),
        pytest.param(123456.789, "123456789m", id="large-fraction"),
    ],
)
def test_encoding_is_canonical(value, text):
    assert encode_quantity(value) == text


@pytest.mark.parametrize("value", [-1.0, -1e-9, math.nan, math.inf, -math.inf, 9.2e15, 1e30])
def test_what_hpa_would_misread_is_not_encoded(value):
    with pytest.raises(ValueError, match="finite, at least 0 and below"):
        encode_quantity(value)


def test_the_store_and_the_encoding_have_one_bound():
    assert MAX_VALUE == MAX_QUANTITY
    assert MAX_QUANTITY * 1000 < 2**63


@pytest.mark.parametrize(
    ("text", "number", "milli"),
    [
        pytest.param("0", "0", 0, id="zero"),
        pytest.param("1500m", "1.5", 1500, id="milli"),
        pytest.param("1.5", "1.5", 1500, id="fraction"),
        pytest.param(".5", "0.5", 500, id="no-digit-before-the-point"),
        pytest.param("5.", "5", 5000, id="no-digit-after-the-point"),
        pytest.param("0.0001", "0.0001", 1, id="rounds-away-from-zero"),
        pytest.param("-0.0001", "-0.0001", -1, id="rounds-away-from-zero-below"),
        pytest.param("5n", "0.000000005", 1, id="nano"),
        pytest.param("400u", "0.0004", 1, id="micro"),
        pytest.param("1e-05", "0.00001", 1, id="negative-exponent"),
        pytest.param("1E3", "1000", 1000000, id="capital-exponent"),
        pytest.param("1E", "1e18", 10**21, id="exa-is-no-exponent"),
        pytest.param("+3k", "3000", 3000000, id="plus-and-kilo"),
        pytest.param("2Ki", "2048", 2048000, id="kibi"),
        pytest.param("1Ei", str(2**60), 2**60 * 1000, id="exbi"),
        pytest.param("1.0005", "1.0005", 1001, id="half-a-milli-up"),
        pytest.param("9223372036854776", "9223372036854776", 9223372036854776000, id="past-int64"),
    ],
)
def test_parsing_is_exact(text, number, milli):
    assert parse_quantity(text) == Decimal(number)
    assert milli_value(text) == milli


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "NaN",
        "inf",
        "1 m",
        "1kk",
        "1e",
        "1ee3",
        "e3",
        "1_0",
        "٣",
        ".",
        "--1",
        "1K",
        "1mi",
        "1e9999",
        "1" * 300,
        "0x10",
        "1,5",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.floats(0, 9e15, allow_nan=False))
def test_encoded_and_parsed_is_the_value_within_a_milli_and_never_below(value):
    milli = milli_value(encode_quantity(value))
    exact = Fraction(repr(value)) * 1000
    assert exact <= milli < exact + 1


@given(st.floats(0, 9e15, allow_nan=False))
def test_the_canonical_form_has_no_fraction_exponent_or_smaller_suffix(value):
    text = encode_quantity(value)
    digits = text.rstrip("mkMGTPE")
    assert digits.isdigit()
    assert len(text) - len(digits) <= 1
    assert digits == "0" or not digits.endswith("000")


@given(st.integers(-(10**15), 10**15), st.sampled_from(["n", "u", "m", "", "k", "Ki"]))
def test_a_suffix_scales_by_its_power(number, suffix):
    scale = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": 1}
    scale |= {"k": 1000, "Ki": 1024}
    assert Fraction(parse_quantity(f"{number}{suffix}")) == number * scale[suffix]
