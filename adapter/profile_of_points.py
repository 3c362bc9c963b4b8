"""A performance profile from measured points, and how well it fits them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray, ServiceProfiles, Workloads, seed_profiles
from optimizer.operating_point import at_concurrency
from optimizer.profile_fit import GENERIC_SEED, KNOWN_SEED, FitStatus, fit_profiles
from optimizer.profile_points import Points
from optimizer.step_law import EVEN, PARAMETERS, POISSON, load_of, parameters_of, profiles_of

from .benchmark_files import MeasuredPoint
from .errors import ConfigError

__all__ = ["FittedToPoints", "fit_points"]

# Where names say nothing: the order of magnitude of an 8B model on a recent accelerator.
ANY_SEED = (10e-3, 30e-6, 30e-6, 80e-9, 10e-3)
# Lengths whose spread no file tells.
ASSUMED_CV = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedToPoints:
    """A profile, what it rests on, and what it says of every point. Times in seconds."""

    parameters: FloatArray  # in the order of `step_law.PARAMETERS`
    status: FitStatus
    condition: float
    requests: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray
    fitted_itl_s: FloatArray
    fitted_ttft_s: FloatArray

    @property
    def itl_error(self) -> float:
        """Mean absolute relative error of ITL."""
        return float(np.mean(np.abs(self.fitted_itl_s / self.itl_s - 1.0)))

    @property
    def ttft_error(self) -> float:
        """Mean absolute relative error of TTFT; NaN where none was measured."""
        there = np.isfinite(self.ttft_s)
        if not there.any():
            return float("nan")
        return float(np.mean(np.abs(self.fitted_ttft_s / self.ttft_s - 1.0)[there]))


def fit_points(
    points: Sequence[MeasuredPoint], *, model: str, accelerator: str, accelerators: int
) -> FittedToPoints:
    """Return the profile that the points determine.

    Raises
    ------
    ConfigError
        If they determine none: one load can't tell the base from what grows with load.
    """
    load = load_of(_workloads(points), _column(points, "throughput_rps"))
    requests, itl_s = _column(points, "requests"), _column(points, "itl_s")
    ttft_s = _column(points, "ttft_s")
    seed = seed_profiles([accelerator], [model], accelerators_per_replica=np.array([accelerators]))
    known = np.isfinite(seed.iteration_base_s)
    start = np.where(known[:, None], parameters_of(seed), np.array(ANY_SEED))
    dispersion = EVEN if all(p.evenly_spaced for p in points) else POISSON
    decoding = load.arrival_rate_rps * load.decode_steps * itl_s
    fitted = fit_profiles(
        Points(
            load=load.take(np.arange(len(points))[None, :]),
            decoding_requests=decoding[None, :],
            itl_s=itl_s[None, :],
            ttft_s=ttft_s[None, :],
            weight=np.ones((1, len(points))),
        ),
        seed=profiles_of(start),
        seed_weight=np.where(known, KNOWN_SEED, GENERIC_SEED),
        dispersion=dispersion,
    )
    status = FitStatus(int(fitted.status[0]))
    if status < FitStatus.ANCHORED:
        raise ConfigError(_unidentified(requests, float(fitted.condition[0])))
    theta = parameters_of(fitted.profiles)[0]
    every = ServiceProfiles(
        **{n: np.full(len(points), v) for n, v in zip(PARAMETERS, theta, strict=True)}
    )
    back_itl, back_ttft = at_concurrency(every, load, requests, dispersion=dispersion)
    return FittedToPoints(
        parameters=theta,
        status=status,
        condition=float(fitted.condition[0]),
        requests=requests,
        itl_s=itl_s,
        ttft_s=ttft_s,
        fitted_itl_s=back_itl,
        fitted_ttft_s=back_ttft,
    )


def _unidentified(requests: FloatArray, condition: float) -> str:
    low, high = float(requests.min()), float(requests.max())
    return (
        f"{len(requests)} point(s) with {low:.3g} to {high:.3g} requests in flight determine no "
        f"profile (condition number {condition:.2g}; at most 1000): one load can't tell the base "
        "time from what grows with load. Add runs at two or more loads that differ by a factor "
        "of four or so, one of them nearly idle"
    )


def _workloads(points: Sequence[MeasuredPoint]) -> Workloads:
    def second(name: str) -> FloatArray:
        mean, std = _column(points, name), _column(points, f"{name}_std")
        spread = np.where(np.isfinite(std), std, ASSUMED_CV * mean)
        return np.asarray(mean**2 + spread**2)

    return Workloads(
        prompt_tokens_mean=_column(points, "prompt_tokens"),
        prompt_tokens_second_moment=second("prompt_tokens"),
        output_tokens_mean=_column(points, "output_tokens"),
        output_tokens_second_moment=second("output_tokens"),
        prefix_hit_ratio=np.zeros(len(points)),
    )


def _column(points: Sequence[MeasuredPoint], name: str) -> FloatArray:
    return np.array([getattr(point, name) for point in points], dtype=np.float64)
