"""Kubernetes quantities: numbers with a decimal, binary or exponent suffix. Pure.

Exact arithmetic on decimals: a float is taken at its shortest decimal form, the one that
people read. What HPA sees of a quantity is its milli value, rounded away from zero; the
text written here is that milli value in canonical form (no fraction, largest suffix).

Format: Kubernetes API conventions, "Quantity" (apimachinery `resource.Quantity`).
"""

import math
import re
from decimal import ROUND_UP, Context, Decimal

__all__ = ["MAX_QUANTITY", "encode_quantity", "milli_value", "parse_quantity"]

# HPA multiplies by 1000 in int64: beyond 2^63 / 1000 it reads a negative count, or zero.
MAX_QUANTITY = 9.2e15

_MILLI_SUFFIXES = ("m", "", "k", "M", "G", "T", "P", "E")

_SCALES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
    flags=re.ASCII,
)

# Wide enough for a text of _MAX_TEXT characters: no digit of an input is lost.
_EXACT = Context(prec=2_000, Emin=-2_000, Emax=2_000)
_MAX_TEXT = 256


def encode_quantity(value: float) -> str:
    """Return `value` as canonical text, rounded up to the next milli.

    Raises
    ------
    ValueError
        If `value` is negative, NaN, infinite, or too large for HPA's arithmetic.

    Examples
    --------
    >>> [encode_quantity(v) for v in (3.0, 2.5, 0.0004, 0.0, 1000.0)]
    ['3', '2500m', '1m', '0', '1k']

    """
    if not math.isfinite(value) or not 0 <= value < MAX_QUANTITY:
        raise ValueError(
            f"{value!r} can't be served as a quantity: it must be finite, at least 0 and below "
            f"{MAX_QUANTITY:g}"
        )
    number = int(value) * 1000 if value == int(value) else _milli(Decimal(repr(value)))
    power = 0
    while number and number % 1000 == 0:
        number //= 1000
        power += 1
    return f"{number}{_MILLI_SUFFIXES[power]}" if number else "0"


def parse_quantity(text: str) -> Decimal:
    """Return the exact number that `text` stands for.

    Raises
    ------
    ValueError
        If `text` isn't a quantity.

    Examples
    --------
    >>> [f"{parse_quantity(t):f}" for t in ("2500m", "2Ki", "1e3", "1E")]
    ['2.500', '2048', '1000', '1000000000000000000']

    """
    match = _FORM.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        shown = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
        raise ValueError(
            f"{shown!r} is not a quantity: expected digits, then nothing, an exponent (e3), or one "
            "of n u m k M G T P E Ki Mi Gi Ti Pi Ei"
        )
    number = Decimal(match["number"])
    if match["exponent"] is not None:
        return _EXACT.scaleb(number, int(match["exponent"]))
    return _EXACT.multiply(number, _SCALES[match["suffix"] or ""])


def milli_value(text: str) -> int:
    """Return the quantity in thousandths, rounded away from zero as HPA rounds it.

    Examples
    --------
    >>> [milli_value(t) for t in ("1.5", "5n", "-1.0005", "2Ki")]
    [1500, 1, -1001, 2048000]

    """
    return _milli(parse_quantity(text))


def _milli(number: Decimal) -> int:
    return int(_EXACT.scaleb(number, 3).to_integral_value(rounding=ROUND_UP, context=_EXACT))
