"""Rises of a load: seen within seconds at their full height, and expected after others. Pure.

A mean over a window of W seconds says what the rate was W/2 ago. What the newest window has
more than those some ticks earlier came in the ticks between; where that stands clear of the
noise of counting, the rate has risen, and the difference says to what.

Rises come in clusters: a load that has risen twice within three cold starts will probably
rise once more before a replica that is asked for now is ready. By as much as it did; but one
that falls and rises in turn comes back to where it was, not beyond.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from .domain import BoolArray, FloatArray, aligned, rows_of
from .tails import normal_quantile

__all__ = [
    "RiseState",
    "observe_rises",
    "risen_to_rps",
    "rises_expected_rps",
    "still_expected",
]

# Readings and rises that are remembered.
READINGS, RISES = 8, 8
# How far above the noise a rise must stand: counting noise alone comes this far in one look of
# a million, so about once in three weeks of three looks every five seconds.
SIGMAS = 4.75
# What the skewness of a Poisson count adds, in requests (Cornish and Fisher).
SKEW = (SIGMAS**2 - 1.0) / 6.0
# A rise is one by at least this share, over as many windows as it takes to see all of it.
LEAST_RATIO, SETTLES_WINDOWS = 1.15, 2.0
# ... and as many until the level, a mean over more of them, has followed.
FOLLOWS_WINDOWS = 4.0
# Ticks come a little early or late.
LATELY = 1.05
# Rises count as a cluster within so many times the time that an answer takes.
CLUSTER = 3.0
# Few rises say little of how unlike they are: as if so many more had differed by this. [log]
PRIOR_RISES, PRIOR_LOG_SPREAD = 1.0, 0.35
# No less is ever asked of a rise that is expected than this quantile of it.
LEAST_QUANTILE = 0.5
# No load is expected to rise by more than this at once.
LARGEST_RATIO = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiseState:
    """The last readings and rises; rows are models, matched by name.

    Attributes
    ----------
    names : tuple of str, length M
    read_s : ndarray, shape (8,)
        When the readings were made, newest last; -inf: not yet. [s]
    rate_rps : ndarray, shape (M, 8)
        Means over the window before; NaN: unknown. [requests/s]
    level_rps : ndarray, shape (M, 8)
        Levels at those readings; NaN: unknown. [requests/s]
    begun_s, from_rps, to_rps : ndarray, shape (M, 8)
        When each rise was seen, and between which rates; NaN: none. [s], [requests/s]
    before_rps : ndarray, shape (M, 8)
        The highest level of lately when each rise began: one that goes no higher comes back
        to what was there, and says nothing of what may come; NaN: none. [requests/s]
    highest_rps : ndarray, shape (M,)
        The highest level of lately that lasted a window, now; NaN: unknown. [requests/s]
    hoped_rps, hoped_s : ndarray, shape (M,)
        The most that was lately expected to come, and when; NaN: nothing. [requests/s], [s]
    """

    names: tuple[str, ...]
    read_s: FloatArray
    rate_rps: FloatArray
    level_rps: FloatArray
    begun_s: FloatArray
    from_rps: FloatArray
    to_rps: FloatArray
    before_rps: FloatArray
    highest_rps: FloatArray
    hoped_rps: FloatArray
    hoped_s: FloatArray

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> "RiseState":
        """Return the state of models of which nothing was ever read."""
        count = len(names)
        return cls(
            names=names,
            read_s=np.full(READINGS, -np.inf),
            rate_rps=np.full((count, READINGS), np.nan),
            level_rps=np.full((count, READINGS), np.nan),
            begun_s=np.full((count, RISES), np.nan),
            from_rps=np.full((count, RISES), np.nan),
            to_rps=np.full((count, RISES), np.nan),
            before_rps=np.full((count, RISES), np.nan),
            highest_rps=np.full(count, np.nan),
            hoped_rps=np.full(count, np.nan),
            hoped_s=np.full(count, np.nan),
        )

    def for_models(self, names: tuple[str, ...]) -> "RiseState":
        """Return the rows of `names`, new ones empty, forgetting all others."""
        if names == self.names:
            return self
        rows = rows_of(names, self.names)
        columns = {
            field.name: aligned(getattr(self, field.name), rows)
            for field in fields(self)
            if field.name not in {"names", "read_s"}
        }
        return RiseState(names=names, read_s=self.read_s, **columns)


def risen_to_rps(
    state: RiseState,
    rate_rps: FloatArray,
    *,
    now_s: float,
    window_s: float,
    dispersion: FloatArray,
) -> FloatArray:
    """Return the rate of the newest seconds where it is clearly above the mean, else NaN.

    Parameters
    ----------
    state : RiseState, M rows
        With the readings before this one.
    rate_rps : array, shape (M,)
        Mean over the last `window_s`; NaN: unknown. [requests/s]
    now_s : float
        [s]
    window_s : float
        Length of the window, > 0. [s]
    dispersion : array, shape (M,)
        Index of dispersion of arrivals: 1 for Poisson.

    Returns
    -------
    ndarray, shape (M,)
        What the clearest of the earlier readings says; at least `rate_rps`. [requests/s]

    Notes
    -----
    Of two windows Δ < W apart the newer has d = (r' - r) W requests more: those of the newest Δ
    seconds less those of the oldest Δ, whose variance under a steady rate is 2 r Δ I, I the
    index of dispersion. Where d exceeds SIGMAS standard deviations the new rate is r + d / Δ,
    r the lowest of the last window, which holds none of the rise yet.
    """
    elapsed_s = now_s - state.read_s
    within = (elapsed_s > 0.0) & (elapsed_s < window_s)
    if not within.any():
        return np.full(len(rate_rps), np.nan)
    apart_s, before = elapsed_s[within], state.rate_rps[:, within]
    gained = (rate_rps[:, None] - before) * window_s
    noise = np.sqrt(2.0 * dispersion[:, None] * np.maximum(before * apart_s, 1.0))
    clear = (gained - SKEW * dispersion[:, None]) / noise
    clear = np.where(np.isfinite(clear), clear, -np.inf)
    best, row = clear.argmax(axis=1), np.arange(len(rate_rps))
    # What has left the window came before the rise, when the mean held none of it.
    newest = _lowest(state.rate_rps, elapsed_s, window_s) + gained[row, best] / apart_s[best]
    risen = np.fmax(rate_rps, newest)
    return np.where(clear[row, best] > SIGMAS, risen, np.nan)


def _lowest(values: FloatArray, elapsed_s: FloatArray, window_s: float) -> FloatArray:
    """Return each row's lowest of the last window's readings; NaN where none is known."""
    lately = values[:, elapsed_s <= LATELY * window_s]
    return np.asarray(np.fmin.reduce(lately, axis=1, initial=np.nan))


def observe_rises(
    state: RiseState,
    rate_rps: FloatArray,
    *,
    level_rps: FloatArray,
    risen_rps: FloatArray,
    believed: BoolArray,
    now_s: float,
    window_s: float,
    answer_s: FloatArray,
) -> RiseState:
    """Return the state after one more reading.

    Parameters
    ----------
    state : RiseState, M rows
    rate_rps, level_rps, risen_rps : array, shape (M,)
        The newest window's mean, the steady level, and what it has risen to; NaN: unknown.
        [requests/s]
    believed : array of bool, shape (M,)
        Whether readings are complete: where a replica is silent, rates move for reasons
        of their own.
    now_s, window_s : float
        [s]
    answer_s : array, shape (M,)
        From a rise to replicas that are ready for it. [s]

    Notes
    -----
    What a level was is forgotten as rises are: after 3 T without it e^-1 of the height counts.
    """
    if not now_s > state.read_s[-1]:
        return state
    forgotten = np.exp((state.read_s[-1] - now_s) / np.maximum(CLUSTER * answer_s, window_s))
    high_rps = state.highest_rps * forgotten
    reached = np.fmax(level_rps, risen_rps)
    base_rps = _lowest(state.level_rps, now_s - state.read_s, window_s)
    since_windows = (now_s - state.begun_s[:, -1]) / window_s
    # A level that is still on its way to what a rise came to shows no other one.
    behind = base_rps * LEAST_RATIO < state.to_rps[:, -1]
    settling = since_windows < np.where(behind, FOLLOWS_WINDOWS, SETTLES_WINDOWS)
    # What the first windows show of a load that was there before is no rise.
    watched = np.isfinite(state.level_rps[:, 0])
    begins = believed & watched & ~settling & (reached > LEAST_RATIO * base_rps)

    def noted(column: FloatArray, value: FloatArray | float) -> FloatArray:
        shifted = np.concatenate([column[:, 1:], column[:, :1]], axis=1)
        shifted[:, -1] = value
        return np.where(begins[:, None], shifted, column)

    to_rps = noted(state.to_rps, reached)
    to_rps[:, -1] = _came_to(
        to_rps[:, -1],
        np.where(since_windows < 1.0, reached, rate_rps),
        goes_on=settling & believed,
        settles=(since_windows >= 1.0) & (state.read_s[-1] - state.begun_s[:, -1] < window_s),
    )
    usable = np.where(believed, rate_rps, np.nan)
    return replace(
        state,
        read_s=np.append(state.read_s[1:], now_s),
        rate_rps=np.concatenate([state.rate_rps[:, 1:], usable[:, None]], axis=1),
        level_rps=np.concatenate([state.level_rps[:, 1:], level_rps[:, None]], axis=1),
        begun_s=noted(state.begun_s, now_s),
        from_rps=noted(state.from_rps, base_rps),
        to_rps=to_rps,
        before_rps=noted(state.before_rps, np.fmax(high_rps, base_rps)),
        highest_rps=np.fmax(high_rps, np.where(believed, base_rps, np.nan)),
    )


def _came_to(
    to_rps: FloatArray, seen_rps: FloatArray, *, goes_on: BoolArray, settles: BoolArray
) -> FloatArray:
    """Return what a rise has come to: the most that was seen, but no guess of a few seconds.

    As soon as a whole window lies behind a rise its mean stands in the place of what the
    newest seconds seemed to say.
    """
    grown = np.where(goes_on, np.fmax(to_rps, seen_rps), to_rps)
    return np.where(goes_on & settles & np.isfinite(seen_rps), seen_rps, grown)


def rises_expected_rps(
    state: RiseState,
    rate_rps: FloatArray,
    *,
    now_s: float,
    answer_s: FloatArray,
    after_rises: int,
    upper_ratio: float,
) -> FloatArray:
    """Return the rate that a load which rises again and again comes to next, else NaN.

    Parameters
    ----------
    state : RiseState, M rows
    rate_rps : array, shape (M,)
        The rate now. [requests/s]
    now_s : float
        [s]
    answer_s : array, shape (M,)
        From a rise to replicas that are ready for it. [s]
    after_rises : int
        Rises within three times that after which another one is expected; 0: none ever is.
    upper_ratio : float, in [0.5, 1)
        Quantile of what it multiplies by that is asked for.

    Notes
    -----
    At the rate that the last 3 T show, n / (3 T), the next rise comes within T with
    probability p = 1 - exp(-n / 3), 49 % for two of them. The rate then exceeds r times that
    of now with probability p P(R > r), R the rise's ratio, so that the quantile q of the rate
    is that at 1 - (1 - q) / p of the ratio. Ratios are taken for log-normal, as those were. It
    goes beyond all that was only where rises did that, else back to the highest.
    """
    if after_rises == 0:
        return np.full(len(rate_rps), np.nan)
    recent = now_s - state.begun_s <= CLUSTER * answer_s[:, None]
    start = np.where(recent, state.from_rps, np.nan)
    known = np.fmax(start, state.before_rps)
    end = np.where(recent, state.to_rps, 0.0)
    highest = np.maximum.accumulate(end, axis=1)
    before = np.concatenate([np.zeros((len(end), 1)), highest[:, :-1]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.clip(end / start, 1.0, LARGEST_RATIO)
        record = np.clip(end / np.fmax(known, before), 1.0, LARGEST_RATIO)
    records = recent & (record > LEAST_RATIO)
    again = np.minimum(rate_rps * _upper(ratio, recent, upper_ratio), highest[:, -1])
    beyond = rate_rps * _upper(record, records, upper_ratio)
    # One climb in several rises never fell: nothing shows that it would come back after it does.
    fell = recent & (start * LEAST_RATIO < np.fmax(before, known))
    again = np.where(fell.sum(axis=1) >= after_rises - 1, again, np.nan)
    on_top = rate_rps * LEAST_RATIO >= highest[:, -1]
    beyond = np.where(on_top & (records.sum(axis=1) >= after_rises), beyond, np.nan)
    return np.fmax(again, beyond)


def still_expected(
    state: RiseState,
    coming_rps: FloatArray,
    rate_rps: FloatArray,
    *,
    now_s: float,
    window_s: float,
    patience_s: FloatArray,
) -> tuple[RiseState, FloatArray]:
    """Return the state, and what is expected with what was until lately.

    Estimates of what may come move with every reading. The largest stands for as long as a
    replica is kept that isn't needed, unless the load has fallen from where its last rise
    came to: what was bought for more of it goes then.

    Parameters
    ----------
    state : RiseState, M rows
    coming_rps : array, shape (M,)
        What is expected now; NaN: nothing. [requests/s]
    rate_rps : array, shape (M,)
        The rate now. [requests/s]
    now_s, window_s : float
        [s]
    patience_s : array, shape (M,)
        [s]
    """
    settled = now_s - state.begun_s[:, -1] >= window_s
    fell = settled & (rate_rps * LEAST_RATIO < state.to_rps[:, -1])
    stands = (now_s - state.hoped_s <= patience_s) & ~fell
    before = np.where(stands, state.hoped_rps, np.nan)
    renewed = np.isfinite(coming_rps) & ~(coming_rps < before)
    hoped = np.where(renewed, coming_rps, before)
    hoped_s = np.where(renewed, now_s, np.where(stands, state.hoped_s, np.nan))
    return replace(state, hoped_rps=hoped, hoped_s=hoped_s), np.fmax(coming_rps, hoped)


def _upper(ratio: FloatArray, where: BoolArray, upper_ratio: float) -> FloatArray:
    """Return what the rate multiplies by at a quantile, from the ratios of rises at `where`."""
    count = np.maximum(where.sum(axis=1), 1)
    logs = np.where(where, np.log(np.where(where, ratio, 1.0)), 0.0)
    mean = logs.sum(axis=1) / count
    spread = np.where(where, (logs - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = (spread + PRIOR_RISES * PRIOR_LOG_SPREAD**2) / (count + PRIOR_RISES)
    comes = -np.expm1(-count / CLUSTER)
    within = np.clip(1.0 - (1.0 - upper_ratio) / comes, LEAST_QUANTILE, 1.0)
    return np.asarray(np.exp(mean + normal_quantile(within) * np.sqrt(variance)))
