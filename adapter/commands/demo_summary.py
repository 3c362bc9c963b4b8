"""What a demo run came to: replicas, SLO attainment by window, cost, and the adapter's part.

An SLO miss is a 10 s window outside [burst start, burst end + cold start + one tick] in
which under 95 % of the requests met both targets (design 5).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from simulator.attainment import Attainment, Window

__all__ = ["Excuse", "Summary", "Totals", "summarize"]

MET_RATIO = 0.95


@dataclass(frozen=True, slots=True)
class Excuse:
    """A time in which windows aren't judged: nobody foresees a burst."""

    start_s: float
    end_s: float

    def covers(self, window: Window, width_s: float) -> bool:
        """Return whether any part of the window lies inside."""
        return window.start_s < self.end_s and window.start_s + width_s > self.start_s


@dataclass(slots=True)
class Totals:
    """What is added up while the demo runs."""

    lowest: dict[str, int] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    rises: int = 0
    falls: int = 0
    cost: float = 0.0
    replica_seconds: float = 0.0
    _last: dict[str, int] = field(default_factory=dict)

    def observe(
        self, counts: Mapping[str, int], price_per_hour: Mapping[str, float], seconds: float
    ) -> None:
        """Add `seconds` in which the variants had `counts` replicas."""
        for name, count in counts.items():
            self.lowest[name] = min(self.lowest.get(name, count), count)
            self.highest[name] = max(self.highest.get(name, count), count)
            before = self._last.get(name, count)
            self.rises += count > before
            self.falls += count < before
            self.cost += count * price_per_hour[name] * seconds / 3600.0
            self.replica_seconds += count * seconds
        self._last = dict(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The run in numbers; ratios are NaN-free (null where nothing happened)."""

    seconds: float
    requests: int
    failed: int
    met_ratio: float | None
    met_ratio_judged: float | None  # in the windows that are judged
    windows_judged: int
    windows_excused: int
    slo_misses: tuple[str, ...]
    replicas_lowest: Mapping[str, int]
    replicas_highest: Mapping[str, int]
    rises: int
    falls: int
    mean_replicas: float
    cost: float
    cost_static_peak: float
    unanswered_reads: int
    curl: str
    curl_value: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the summary as text for a terminal."""
        counts = ", ".join(
            f"{name} {self.replicas_lowest[name]} to {self.replicas_highest[name]}"
            for name in sorted(self.replicas_highest)
        )
        saved = 1.0 - self.cost / self.cost_static_peak if self.cost_static_peak else 0.0
        return [
            f"{self.seconds:.0f} s, {self.requests} requests, {self.failed} failed",
            (
                f"within both targets: {_percent(self.met_ratio_judged)} of the requests, "
                f"{_percent(self.met_ratio)} with start-up and burst"
            ),
            (
                f"SLO: {self.windows_judged} windows of 10 s judged, "
                f"{len(self.slo_misses)} missed, {self.windows_excused} excused "
                "(burst and the cold start after it)"
            ),
            *(f"  missed: {miss}" for miss in self.slo_misses),
            (
                f"replicas: {counts}; {self.rises} rises, {self.falls} falls, "
                f"{self.mean_replicas:.1f} on average"
            ),
            (
                f"cost: {self.cost:.3f}, {100 * saved:.0f} % under the peak count held throughout "
                f"({self.cost_static_peak:.3f})"
            ),
            f"reads without a value: {self.unanswered_reads}",
            f"curl answered: {self.curl_value or 'nothing (is curl installed?)'}",
        ]


def summarize(
    *,
    attainment: Attainment,
    models: Sequence[str],
    excuses: Mapping[str, Sequence[Excuse]],
    totals: Totals,
    price_per_hour: Mapping[str, float],
    seconds: float,
    judged_from_s: float,
    unanswered_reads: int,
    curl: str,
    curl_value: str | None,
) -> Summary:
    """Return the summary of a run; windows before `judged_from_s` count as start-up."""
    windows = [w for model in models for w in attainment.windows(model) if w.complete]
    judged = [
        w
        for w in windows
        if w.start_s >= judged_from_s
        and not any(e.covers(w, attainment.width_s) for e in excuses.get(w.model, ()))
    ]
    peak = sum(totals.highest[name] * price_per_hour[name] for name in totals.highest)
    return Summary(
        seconds=seconds,
        requests=sum(w.arrived for w in windows),
        failed=sum(w.failed for w in windows),
        met_ratio=_met_ratio(windows),
        met_ratio_judged=_met_ratio(judged),
        windows_judged=len(judged),
        windows_excused=len(windows) - len(judged),
        slo_misses=tuple(_miss(w, judged_from_s) for w in judged if w.met_ratio < MET_RATIO),
        replicas_lowest=totals.lowest,
        replicas_highest=totals.highest,
        rises=totals.rises,
        falls=totals.falls,
        mean_replicas=totals.replica_seconds / seconds if seconds else 0.0,
        cost=totals.cost,
        cost_static_peak=peak * seconds / 3600.0,
        unanswered_reads=unanswered_reads,
        curl=curl,
        curl_value=curl_value,
    )


def _met_ratio(windows: Sequence[Window]) -> float | None:
    arrived = sum(w.arrived for w in windows)
    return sum(w.met for w in windows) / arrived if arrived else None


def _percent(ratio: float | None) -> str:
    return "none" if ratio is None else f"{100 * ratio:.1f} %"


def _miss(window: Window, from_s: float) -> str:
    ttft = "none" if math.isnan(window.ttft_p95_s) else f"{window.ttft_p95_s:.3f} s"
    return (
        f"{window.model} at {window.start_s - from_s:.0f} s: {100 * window.met_ratio:.0f} % of "
        f"{window.arrived} met both targets (p95 TTFT {ttft})"
    )
