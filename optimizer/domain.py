"""The optimizer's records: frozen columns, one entry per variant, model or replica.

Everything is in base units: seconds, requests/s, tokens, watts, currency per hour.
Columns of one record share one shape. Unknown numbers are NaN; "no limit" and "no
target" are +inf. Records with arrays are compared by identity (``eq=False``).
"""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError

__all__ = [
    "BoolArray",
    "Columns",
    "EngineLimits",
    "FloatArray",
    "HalfWidthArray",
    "IntArray",
    "ServiceProfiles",
    "SloTargets",
    "Trust",
    "Workloads",
    "aligned",
    "rows_of",
]

FloatArray = NDArray[np.float64]
# Where a millionth is accuracy enough and the time goes into exp and log.
HalfWidthArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Kind = TypeVar("Kind", bound=np.generic)


class Trust(IntEnum):
    """How a performance profile is known, from least to most."""

    NONE = 0
    PRIOR = 1
    LEARNED = 2
    GIVEN = 3
    FIXED = 4  # given, and held whatever engines do


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Base of column records: arrays of one length that are taken together."""

    def __post_init__(self) -> None:
        """Refuse columns of different shapes."""
        # Of the names, not of `fields`: records are made so often that it was felt.
        names = self.__dataclass_fields__
        if len({np.shape(getattr(self, name)) for name in names}) > 1:
            shapes = {name: np.shape(getattr(self, name)) for name in names}
            raise InvalidInputError(f"{type(self).__name__}: columns differ in shape: {shapes}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(getattr(self, fields(self)[0].name))

    def take(self, index: IntArray | BoolArray | slice) -> Self:
        """Return the rows that `index` selects, as a record of the same kind."""
        names = self.__dataclass_fields__
        return type(self)(**{name: getattr(self, name)[index] for name in names})

    def replaced(self, index: IntArray, rows: Self) -> Self:
        """Return the record with the rows at `index` replaced by those of another."""
        columns = {f.name: getattr(self, f.name).copy() for f in fields(self)}
        for name, column in columns.items():
            column[index] = getattr(rows, name)
        return type(self)(**columns)


def rows_of(names: tuple[str, ...], known: tuple[str, ...]) -> IntArray:
    """Return the row of each name among the `known` ones, -1 for those that aren't."""
    if names == known:
        return np.arange(len(names))
    row = {name: i for i, name in enumerate(known)}
    return np.fromiter((row.get(name, -1) for name in names), dtype=np.int64, count=len(names))


def aligned(column: NDArray[Kind], rows: IntArray, *, absent: float = np.nan) -> NDArray[Kind]:
    """Return the `rows` of a column, as `rows_of` gives them; `absent` where there is none."""
    result = np.full((len(rows), *column.shape[1:]), absent, dtype=column.dtype)
    result[rows >= 0] = column[rows[rows >= 0]]
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServiceProfiles(Columns):
    """Parameters of one replica's iteration time, a column entry per variant.

    An engine iteration that decodes one token for each of d sequences, computes p
    prompt tokens and ends with c tokens of KV cache under its sequences lasts

        iteration_base_s + d * decode_slope_s + p * prefill_slope_s + c * kv_slope_s

    and the client sees its first token `ttft_constant_s` after the engine made it.
    """

    iteration_base_s: FloatArray
    decode_slope_s: FloatArray
    prefill_slope_s: FloatArray
    kv_slope_s: FloatArray
    ttft_constant_s: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workloads(Columns):
    """Moments of request lengths as a variant sees them; second moments are E[X^2]."""

    prompt_tokens_mean: FloatArray
    prompt_tokens_second_moment: FloatArray
    output_tokens_mean: FloatArray
    output_tokens_second_moment: FloatArray
    prefix_hit_ratio: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EngineLimits(Columns):
    """What one replica can hold: +inf where unknown or unlimited.

    `max_batch_size` is `max_num_seqs`, `max_queue_size` the requests that may wait
    beside those, `kv_capacity_tokens` the KV cache, `max_batched_tokens` the token
    budget of one iteration.
    """

    max_batch_size: IntArray
    max_queue_size: IntArray
    kv_capacity_tokens: FloatArray
    max_batched_tokens: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SloTargets(Columns):
    """Latency targets; +inf is "no target". `percentile_ratio` in (0, 1), or 0 for means.

    `throughput_tps` is the output-token rate one replica must be able to give
    (0: no target).
    """

    ttft_s: FloatArray
    itl_s: FloatArray
    percentile_ratio: FloatArray
    throughput_tps: FloatArray
