"""The arrival rate now: as long a mean as the load has been steady for. Pure.

A mean over a long time is precise and late, one over a short time is early and noisy.
Means over 1, 2, 4 ... observation windows are kept side by side. In force is the longest,
or, where a shorter one contradicts a longer one, the one that does so most clearly. So
the estimate of a steady load hardly moves, and a change is followed as soon as it stands
clear of the noise of counting: what a sequential test would need, and no fixed window.
"""

from dataclasses import dataclass, replace

import numpy as np

from .domain import BoolArray, Columns, FloatArray, IntArray

__all__ = ["Level", "LevelState", "follow", "level_now"]

# Observation windows in each mean beside the newest reading.
SPANS = (2, 4, 8, 16, 32, 64, 128)
# How far a shorter mean must be off to contradict a longer one, in standard deviations. Of a
# steady Poisson load one look in half a million comes this far; with eight means looked at every
# five seconds, though far from independent, that is some times a week.
SIGMAS = 4.75
# A rise is bought for a little earlier than a level is given up: late costs more. One look in
# two hundred thousand comes this far by chance: about once a day at a tick of five seconds.
SIGMAS_UP = 4.4
# What the skewness of a Poisson count adds to that, in requests (Cornish and Fisher).
SKEW = (SIGMAS**2 - 1.0) / 6.0
# Dispersion is followed over an hour, and over ten minutes, which count where they say
# something else by this factor: they would by chance once in some months. One reading
# counts at most like a surprise of three standard deviations, so that a step of the load
# isn't taken for noise; five minutes of Poisson arrivals are what is known before any.
LONG_MEMORY_S, SHORT_MEMORY_S, PRIOR_S = 3600.0, 600.0, 300.0
CONTRADICTION = 1.8
LARGEST_SURPRISE = 9.0
# Arrivals more even than Poisson (a benchmark's constant rate) are no promise to count on.
LEAST_DISPERSION = 1.0
# Ticks come a little early or late.
NEARLY = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelState:
    """Readings of the arrival rate, one row per model.

    Attributes
    ----------
    windows_rps : ndarray, shape (M, 128)
        Readings one window apart, newest last; NaN: none.
    total_rps, number : ndarray, shape (M, 7)
        Sum and number of the readings in the newest 2, 4 ... 128 windows.
    last_rps : ndarray, shape (M,)
        The last reading.
    long_dispersion, short_dispersion : ndarray, shape (M,)
        Index of dispersion of arrivals over one tick, by a long and by a short memory.
    watched_s : ndarray, shape (M,)
        Time that they rest on. [s]
    kept_s : float
        When a reading last joined `windows_rps`. [s]
    """

    windows_rps: FloatArray
    total_rps: FloatArray
    number: FloatArray
    last_rps: FloatArray
    long_dispersion: FloatArray
    short_dispersion: FloatArray
    watched_s: FloatArray
    kept_s: float

    @property
    def dispersion(self) -> FloatArray:
        """Index of dispersion of arrivals: by the long memory while the short one agrees."""
        apart = self.short_dispersion / self.long_dispersion
        agree = (apart < CONTRADICTION) & (apart > 1.0 / CONTRADICTION)
        return np.where(agree, self.long_dispersion, self.short_dispersion)

    @classmethod
    def empty(cls, count: int) -> "LevelState":
        """Return the state of models of which nothing was ever read."""
        return cls(
            windows_rps=np.full((count, SPANS[-1]), np.nan),
            total_rps=np.zeros((count, len(SPANS))),
            number=np.zeros((count, len(SPANS))),
            last_rps=np.full(count, np.nan),
            long_dispersion=np.full(count, LEAST_DISPERSION),
            short_dispersion=np.full(count, LEAST_DISPERSION),
            watched_s=np.zeros(count),
            kept_s=-np.inf,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level(Columns):
    """The rate now, its standard error [requests/s], and what it is a mean over [s].

    `risen_rps` is the rate after a rise that has begun to show: the mean that contradicts
    the longer ones, while the level itself still holds some of what was before; else the
    rate. NaN where nothing was ever read.
    """

    rate_rps: FloatArray
    error_rps: FloatArray
    memory_s: FloatArray
    risen_rps: FloatArray


def follow(
    state: LevelState,
    rate_rps: FloatArray,
    *,
    now_s: float,
    elapsed_s: float,
    window_s: float,
    steady: BoolArray,
) -> LevelState:
    """Return the state after one more reading.

    Parameters
    ----------
    state : LevelState, M rows
    rate_rps : array, shape (M,)
        Mean over the last `window_s`; NaN: unknown. [requests/s]
    now_s : float
        End of that window. [s]
    elapsed_s : float
        Time since the last reading, > 0. [s]
    window_s : float
        Length of the window, > 0. [s]
    steady : array of bool, shape (M,)
        Whether this reading and the last one count the same replicas: else their
        difference tells nothing of the arrivals' dispersion.

    Notes
    -----
    Of two windows Δ apart the counts differ by d = (r' - r) W: where they overlap, the
    newest Δ seconds less the oldest. For a steady stream E[d²] = 2 λ min(Δ, W) I, I the
    index of dispersion of counts over that time [1]_: 1 for Poisson arrivals.

    .. [1] D. R. Cox, P. A. W. Lewis, "The Statistical Analysis of Series of Events",
       Methuen 1966, section 4.6.
    """
    state = _dispersed(state, rate_rps, steady, elapsed_s=elapsed_s, window_s=window_s)
    state = replace(state, last_rps=np.where(np.isfinite(rate_rps), rate_rps, state.last_rps))
    if now_s - state.kept_s < NEARLY * window_s:
        return state
    windows = np.concatenate([state.windows_rps[:, 1:], rate_rps[:, None]], axis=1)
    state = _summed(replace(state, kept_s=now_s), windows)
    # What was before a change would come back into the mean once it is a small part of it.
    over = _windows_in_force(state, now_s=now_s, window_s=window_s)
    old = np.arange(SPANS[-1])[::-1] >= over[:, None]
    return _summed(state, np.where(old, np.nan, windows)) if old.any() else state


def _summed(state: LevelState, windows_rps: FloatArray) -> LevelState:
    """Return the state with these windows, and their sums over each span."""
    there = np.isfinite(windows_rps)
    newest_first = np.where(there, windows_rps, 0.0)[:, ::-1]
    ends = np.array(SPANS) - 1
    return replace(
        state,
        windows_rps=windows_rps,
        total_rps=np.cumsum(newest_first, axis=1)[:, ends],
        number=np.cumsum(there[:, ::-1], axis=1)[:, ends].astype(np.float64),
    )


def _windows_in_force(state: LevelState, *, now_s: float, window_s: float) -> IntArray:
    """Return how many of the newest windows are in the mean in force."""
    mean, memory_s = _means(state, now_s=now_s, window_s=window_s)
    chosen = _purest(mean, memory_s, state.dispersion)
    windows = np.array([1, *SPANS])[chosen]
    return np.where(np.isfinite(state.last_rps), windows, SPANS[-1])


def level_now(state: LevelState, *, now_s: float, window_s: float) -> Level:
    """Return the longest mean that no shorter one contradicts, else the one that does.

    Parameters
    ----------
    state : LevelState, M rows
    now_s : float
        Time of the last reading. [s]
    window_s : float
        [s]

    Notes
    -----
    Lepski's choice of a bandwidth [1]_. A mean over T seconds has the variance λ I / T,
    the difference of two λ I (1/T - 1/T'), since the shorter one's data are in both.

    .. [1] O. V. Lepski, "On a problem of adaptive estimation in Gaussian white noise",
       Theory of Probability and its Applications 35 (1990) 454-466.
    """
    mean, memory_s = _means(state, now_s=now_s, window_s=window_s)
    chosen = _purest(mean, memory_s, state.dispersion)
    row = np.arange(len(mean))
    rate, memory = mean[row, chosen], memory_s[row, chosen]
    error = np.sqrt(state.dispersion * np.maximum(rate, 1.0 / memory) / memory)
    risen = _risen(mean, memory_s, state.dispersion)
    return Level(rate_rps=rate, error_rps=error, memory_s=memory, risen_rps=np.fmax(rate, risen))


def _means(state: LevelState, *, now_s: float, window_s: float) -> tuple[FloatArray, FloatArray]:
    """Return the means over one window and over each span, and the time that is in each."""
    # What the newest reading knows that isn't among the kept ones yet.
    fresh_s = np.clip(now_s - state.kept_s, 0.0, window_s)
    last = state.last_rps[:, None]
    memory_s = np.concatenate(
        [np.full_like(last, window_s), np.maximum(fresh_s + state.number * window_s, 1e-9)],
        axis=1,
    )
    total = fresh_s * last + window_s * state.total_rps
    mean = np.concatenate([last, total / memory_s[:, 1:]], axis=1)
    return mean, memory_s


def _purest(mean: FloatArray, memory_s: FloatArray, dispersion: FloatArray) -> IntArray:
    """Return the mean in force: the longest, unless a shorter one contradicts one on the way.

    Going from short to long, the first mean that is contradicted holds old data. Of the
    shorter ones the one that differs by the most deviations has the least of them.
    """
    chosen = np.zeros(len(mean), dtype=np.int64)
    going_on = np.isfinite(mean[:, 0])
    for scale in range(1, mean.shape[1]):
        apart = np.abs(_deviations(mean, memory_s, dispersion, scale))
        best = apart.argmax(axis=1)
        contradicted = apart.max(axis=1) > SIGMAS
        stops = going_on & contradicted
        chosen[stops] = best[stops]
        going_on &= ~contradicted
        chosen[going_on] = scale
    return chosen


def _risen(mean: FloatArray, memory_s: FloatArray, dispersion: FloatArray) -> FloatArray:
    """Return the purest mean above the first longer one that it clearly exceeds, else NaN.

    Where a shorter mean lies clearly below a longer one, that one and all beyond it hold what
    was before a fall: a rise that they show is over.
    """
    risen = np.full(len(mean), np.nan)
    searching, row = np.isfinite(mean[:, 0]), np.arange(len(mean))
    for scale in range(1, mean.shape[1]):
        above = _deviations(mean, memory_s, dispersion, scale)
        best = above.argmax(axis=1)
        clear = searching & (above[row, best] > SIGMAS_UP)
        risen[clear] = mean[row, best][clear]
        searching &= ~clear & (above.min(axis=1) > -SIGMAS)
    return risen


def _deviations(
    mean: FloatArray, memory_s: FloatArray, dispersion: FloatArray, scale: int
) -> FloatArray:
    """Return how far each shorter mean is off the one at `scale`, in standard deviations."""
    longer, shorter = mean[:, scale : scale + 1], mean[:, :scale]
    noise, length_s = dispersion[:, None], memory_s[:, :scale]
    apart = np.maximum(1.0 / length_s - 1.0 / memory_s[:, scale : scale + 1], 0.0)
    # One request more or less is never a contradiction, and counts are skewed.
    rate = np.maximum(longer, 1.0 / length_s)
    off = shorter - longer
    beyond = np.maximum(np.abs(off) - SKEW * noise / length_s, 0.0)
    return np.sign(off) * beyond / (np.sqrt(noise * rate * apart) + 1e-9)


def _dispersed(
    state: LevelState,
    rate_rps: FloatArray,
    steady: BoolArray,
    *,
    elapsed_s: float,
    window_s: float,
) -> LevelState:
    """Return the state with what two overlapping windows tell of the dispersion."""
    apart_s = min(elapsed_s, window_s)
    if not apart_s > 0.0:
        return state
    before = state.last_rps
    use = steady & np.isfinite(rate_rps) & np.isfinite(before)
    expected = 2.0 * np.maximum(before * apart_s, 1.0)
    with np.errstate(invalid="ignore"):
        surprise = np.where(use, ((rate_rps - before) * window_s) ** 2 / expected, 0.0)
    surprise = np.minimum(surprise, LARGEST_SURPRISE * state.dispersion)
    watched_s = np.minimum(state.watched_s + apart_s * use, LONG_MEMORY_S)

    def followed(mean: FloatArray, memory_s: float) -> FloatArray:
        """Return the mean moved towards what was just seen, by its share of the memory."""
        gain = use * apart_s / np.minimum(watched_s + PRIOR_S, memory_s)
        return np.maximum(mean + gain * (surprise - mean), LEAST_DISPERSION)

    return replace(
        state,
        long_dispersion=followed(state.long_dispersion, LONG_MEMORY_S),
        short_dispersion=followed(state.short_dispersion, SHORT_MEMORY_S),
        watched_s=watched_s,
    )
