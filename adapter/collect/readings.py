"""Columns of targets -> readings of replicas and variants: rates, means, percentiles. Pure.

A replica is read through one target or several (one for each data-parallel rank): sums add up,
the worst KV usage and the sleepiest rank count. A replica of which one target can't be read can't
be read itself. A variant's distributions are those of whoever can be read. Means and percentiles
are taken over sums, never over other means.
"""

import numpy as np
from numpy.typing import NDArray

from ..records import PERCENTILES, REPLICA_SIGNALS, VARIANT_SIGNALS, Readings, Reason
from .histogram import percentile, second_moment
from .signals import (
    AREA_OF,
    ELAPSED,
    INFLIGHT_CHANGE,
    RAW_SIGNALS,
    count_flow,
    flow,
    gauge,
    sum_flow,
)
from .targets import Buckets, Targets, TargetTable

__all__ = ["replica_readings", "variant_readings"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ReasonArray = NDArray[np.uint8]

_RATES = {
    "arrival_rate_rps": "arrivals",
    "completion_rate_rps": "completions",
    "rejection_rate_rps": "rejections",
    "prompt_token_rate_tps": "prompt_tokens",
    "output_token_rate_tps": "output_tokens",
    "preemption_rate_rps": "preemptions",
}
_GAUGES = (
    "running_requests",
    "waiting_requests",
    "kv_usage_ratio",
    "kv_capacity_tokens",
    "max_batch_size",
    "max_batched_tokens",
    "awake",
)
# How targets of one replica become one number, where they don't add up.
_WORST = {"kv_usage_ratio": np.fmax, "awake": np.fmin, "prefix_hit_ratio": np.fmax}
_LENGTHS = {"prompt_tokens": "request_prompt_tokens", "output_tokens": "request_output_tokens"}


class _Flows:
    """What the groups of some targets did over the window, and the readings that it gives."""

    def __init__(
        self, table: TargetTable, targets: Targets, unread: ReasonArray, *, one_is_enough: bool
    ) -> None:
        self.table, self.targets, self.unread = table, targets, unread
        own = table.flows()[targets.row]
        elapsed_s = own[:, flow(ELAPSED), None]
        self.own_rates: FloatArray = np.zeros_like(own)
        np.divide(own, elapsed_s, out=self.own_rates, where=elapsed_s > 0)
        self.totals, self.rates = self.added(own), self.added(self.own_rates)
        self.once = np.zeros(targets.groups, dtype=np.uint8)
        self.once[targets.group[elapsed_s[:, 0] <= 0]] = Reason.ONE_SCRAPE
        worst, start = (np.minimum, Reason.UNKNOWN) if one_is_enough else (np.maximum, 0)
        self._lacking = np.full((targets.groups, len(RAW_SIGNALS)), start, dtype=np.uint8)
        worst.at(self._lacking, targets.group, table.lacking[targets.row])

    def added(self, values: FloatArray) -> FloatArray:
        """Add up the targets' rows by group."""
        result = np.zeros((self.targets.groups, values.shape[1]))
        np.add.at(result, self.targets.group, values)
        return result

    def observed_s(self) -> FloatArray:
        """Return how much of the window each group's targets were watched for, on average."""
        number = np.bincount(self.targets.group, minlength=self.targets.groups)
        total = self.totals[:, flow(ELAPSED)]
        return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)

    def lacking(self, *signals: str) -> ReasonArray:
        """Return why one of the raw signals isn't there."""
        columns = [RAW_SIGNALS.index(name) for name in signals]
        return np.asarray(self._lacking[:, columns].max(axis=1), dtype=np.uint8)

    def reading(self, values: FloatArray, *why: ReasonArray) -> Readings:
        """Return a column; the first of `why` that isn't PRESENT is the reason it is missing."""
        reasons = np.where(np.isfinite(values), Reason.PRESENT, Reason.NOT_FINITE)
        for reason in (*reversed(why), self.unread):
            reasons = np.where(reason != Reason.PRESENT, reason, reasons)
        return Readings(
            np.where(reasons == Reason.PRESENT, values, np.nan), reasons.astype(np.uint8)
        )

    def rate(self, signal: str, column: int) -> Readings:
        return self.reading(self.rates[:, column], self.lacking(signal), self.once)

    def ratio(self, upper: FloatArray, lower: FloatArray, *signals: str) -> Readings:
        values = np.divide(upper, lower, out=np.full_like(lower, np.nan), where=lower > 0)
        return self.reading(
            values, self.lacking(*signals), self.once, _where(lower <= 0, Reason.NO_EVENTS)
        )

    def mean(self, histogram: str) -> Readings:
        total, count = sum_flow(histogram), count_flow(histogram)
        return self.ratio(self.totals[:, total], self.totals[:, count], histogram)

    def gauge(self, name: str) -> Readings:
        """Return a gauge's latest value."""
        column, rows = gauge(name), self.targets.row
        reasons = np.zeros(self.targets.groups, dtype=np.uint8)
        np.maximum.at(reasons, self.targets.group, self.table.gauge_reasons[rows, column])
        values = self._together(name, self.table.gauges[rows, column])
        return self.reading(values, reasons)

    def window_mean(self, name: str, latest: Readings) -> Readings:
        """Return a gauge's mean over the window."""
        values = self._together(name, self.own_rates[:, flow(f"{name}.area")])
        absent = _where(latest.reasons == Reason.NOT_EXPORTED, Reason.NOT_EXPORTED)
        return self.reading(values, absent, self.once)

    def _together(self, name: str, own: FloatArray) -> FloatArray:
        if name not in _WORST:
            return self.added(own[:, None])[:, 0]
        values = np.full(self.targets.groups, np.nan)
        with np.errstate(invalid="ignore"):
            _WORST[name].at(values, self.targets.group, own)
        return values

    def buckets(self, table: Buckets) -> FloatArray:
        """Return a table's cumulative counts per group."""
        where = np.full(len(self.table.read_s), -1, dtype=np.intp)
        where[self.targets.row] = np.arange(len(self.targets.row))
        members, rows = table.members()
        use = where[members] >= 0
        counts = np.zeros((self.targets.groups, len(table.bounds)))
        group = self.targets.group[where[members[use]]]
        np.add.at(counts, group, table.totals()[rows[use]])
        return counts


