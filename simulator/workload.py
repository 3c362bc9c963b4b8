"""Who asks for what, and when: rate profiles, arrivals, lengths, traces.

Arrivals are a renewal process in operational time: unit-mean intervals (exponential for
interval_cv = 1, else gamma) are stretched so that the rate is the profile's at every
moment. Randomness comes in as a numpy Generator; how often a stream is asked changes
nothing in what it gives.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from optimizer import FloatArray, IntArray
from optimizer.errors import InvalidInputError

__all__ = [
    "Lengths",
    "RateProfile",
    "Request",
    "RequestStream",
    "Requests",
    "Workload",
    "draw_requests",
]

# Requests are drawn in lots, so that a stream and a whole list agree.
LOT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RateProfile:
    """An arrival rate over time: straight lines between points, level after the last."""

    times_s: tuple[float, ...]
    rates_rps: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse points that aren't a profile."""
        if len(self.times_s) != len(self.rates_rps) or not self.times_s:
            raise InvalidInputError(
                f"{len(self.times_s)} times and {len(self.rates_rps)} rates; "
                "a profile needs one rate per time, and at least one"
            )
        if any(b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)):
            raise InvalidInputError(f"times_s must rise: {self.times_s}")
        if not all(0.0 <= rate < math.inf for rate in self.rates_rps):
            raise InvalidInputError(f"rates_rps must be >= 0 and finite: {self.rates_rps}")

    @classmethod
    def steady(cls, rate_rps: float) -> "RateProfile":
        """Return one rate for ever."""
        return cls(times_s=(0.0,), rates_rps=(rate_rps,))

    def rate_rps(self, at_s: float) -> float:
        """Return the rate at a moment; before the first point, the first rate."""
        return float(np.interp(at_s, self.times_s, self.rates_rps))

    def moments_s(self, counts: FloatArray, *, start_s: float) -> FloatArray:
        """Return when `counts` requests (rising) will have come on average since `start_s`.

        The inverse of the rate's integral; inf for more requests than ever come.
        """
        later = [at for at in self.times_s if at > start_s]
        knots_s = np.array([start_s, *later])
        rates = np.array([self.rate_rps(at) for at in knots_s])
        widths_s = np.diff(knots_s)
        passed = np.concatenate(([0.0], np.cumsum(widths_s * (rates[1:] + rates[:-1]) / 2.0)))
        segment = np.clip(np.searchsorted(passed, counts, side="left") - 1, 0, None)
        slopes = np.append(np.diff(rates) / widths_s, 0.0)[segment]
        rest = counts - passed[segment]
        # rest = rate x + slope x^2 / 2, solved so that nothing cancels
        root = np.sqrt(np.maximum(rates[segment] ** 2 + 2.0 * slopes * rest, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            after_s = np.where(rest > 0.0, 2.0 * rest / (rates[segment] + root), 0.0)
        return knots_s[segment] + after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lognormal token counts; `mean_tokens` and `cv` hold before the bounds act."""

    mean_tokens: float
    cv: float
    min_tokens: int = 1
    max_tokens: int

    def __post_init__(self) -> None:
        """Refuse a distribution that isn't one."""
        if not (self.mean_tokens > 0.0 and 0.0 <= self.cv < math.inf):
            raise InvalidInputError(
                f"mean_tokens is {self.mean_tokens} and cv {self.cv}; must be > 0 and >= 0"
            )
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise InvalidInputError(
                f"bounds are {self.min_tokens} and {self.max_tokens}; must be 1 <= min <= max"
            )

    def draw(self, random: np.random.Generator, count: int) -> IntArray:
        """Return `count` lengths."""
        variance = math.log1p(self.cv**2)
        location = math.log(self.mean_tokens) - variance / 2.0
        drawn = np.exp(location + math.sqrt(variance) * random.standard_normal(count))
        return np.clip(np.rint(drawn), self.min_tokens, self.max_tokens).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests of one model: how many, how bursty, how long, how much of it cached."""

    profile: RateProfile
    prompt: Lengths
    output: Lengths
    interval_cv: float = 1.0
    prefix_hit_ratio: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what can't be drawn."""
        if not 0.0 < self.interval_cv < math.inf:
            raise InvalidInputError(f"interval_cv is {self.interval_cv}; must be positive")
        if not 0.0 <= self.prefix_hit_ratio < 1.0:
            raise InvalidInputError(
                f"prefix_hit_ratio is {self.prefix_hit_ratio}; must be in [0, 1)"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """Columns over requests, in order of arrival."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    cached_tokens: IntArray

    def since(self, start_s: float) -> "Requests":
        """Return those from `start_s` on, on a clock that starts there."""
        rows = self.arrival_s >= start_s
        return Requests(
            arrival_s=self.arrival_s[rows] - start_s,
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            cached_tokens=self.cached_tokens[rows],
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrives."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int


@dataclass(slots=True, kw_only=True)
class RequestStream:
    """A workload's requests one after the other, from `start_s` on, profile time 0 there."""

    workload: Workload
    random: np.random.Generator
    start_s: float
    _passed: float = field(default=0.0, init=False)
    _next: Request | None = field(default=None, init=False)
    _drawn: Iterator[Request] = field(default_factory=lambda: iter(()), init=False)

    def __post_init__(self) -> None:
        """Draw the first request."""
        self._step()

    @property
    def next_arrival_s(self) -> float:
        """When the next request comes; inf if none ever does."""
        return math.inf if self._next is None else self._next.arrival_s

    def take(self) -> Request:
        """Return the next request and go on to the one after."""
        request = self._next
        if request is None:
            raise InvalidInputError("no request is left; look at next_arrival_s first")
        self._step()
        return request

    def _step(self) -> None:
        request = next(self._drawn, None)
        if request is None:
            self._drawn = self._lot()
            request = next(self._drawn)
        self._next = request if request.arrival_s < math.inf else None

    def _lot(self) -> Iterator[Request]:
        lot, self._passed = _draw_lot(self.workload, self.random, self._passed, self.start_s)
        columns = (lot.arrival_s, lot.prompt_tokens, lot.output_tokens, lot.cached_tokens)
        return iter([Request(*row) for row in zip(*(c.tolist() for c in columns), strict=True)])


def draw_requests(
    workload: Workload, random: np.random.Generator, *, start_s: float, end_s: float
) -> Requests:
    """Return the requests that arrive in [start_s, end_s), those of a stream from there."""
    lots: list[Requests] = []
    passed = 0.0
    while not lots or lots[-1].arrival_s[-1] < end_s:
        lot, passed = _draw_lot(workload, random, passed, start_s)
        lots.append(lot)
    arrival_s = np.concatenate([lot.arrival_s for lot in lots])
    count = int(np.searchsorted(arrival_s, end_s))
    return Requests(
        arrival_s=arrival_s[:count],
        prompt_tokens=np.concatenate([lot.prompt_tokens for lot in lots])[:count],
        output_tokens=np.concatenate([lot.output_tokens for lot in lots])[:count],
        cached_tokens=np.concatenate([lot.cached_tokens for lot in lots])[:count],
    )


def _draw_lot(
    workload: Workload, random: np.random.Generator, passed: float, start_s: float
) -> tuple[Requests, float]:
    """Return the next lot of requests, and how many requests were due by its end."""
    shape = workload.interval_cv**-2
    due = passed + np.cumsum(random.gamma(shape, 1.0 / shape, LOT))
    prompt = workload.prompt.draw(random, LOT)
    output = workload.output.draw(random, LOT)
    cached = np.minimum((prompt * workload.prefix_hit_ratio).astype(np.int64), prompt - 1)
    arrival_s = start_s + workload.profile.moments_s(due, start_s=0.0)
    lot = Requests(
        arrival_s=arrival_s, prompt_tokens=prompt, output_tokens=output, cached_tokens=cached
    )
    return lot, float(due[-1])
