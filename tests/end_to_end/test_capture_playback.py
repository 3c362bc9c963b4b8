"""A recording of a real vLLM through the unchanged collectors, against its clients' own log.

The recorded pages are served over HTTP; only the clock is the recording's, so it plays in a
moment. For each phase of the load, the readings at its end are compared with the log of exactly
the time that the window covers.
"""

import csv
from dataclasses import dataclass

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapter.collect import Collector
from adapter.config import parse_settings
from adapter.demand import replica_offered_rate_rps
from adapter.records import Snapshot
from tests.adapter.collect.captures import CAPTURES, needs_captures, ramp
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import PageServer, page

PHASE_S, PHASES = 40.0, 8
WINDOW_S = 34.0
TTFT = "vllm:time_to_first_token_seconds"


@dataclass(frozen=True)
class Requests:
    """The clients' log, as columns; times on the recording's clock."""

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    ttft_ms: np.ndarray
    itl_ms: np.ndarray
    end_s: np.ndarray

    def finished(self, start_s: float, end_s: float) -> np.ndarray:
        return (self.end_s > start_s) & (self.end_s <= end_s)


def logged() -> Requests:
    with (CAPTURES / "vllm-ramp" / "requests.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["status"] == "200"]

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in rows])

    return Requests(
        arrival_s=column("arrival_s"),
        prompt_tokens=column("prompt_tokens"),
        output_tokens=column("output_tokens"),
        ttft_ms=column("client_ttft_ms"),
        itl_ms=column("client_itl_ms"),
        end_s=column("arrival_s") + column("client_e2e_ms") / 1e3,
    )


async def played() -> list[tuple[float, Snapshot]]:
    """Return the snapshot of the last scrape of each phase."""
    clock, found = ManualClock(0.0), {}
    async with PageServer() as server:
        settings = parse_settings(
            f"""
sources: {{scrape: {{window_s: {WINDOW_S}}}}}
models: {{tiny/llama: {{}}}}
variants: [{{name: tiny, model: tiny/llama, accelerator: cpu, endpoints: ["{server.url}"]}}]
"""
        )
        collector = Collector(settings, clock)
        await collector.start()
        for t_s, body in ramp():
            clock.now_s = t_s
            server.answers["/metrics"] = page(body)
            snapshot = await collector.collect()
            assert snapshot.faults == ()
            found[int(t_s // PHASE_S)] = (t_s, snapshot)
        await collector.stop()
    return [found[phase] for phase in range(PHASES)]


def scraped_mean(name: str, start_s: float, end_s: float) -> float:
    """Return a histogram's mean between two scrapes, by another parser's reading of the pages."""

    def totals(at_s: float) -> tuple[float, float]:
        body = min(ramp(), key=lambda one: abs(one[0] - at_s))[1].decode()
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name in {f"{name}_sum", f"{name}_count"}
        }
        return values[f"{name}_sum"], values[f"{name}_count"]

    (first_sum, first_count), (last_sum, last_count) = totals(start_s), totals(end_s)
    return (last_sum - first_sum) / (last_count - first_count)


@needs_captures
async def test_every_phase_reads_as_its_clients_logged_it() -> None:
    log = logged()
    print(
        "\n  phase  requests/s  log     prompt  log     output  log    ITL ms  log    TTFT ms  client"
    )
    for phase, (end_s, snapshot) in enumerate(await played()):
        signals = {name: float(readings.values[0]) for name, readings in snapshot.replica.items()}
        start_s = end_s - signals["observed_s"]
        assert phase * PHASE_S <= start_s < end_s <= (phase + 1) * PHASE_S
        offered = replica_offered_rate_rps(
            arrivals=snapshot.replica["arrival_rate_rps"],
            completions=snapshot.replica["completion_rate_rps"],
            inflight_slope=snapshot.replica["inflight_slope_rps"],
            rejections=snapshot.replica["rejection_rate_rps"],
        ).values[0]
        arrived = (log.arrival_s > start_s) & (log.arrival_s <= end_s)
        done = log.finished(start_s, end_s)
        gaps = np.maximum(log.output_tokens[done] - 1, 0)
        expected = {
            "rate": arrived.sum() / (end_s - start_s),
            "prompt": log.prompt_tokens[done].mean(),
            "output": log.output_tokens[done].mean(),
            "itl_ms": np.average(log.itl_ms[done], weights=gaps),
        }
        found = {
            "rate": offered,
            "prompt": signals["prompt_tokens_mean"],
            "output": signals["output_tokens_mean"],
            "itl_ms": signals["itl_mean_s"] * 1e3,
        }
        print(
            f"  {phase:5d}  {found['rate']:10.2f}  {expected['rate']:6.2f}  {found['prompt']:6.1f}"
            f"  {expected['prompt']:6.1f}  {found['output']:6.1f}  {expected['output']:5.1f}"
            f"  {found['itl_ms']:6.2f}  {expected['itl_ms']:5.2f}"
            f"  {signals['ttft_mean_s'] * 1e3:7.1f}  {log.ttft_ms[done].mean():6.1f}"
        )
        assert found == pytest.approx(expected, rel=0.05), f"phase {phase}"
        recorded = scraped_mean(TTFT, start_s, end_s)
        assert signals["ttft_mean_s"] == pytest.approx(recorded, rel=0.01), f"phase {phase}"
        assert snapshot.variant["ttft_mean_s"][0] == pytest.approx(recorded, rel=0.01)


@needs_captures
async def test_second_moments_of_lengths_are_near_the_logs() -> None:
    log = logged()
    errors = []
    for end_s, snapshot in await played():
        done = log.finished(end_s - float(snapshot.replica["observed_s"].values[0]), end_s)
        for name in ("prompt_tokens", "output_tokens"):
            found = float(snapshot.replica[f"{name}_second_moment"].values[0])
            errors.append(found / np.mean(getattr(log, name)[done] ** 2) - 1.0)
    assert np.mean(np.abs(errors)) < 0.08
    assert np.max(np.abs(errors)) < 0.2


@needs_captures
async def test_idle_after_the_load_is_no_demand_and_no_means() -> None:
    clock = ManualClock(0.0)
    async with PageServer() as server:
        settings = parse_settings(
            "models: {tiny/llama: {}}\nsources: {scrape: {window_s: 10}}\n"
            "variants: [{name: tiny, model: tiny/llama, accelerator: cpu, "
            f'endpoints: ["{server.url}"]}}]'
        )
        collector = Collector(settings, clock)
        await collector.start()
        for t_s, body in ramp()[-8:]:
            clock.now_s = t_s
            server.answers["/metrics"] = page(body)
            snapshot = await collector.collect()
        await collector.stop()
    assert snapshot.replica["completion_rate_rps"][0] == 0.0
    assert snapshot.replica["inflight_slope_rps"][0] == 0.0
    assert not snapshot.replica["ttft_mean_s"].present[0]
