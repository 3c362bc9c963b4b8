"""A sudden rise, seen before the window's mean has caught up with it. Pure.

A mean over a window of W seconds says what the rate was W/2 ago. Two of them, Δ apart,
tell the newest Δ seconds from those that left: if the rate was r before and is s now,
the mean moved by (s - r) Δ / W. That difference is believed only where it stands clear
of the noise of counting; a rise is then planned for at once, a fall never is.
"""

import numpy as np

from .domain import FloatArray

__all__ = ["surging_rate_rps"]

# How far above the noise a rise must stand: a Poisson stream comes this far by chance in
# one tick of a million, once in two months.
SIGMAS = 4.75


def surging_rate_rps(
    rate_rps: FloatArray,
    before_rps: FloatArray,
    *,
    elapsed_s: float,
    window_s: float,
    dispersion: FloatArray | float = 1.0,
) -> FloatArray:
    """Return the rate of the newest seconds where it is clearly above the mean, else the mean.

    Parameters
    ----------
    rate_rps : array, shape (M,)
        Mean over the last `window_s`; NaN: unknown. [requests/s]
    before_rps : array, shape (M,)
        The same mean `elapsed_s` ago; NaN: unknown. [requests/s]
    elapsed_s : float
        Time between the two, > 0. [s]
    window_s : float
        Length of the window, > 0. [s]
    dispersion : array, shape (M,), or float
        Index of dispersion of arrivals: 1 for Poisson.

    Returns
    -------
    ndarray, shape (M,)
        At least `rate_rps`. [requests/s]

    Notes
    -----
    With n = before W the requests of the older window, the newest Δ seconds hold
    d = (rate - before) W more than the oldest Δ did, whose variance under a steady rate
    is 2 before Δ I, I the index of dispersion. Where d exceeds SIGMAS standard deviations,
    the new rate is before + d / Δ.
    """
    if not 0.0 < elapsed_s < window_s:
        return rate_rps
    gained = (rate_rps - before_rps) * window_s
    noise = np.sqrt(2.0 * dispersion * np.maximum(before_rps * elapsed_s, 1.0))
    clear = gained > SIGMAS * noise
    return np.where(clear, np.fmax(rate_rps, before_rps + gained / elapsed_s), rate_rps)
