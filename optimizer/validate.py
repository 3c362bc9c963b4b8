"""Bounds of the optimizer's input records, and which rows are known at all.

Not a number is "unknown": such a row gets no answer, and says so. A number outside its
bounds is the caller's mistake and raises. A second moment below the squared mean is
neither (moments read off histogram buckets do that): whoever uses it takes the larger.
"""

from dataclasses import fields

import numpy as np

from .domain import (
    BoolArray,
    Columns,
    EngineLimits,
    FloatArray,
    ServiceProfiles,
    SloTargets,
    Workloads,
)
from .errors import InvalidInputError

__all__ = ["check_bounds", "check_percentile", "check_rate", "known_rows"]

_TINY = float(np.nextafter(0.0, 1.0))
_INF = float("inf")
_LARGEST = float(np.finfo(np.float64).max)

# Least and largest value of every column.
_BOUNDS: dict[type[Columns], dict[str, tuple[float, float]]] = {
    ServiceProfiles: {
        "iteration_base_s": (_TINY, _LARGEST),
        "decode_slope_s": (0.0, _LARGEST),
        "prefill_slope_s": (0.0, _LARGEST),
        "kv_slope_s": (0.0, _LARGEST),
        "ttft_constant_s": (0.0, _LARGEST),
    },
    Workloads: {
        "prompt_tokens_mean": (0.0, _LARGEST),
        "prompt_tokens_second_moment": (0.0, _LARGEST),
        "output_tokens_mean": (1.0, _LARGEST),
        "output_tokens_second_moment": (0.0, _LARGEST),
        "prefix_hit_ratio": (0.0, 1.0),
    },
    EngineLimits: {
        "max_batch_size": (1.0, _LARGEST),
        "max_queue_size": (0.0, _LARGEST),
        "kv_capacity_tokens": (_TINY, _INF),
        "max_batched_tokens": (1.0, _INF),
    },
    SloTargets: {
        "ttft_s": (_TINY, _INF),
        "itl_s": (_TINY, _INF),
        "percentile_ratio": (0.0, float(np.nextafter(1.0, 0.0))),
        "throughput_tps": (0.0, _LARGEST),
    },
}


def check_bounds(*records: Columns) -> None:
    """Raise unless all records have the same length and every known number is in bounds.

    Parameters
    ----------
    *records : ServiceProfiles, Workloads, EngineLimits or SloTargets

    Raises
    ------
    InvalidInputError
        Names the column, the row, the value and the bound.
    """
    lengths = {type(record).__name__: len(record) for record in records}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"records differ in length: {lengths}; give one row per variant")
    for record in records:
        for name, (least, largest) in _BOUNDS[type(record)].items():
            column = np.asarray(getattr(record, name))
            _refuse((column < least) | (column > largest), column, name, (least, largest))


def check_rate(name: str, rate: FloatArray, length: int) -> None:
    """Raise unless `rate` is a column of `length` rates, each >= 0 or unknown."""
    if np.shape(rate) != (length,):
        raise InvalidInputError(f"{name} has shape {np.shape(rate)}; must be ({length},)")
    _refuse((rate < 0.0) | np.isinf(rate), rate, name, (0.0, _LARGEST))


def check_percentile(ratio: FloatArray, length: int) -> None:
    """Raise unless `ratio` is a column of `length` numbers in [0, 1), or unknown."""
    bounds = _BOUNDS[SloTargets]["percentile_ratio"]
    if np.shape(ratio) != (length,):
        raise InvalidInputError(f"percentile_ratio has shape {np.shape(ratio)}; not ({length},)")
    _refuse((ratio < bounds[0]) | (ratio > bounds[1]), ratio, "percentile_ratio", bounds)


def known_rows(*records: Columns) -> BoolArray:
    """Return which rows have a number in every column."""
    known = np.ones(len(records[0]), dtype=np.bool_)
    for record in records:
        for field in fields(record):
            known &= ~np.isnan(getattr(record, field.name))
    return known


def _refuse(bad: BoolArray, column: FloatArray, name: str, bounds: tuple[float, float]) -> None:
    if np.any(bad):
        row = int(np.argmax(bad))
        raise InvalidInputError(
            f"{name}[{row}] is {column[row]}; must be in [{bounds[0]:g}, {bounds[1]:g}],"
            " or NaN for unknown"
        )