def replica_readings(table: TargetTable, targets: Targets) -> dict[str, Readings]:
    """Return the readings of REPLICA_SIGNALS; `targets` are grouped by replica."""
    flows = _Flows(table, targets, targets.why_unread(), one_is_enough=False)
    found = {name: flows.gauge(name) for name in _GAUGES}
    found |= {name: flows.rate(signal, flow(signal)) for name, signal in _RATES.items()}
    found["completion_rate_rps"] = _larger(
        found["completion_rate_rps"], flows.rate("answered", flow("answered"))
    )
    found["first_token_rate_rps"] = flows.rate("ttft_s", count_flow("ttft_s"))
    inflight = found["running_requests"].present & found["waiting_requests"].present
    found["inflight_slope_rps"] = flows.reading(
        flows.rates[:, flow(INFLIGHT_CHANGE)],
        _where(~inflight, Reason.NOT_EXPORTED),
        flows.once,
    )
    found |= {f"mean_{name}": flows.window_mean(name, found[name]) for name in AREA_OF}
    for short, histogram in _LENGTHS.items():
        found[f"{short}_mean"] = flows.mean(histogram)
        found[f"{short}_second_moment"] = _second_moment(flows, histogram)
    found["prefix_hit_ratio"] = _hit_ratio(flows)
    found["ttft_mean_s"] = flows.mean("ttft_s")
    found["itl_mean_s"] = _gap(flows)
    found["queue_time_mean_s"] = flows.mean("queue_time_s")
    found["observed_s"] = flows.reading(flows.observed_s(), flows.once)
    return {name: found[name] for name in REPLICA_SIGNALS}


def variant_readings(table: TargetTable, targets: Targets) -> dict[str, Readings]:
    """Return the readings of VARIANT_SIGNALS; `targets` are grouped by variant."""
    readable = targets.unread == Reason.PRESENT
    twice = readable & (table.flows()[targets.row, flow(ELAPSED)] > 0)
    heard = np.bincount(targets.group[readable], minlength=targets.groups) > 0
    enough = np.bincount(targets.group[twice], minlength=targets.groups) > 0
    why = np.where(heard, Reason.ONE_SCRAPE, targets.why_unread())
    unread = np.where(enough, Reason.PRESENT, why).astype(np.uint8)
    flows = _Flows(table, targets.only(twice), unread, one_is_enough=True)
    found = {
        "ttft_mean_s": flows.mean("ttft_s"),
        "itl_mean_s": _gap(flows),
    }
    for ratio in PERCENTILES:
        name = f"p{round(ratio * 100)}"
        found[f"ttft_{name}_s"] = _percentile(flows, "ttft_s", ratio)
        # Per request where the engine exports it: that is what an ITL target is set for.
        own = _percentile(flows, "tpot_s", ratio)
        found[f"itl_{name}_s"] = _first_present(own, _percentile(flows, "itl_s", ratio))
    latest = np.where(heard, Reason.PRESENT, unread).astype(np.uint8)
    now = _Flows(table, targets.only(readable), latest, one_is_enough=True)
    found["power_w"] = now.gauge("power_w")
    return {name: found[name] for name in VARIANT_SIGNALS}


