"""What forecasts are made from, and how well the last ones did: columns over models."""

from dataclasses import dataclass, fields, replace

import numpy as np

from .domain import FloatArray, rows_of
from .level import LevelState
from .season import HOURS

__all__ = ["BUCKET_S", "EXPERTS", "QUANTILES", "STEPS", "Expert", "ForecastState"]

# Rates are forecast as means over so many seconds.
BUCKET_S = 30.0
# The farthest that is looked ahead, in buckets.
STEPS = 40
# Quantiles of the forecast's error that are followed.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


class Expert:
    """Columns of what each way of forecasting said."""

    LAST = 0  # as in the last bucket
    LEVEL = 1  # the steady level
    TREND = 2  # the level goes on as it went
    SEASON = 3  # the level goes on as at this time of the week


EXPERTS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastState:
    """What one forecast hands to the next; rows are models, matched by name.

    Attributes
    ----------
    names : tuple of str, length M
    level : LevelState
    read_s : float
        When rates were last read. [s]
    bucket_start_s : float
        Start of the bucket that is being filled. [s]
    bucket_sum, bucket_weight_s : ndarray, shape (M,)
        Rates in it times the seconds they stand for, and those seconds.
    said_rps : ndarray, shape (M, STEPS, EXPERTS + 1)
        What each expert, and their mix, said of the buckets to come, by the bucket's
        place in the ring. [requests/s]
    turn : int
        Place in the ring of the bucket that is being filled.
    scores : ndarray, shape (M,)
        Buckets that were forecast and came.
    loss : ndarray, shape (M, EXPERTS)
        Mean absolute error of each expert; NaN: not known. [requests/s]
    spread_rps : ndarray, shape (M,)
        Mean absolute error of the mix; NaN: not known. [requests/s]
    offset_ratio : ndarray, shape (M, len(QUANTILES))
        Quantiles of the mix's error over its spread.
    season_rps, season_mass_s : ndarray, shape (M, 168)
        See `season`.
    """

    names: tuple[str, ...]
    level: LevelState
    read_s: float
    bucket_start_s: float
    bucket_sum: FloatArray
    bucket_weight_s: FloatArray
    said_rps: FloatArray
    turn: int
    scores: FloatArray
    loss: FloatArray
    spread_rps: FloatArray
    offset_ratio: FloatArray
    season_rps: FloatArray
    season_mass_s: FloatArray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> "ForecastState":
        """Return the state of models of which nothing was ever read."""
        count = len(names)
        return cls(
            names=names,
            level=LevelState.empty(count),
            read_s=-np.inf,
            bucket_start_s=-np.inf,
            bucket_sum=np.zeros(count),
            bucket_weight_s=np.zeros(count),
            said_rps=np.full((count, STEPS, EXPERTS + 1), np.nan),
            turn=0,
            scores=np.zeros(count),
            loss=np.full((count, EXPERTS), np.nan),
            spread_rps=np.full(count, np.nan),
            offset_ratio=np.zeros((count, len(QUANTILES))),
            season_rps=np.zeros((count, HOURS)),
            season_mass_s=np.zeros((count, HOURS)),
        )

    def aligned(self, names: tuple[str, ...]) -> "ForecastState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        rows = rows_of(names, self.names)
        fresh = self.empty(names)
        for new, old in ((fresh, self), (fresh.level, self.level)):
            for field in fields(old):
                column = getattr(old, field.name)
                if isinstance(column, np.ndarray):
                    getattr(new, field.name)[rows >= 0] = column[rows[rows >= 0]]
        level = replace(fresh.level, kept_s=self.level.kept_s)
        return replace(
            fresh,
            level=level,
            read_s=self.read_s,
            bucket_start_s=self.bucket_start_s,
            turn=self.turn,
        )
