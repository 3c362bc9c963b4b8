"""A scenario's workload as requests: arrivals by a rate over time, lengths by phase.

Arrivals are a renewal process in operational time, stretched by the rate (see `workload`),
here on a grid fine enough for days; a two-state Markov chain may modulate the rate.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optimizer import FloatArray
from optimizer.errors import InvalidInputError

from .demand_spec import LengthSpec, PhaseSpec, RateSpec, WorkloadSpec
from .trace import read_trace
from .workload import Lengths, Requests

__all__ = ["Demand", "draw_demand", "lengths_of", "rate_on_grid", "with_lengths"]

GRID_S = 1.0
LOT = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """The requests of one model, and the rate that they were drawn from per grid second."""

    requests: Requests
    rate_rps: FloatArray  # at 0, 1, 2 ... s

    def since(self, start_s: float) -> "Demand":
        """Return what comes from `start_s` on, on a clock that starts there."""
        first = round(start_s / GRID_S)
        return Demand(requests=self.requests.since(start_s), rate_rps=self.rate_rps[first:])


def draw_demand(workload: WorkloadSpec, random: np.random.Generator, *, end_s: float) -> Demand:
    """Return the requests that arrive before `end_s`."""
    if workload.trace is not None:
        return _from_trace(Path(workload.trace), workload.trace_scale, random, end_s)
    times_s = np.arange(0.0, end_s + GRID_S, GRID_S)
    if workload.clients.users:
        # Nobody comes by a list; what they would ask at most, were answers there at once.
        points = [
            (at_s, users / workload.clients.think_s) for at_s, users in workload.clients.users
        ]
        most = rate_on_grid(RateSpec(points=tuple(points)), times_s)
        none = with_lengths(workload.phases, random, np.zeros(0))
        return Demand(requests=none, rate_rps=most)
    if workload.rate is None:
        raise InvalidInputError("a workload needs a rate, a trace or users")
    profile = rate_on_grid(workload.rate, times_s)
    rate = profile * _modulation(workload.rate, random, len(times_s))
    due = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2.0 * GRID_S)])
    arrival_s = np.interp(_renewals(workload.rate, random, due[-1]), due, times_s)
    arrival_s = arrival_s[arrival_s < end_s]
    return Demand(requests=with_lengths(workload.phases, random, arrival_s), rate_rps=rate)


def rate_on_grid(rate: RateSpec, times_s: FloatArray) -> FloatArray:
    """Return the profile's rate at every time."""
    at_s, rates = np.array(rate.points, dtype=np.float64).T
    if rate.shape == "lines":
        return np.asarray(np.interp(times_s, at_s, rates), dtype=np.float64)
    step = np.clip(np.searchsorted(at_s, times_s, side="right") - 1, 0, None)
    return np.asarray(rates[step], dtype=np.float64)


def _modulation(rate: RateSpec, random: np.random.Generator, count: int) -> FloatArray:
    """Return a factor of mean 1 per grid second: the Markov chain's state."""
    if rate.busy_factor == 1.0:
        return np.ones(count)
    share = rate.busy_s / (rate.busy_s + rate.quiet_s)
    quiet = 1.0 / (1.0 - share + share * rate.busy_factor)
    factor, at, busy = np.empty(count), 0.0, bool(random.random() < share)
    while at < count:
        lasts_s = random.exponential(rate.busy_s if busy else rate.quiet_s)
        stop = at + max(lasts_s, GRID_S)
        factor[int(at) : int(stop)] = quiet * (rate.busy_factor if busy else 1.0)
        at, busy = stop, not busy
    return factor


def _renewals(rate: RateSpec, random: np.random.Generator, until: float) -> FloatArray:
    """Return the operational times of arrivals up to `until`."""
    shape = rate.interval_cv**-2
    lots, passed = [], 0.0
    while passed <= until:
        lot = passed + np.cumsum(random.gamma(shape, 1.0 / shape, LOT))
        lots.append(lot)
        passed = float(lot[-1])
    times = np.concatenate(lots)
    return times[times < until]


def with_lengths(
    phases: tuple[PhaseSpec, ...], random: np.random.Generator, arrival_s: FloatArray
) -> Requests:
    """Return requests at these moments, with the lengths of their phases."""
    count = len(arrival_s)
    prompt, output, cached = (np.zeros(count, dtype=np.int64) for _ in range(3))
    starts = np.array([phase.at_s for phase in phases])
    of = np.searchsorted(starts, arrival_s, side="right") - 1
    for at, phase in enumerate(phases):
        rows = np.flatnonzero(of == at)
        prompt[rows] = lengths_of(phase.prompt).draw(random, len(rows))
        output[rows] = lengths_of(phase.output).draw(random, len(rows))
        cached[rows] = np.minimum(prompt[rows] * phase.prefix_hit_ratio, prompt[rows] - 1)
    return Requests(
        arrival_s=arrival_s, prompt_tokens=prompt, output_tokens=output, cached_tokens=cached
    )


def lengths_of(spec: LengthSpec) -> Lengths:
    return Lengths(mean_tokens=spec.mean, cv=spec.cv, min_tokens=spec.min, max_tokens=spec.max)


def _from_trace(path: Path, scale: float, random: np.random.Generator, end_s: float) -> Demand:
    """Return the trace's requests up to `end_s`; a `scale` below 1 keeps that share of them."""
    whole = read_trace(path)
    copies = math.floor(scale) + (random.random(len(whole.arrival_s)) < scale % 1.0)
    rows = np.repeat(np.arange(len(whole.arrival_s)), copies)
    rows = rows[whole.arrival_s[rows] < end_s]
    requests = Requests(
        arrival_s=whole.arrival_s[rows],
        prompt_tokens=whole.prompt_tokens[rows],
        output_tokens=whole.output_tokens[rows],
        cached_tokens=whole.cached_tokens[rows],
    )
    seconds = np.bincount(requests.arrival_s.astype(np.int64), minlength=int(end_s) + 2)
    width = 60
    smooth = np.convolve(seconds, np.ones(width) / width, mode="same")
    return Demand(requests=requests, rate_rps=smooth)