def _gap(flows: _Flows) -> Readings:
    """Return the mean time per token after a request's first one.

    Speculative decoding puts several tokens into one step, and engines count steps: there
    the time is divided by the tokens that came of it. A profile is then learned per token.
    """
    by_step = _first_present(flows.mean("itl_s"), flows.mean("tpot_s"))
    decoded = flows.totals[:, flow("output_tokens")] - flows.totals[:, count_flow("ttft_s")]
    # Engines that count each token have no fewer events than tokens.
    events = flows.totals[:, count_flow("itl_s")]
    several = (flows.totals[:, flow("drafts")] > 0) & (decoded > events)
    by_token = flows.ratio(
        flows.totals[:, sum_flow("itl_s")],
        np.where(several, decoded, 0.0),
        *("itl_s", "output_tokens", "ttft_s", "drafts"),
    )
    return Readings(
        np.where(by_token.present, by_token.values, by_step.values),
        np.where(by_token.present, by_token.reasons, by_step.reasons),
    )


def _hit_ratio(flows: _Flows) -> Readings:
    hits, queries = flow("prefix_hit_tokens"), flow("prefix_query_tokens")
    counted = flows.ratio(
        np.minimum(flows.totals[:, hits], flows.totals[:, queries]),
        flows.totals[:, queries],
        "prefix_hit_tokens",
        "prefix_query_tokens",
    )
    return _first_present(counted, flows.gauge("prefix_hit_ratio"))


def _second_moment(flows: _Flows, histogram: str) -> Readings:
    total = flows.totals[:, sum_flow(histogram)]
    values = np.full(flows.targets.groups, np.nan)
    most = np.zeros(flows.targets.groups)
    for table in flows.table.bucket_tables(histogram):
        counts = flows.buckets(table)
        more = counts[:, -1] > most
        values = np.where(more, second_moment(table.bounds, counts, total), values)
        most = np.maximum(most, counts[:, -1])
    quiet = flows.totals[:, count_flow(histogram)] <= 0
    return flows.reading(
        values,
        flows.lacking(histogram),
        flows.once,
        _where(quiet, Reason.NO_EVENTS),
        _where(most <= 0, Reason.NOT_EXPORTED),
    )


def _percentile(flows: _Flows, histogram: str, ratio: float) -> Readings:
    """Return a percentile of each group, from the list of bounds that most of its mass is in."""
    values = np.full(flows.targets.groups, np.nan)
    most = np.zeros(flows.targets.groups)
    for table in flows.table.bucket_tables(histogram):
        counts = flows.buckets(table)
        more = counts[:, -1] > most
        values = np.where(more, percentile(table.bounds, counts, ratio), values)
        most = np.maximum(most, counts[:, -1])
    quiet = flows.totals[:, count_flow(histogram)] <= 0
    return flows.reading(
        values,
        flows.lacking(histogram),
        _where(quiet, Reason.NO_EVENTS),
        # No buckets, or all of it below the first bound, where a histogram says nothing.
        _where(np.isnan(values), Reason.NOT_EXPORTED),
    )


def _where(condition: BoolArray, reason: Reason) -> ReasonArray:
    return np.where(condition, reason, Reason.PRESENT).astype(np.uint8)


def _larger(first: Readings, second: Readings) -> Readings:
    """Return the first of two readings, or the second where it is present and larger."""
    use = first.present & second.present & (second.values > first.values)
    return Readings(np.where(use, second.values, first.values), first.reasons)


def _first_present(first: Readings, second: Readings) -> Readings:
    """Return the first of two readings where it is present or the second isn't."""
    use = ~first.present & second.present
    return Readings(
        np.where(use, second.values, first.values), np.where(use, second.reasons, first.reasons)
    )
