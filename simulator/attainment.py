"""What requests got: kept per window of arrival, judged against a model's targets.

A request belongs to the window in which it arrived at the gateway; a window is complete
when all its requests have ended. TTFT counts from that arrival, waits before a replica
included. One-token requests meet the ITL target (design 5).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

__all__ = ["Attainment", "Ending", "RequestRecord", "Target", "Window"]


class Ending(StrEnum):
    """How a request ended."""

    FINISHED = "finished"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request as its client saw it; NaN for what did not happen."""

    model: str
    variant: str
    replica: str
    ending: Ending
    arrival_s: float
    ttft_s: float
    itl_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a model's requests should get."""

    ttft_s: float
    itl_s: float

    def met(self, record: RequestRecord) -> bool:
        """Tell whether a request finished within both."""
        finished = record.ending is Ending.FINISHED
        return finished and record.ttft_s <= self.ttft_s and record.itl_s <= self.itl_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One model's requests of one window: how many, how many met the targets, how fast.

    Percentiles and means are over finished requests, NaN without any.
    """

    model: str
    start_s: float
    arrived: int
    ended: int
    met: int
    failed: int
    ttft_p95_s: float
    ttft_mean_s: float
    itl_p95_s: float
    itl_mean_s: float

    @property
    def complete(self) -> bool:
        """Whether every request has ended."""
        return self.ended == self.arrived

    @property
    def met_ratio(self) -> float:
        """Share of the requests that arrived that met both targets; NaN without any."""
        return self.met / self.arrived if self.arrived else math.nan


@dataclass(slots=True)
class _Tally:
    """What one window has so far."""

    arrived: int = 0
    met: int = 0
    failed: int = 0
    ttft_s: list[float] = field(default_factory=list)
    itl_s: list[float] = field(default_factory=list)


class Attainment:
    """The windows of all models from `start_s` on."""

    def __init__(
        self, targets: Mapping[str, Target], *, start_s: float, width_s: float = 10.0
    ) -> None:
        self.width_s = width_s
        self._targets = targets
        self._start_s = start_s
        self._tallies: dict[tuple[str, int], _Tally] = {}

    def arrive(self, model: str, at_s: float) -> None:
        """Count an arrival."""
        self._tally(model, at_s).arrived += 1

    def end(self, record: RequestRecord) -> None:
        """Count how a request ended."""
        tally = self._tally(record.model, record.arrival_s)
        if record.ending is not Ending.FINISHED:
            tally.failed += 1
            return
        tally.ttft_s.append(record.ttft_s)
        tally.itl_s.append(record.itl_s)
        tally.met += self._targets[record.model].met(record)

    def windows(self, model: str) -> list[Window]:
        """Return a model's windows in order of time; those without arrivals are left out."""
        own = sorted((at, tally) for (name, at), tally in self._tallies.items() if name == model)
        return [self._window(model, at, tally) for at, tally in own]

    def _tally(self, model: str, at_s: float) -> _Tally:
        at = math.floor((at_s - self._start_s) / self.width_s)
        return self._tallies.setdefault((model, at), _Tally())

    def _window(self, model: str, at: int, tally: _Tally) -> Window:
        return Window(
            model=model,
            start_s=self._start_s + at * self.width_s,
            arrived=tally.arrived,
            ended=len(tally.ttft_s) + tally.failed,
            met=tally.met,
            failed=tally.failed,
            ttft_p95_s=_p95(tally.ttft_s),
            ttft_mean_s=_mean(tally.ttft_s),
            itl_p95_s=_p95(tally.itl_s),
            itl_mean_s=_mean(tally.itl_s),
        )


def _p95(values: list[float]) -> float:
    return float(np.quantile(values, 0.95)) if values else math.nan


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan
