"""What hour of the week it is, in requests/s: a profile that weeks of readings fill. Pure.

168 hourly means per model, joined by straight lines. An hour of the week that was never
seen takes the mean of the same hour on days that were: after a day there is a daily
season, after a week a weekly one.
"""

import numpy as np

from .domain import FloatArray, IntArray

__all__ = ["HOURS", "level_at", "remembered"]

HOURS = 168
DAY = 24
HOUR_S = 3600.0
# Monday 00:00 UTC in seconds since 1970, within the first week.
MONDAY_S = 4.0 * 86400.0
# An hour's mean follows about the newest three weeks, in seconds that were observed.
LARGEST_MASS_S = 3.0 * HOUR_S


def remembered(
    mean_rps: FloatArray,
    mass_s: FloatArray,
    rate_rps: FloatArray,
    *,
    at_unix_s: float,
    lasted_s: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the profile and its mass with one more reading.

    Parameters
    ----------
    mean_rps, mass_s : array, shape (M, 168)
        Hourly means from Monday 00:00 UTC on, and the time that each rests on. [s]
    rate_rps : array, shape (M,)
        NaN: nothing was read. [requests/s]
    at_unix_s, lasted_s : float
        Middle and length of the reading. [s]
    """
    hour = int(_hour_of_week(at_unix_s)) % HOURS
    known = np.isfinite(rate_rps)
    mass = np.minimum(mass_s[:, hour], LARGEST_MASS_S) + lasted_s * known
    gain = np.divide(lasted_s * known, mass, out=np.zeros_like(mass), where=mass > 0)
    mean_rps, mass_s = mean_rps.copy(), mass_s.copy()
    mean_rps[:, hour] += gain * (np.where(known, rate_rps, 0.0) - mean_rps[:, hour])
    mass_s[:, hour] = mass
    return mean_rps, mass_s


def level_at(mean_rps: FloatArray, mass_s: FloatArray, at_unix_s: FloatArray) -> FloatArray:
    """Return the profile's rate at a time per model, shape (M,); NaN: not known."""
    # Hourly means stand for the middle of their hour.
    place = _hour_of_week(at_unix_s) - 0.5
    before = np.floor(place).astype(np.int64)
    part = place - before
    first = _hourly(mean_rps, mass_s, before % HOURS)
    second = _hourly(mean_rps, mass_s, (before + 1) % HOURS)
    return np.asarray((1.0 - part) * first + part * second)


def _hourly(mean_rps: FloatArray, mass_s: FloatArray, hour: IntArray) -> FloatArray:
    row = np.arange(len(mean_rps))
    own, mass = mean_rps[row, hour], mass_s[row, hour]
    other = (hour % DAY)[:, None] + DAY * np.arange(HOURS // DAY)
    weight = mass_s[row[:, None], other]
    total = (weight * mean_rps[row[:, None], other]).sum(axis=1)
    whole = weight.sum(axis=1)
    daily = np.divide(total, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    # Half an hour of its own readings make an hour of the week worth more than other days.
    return np.where(mass > HOUR_S / 2.0, own, daily)


def _hour_of_week(at_unix_s: FloatArray | float) -> FloatArray:
    return np.asarray(((at_unix_s - MONDAY_S) % (HOURS * HOUR_S)) / HOUR_S)
