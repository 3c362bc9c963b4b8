"""Decisions on the recording of a real vLLM: up before its queue shows, down after.

The recorded bodies are served over HTTP to the unchanged collectors; only the clock is
the recording's. Nothing is told of the engine: its profile is learned on the way.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from adapter.analyze import Memory, analyze
from adapter.catalog import build_catalog
from adapter.collect import Collector
from adapter.config import Settings
from adapter.decide import DecisionMemory, decide
from adapter.records import Publication, TickReport
from optimizer import PlanRequest, Policy
from optimizer.estimation import learned
from optimizer.estimator_state import EstimatorState
from optimizer.operating_point import at_concurrency
from optimizer.step_law import load_of
from tests.helpers.clocks import ManualClock

CAPTURE = Path(__file__).resolve().parents[3] / "shared" / "captures" / "vllm-ramp"
PHASE_S, PHASES = 40.0, 8
QUEUE_SHOWS_S = 232.0
REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)

pytestmark = pytest.mark.skipif(
    not CAPTURE.is_dir(), reason="the recording of a real vLLM (../shared/captures) isn't here"
)


def scrapes() -> list[tuple[float, bytes]]:
    with gzip.open(CAPTURE / "scrapes.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["t_s"], row["body"].encode()) for row in rows]


@asynccontextmanager
async def playing(bodies: dict[str, bytes]) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            body=bodies["now"], headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def settings(url: str, window_s: float) -> Settings:
    return Settings.model_validate(
        {
            "sources": {"scrape": {"window_s": window_s}},
            "down_window_s": 20,
            "brakes": {"warm_up_s": 0},
            "service_classes": {"chat": {"slo": {"ttft_ms": 200, "itl_ms": 20, "percentile": 95}}},
            "models": {"tiny/llama": {"service_class": "chat"}},
            "variants": [
                {
                    "name": "tiny",
                    "model": "tiny/llama",
                    "accelerator": "cpu",
                    "max_replicas": 8,
                    "endpoints": [url],
                }
            ],
        }
    )


class Played:
    """What was decided at each scrape, and how well each phase's ITL was predicted."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.desired: list[float] = []
        self.waiting: list[float] = []
        self.trust: list[str] = []
        self.itl_errors: list[float] = []

    def note(self, at_s: float, publication: Publication) -> None:
        self.times_s.append(at_s)
        self.desired.append(float(publication.values["wva_desired_replicas"][0]))
        self.waiting.append(float(publication.details["input.waiting_requests"][0]))
        self.trust.append(publication.texts["profile"][0])

    def between(self, start_s: float, end_s: float) -> set[float]:
        times = np.array(self.times_s)
        return set(np.array(self.desired)[(times >= start_s) & (times < end_s)].tolist())


def itl_error(state: EstimatorState, phase: PlanRequest) -> float:
    """Return the relative error of the learned profile at a phase's concurrency."""
    profiles = learned(state, phase.profiles).profiles
    seen, load = phase.observations, load_of(phase.workloads, phase.observations.arrival_rate_rps)
    requests = seen.decoding_requests + seen.arrival_rate_rps * seen.ttft_s
    itl_s, _ = at_concurrency(profiles, load, requests)
    return float(itl_s[0] / seen.itl_s[0] - 1.0)


async def play() -> Played:
    """Serve the recording to two collectors: one decides, one sums up whole phases."""
    recorded, played = scrapes(), Played()
    bodies, clock = {"now": recorded[0][1]}, ManualClock()
    started_s = clock.monotonic_s()
    async with playing(bodies) as url:
        declared = settings(url, 10.0)
        catalog, memory = build_catalog(declared), DecisionMemory.empty()
        deciding, summing = Collector(declared, clock), Collector(settings(url, PHASE_S - 3), clock)
        await deciding.start()
        await summing.start()
        try:
            for at_s, body in recorded:
                bodies["now"] = body
                clock.advance(started_s + at_s - clock.monotonic_s())
                snapshot, whole = await deciding.collect(), await summing.collect()
                publication, memory = decide(snapshot, catalog, memory, report=REPORT)
                played.note(at_s, publication)
                phase = len(played.itl_errors)
                if phase < PHASES and at_s >= PHASE_S * (phase + 1) - 2.0:
                    summed = analyze(whole, catalog, Memory.empty(), policy=Policy()).request
                    played.itl_errors.append(itl_error(memory.analysis.plan.estimator, summed))
        finally:
            await deciding.stop()
            await summing.stop()
    return played


@pytest.fixture(scope="module")
def played() -> Played:
    return asyncio.run(play())


def test_desired_rises_before_the_queue_and_falls_after(played):
    first_wait_s = next(
        t for t, w in zip(played.times_s, played.waiting, strict=True) if w > 0 and t > 200
    )
    assert first_wait_s >= QUEUE_SHOWS_S
    assert played.between(0.0, 80.0) == {1.0}
    assert played.between(200.0, first_wait_s) == {2.0}
    # The load falls at 240 s; what was asked for is held for `down_window_s` while it settles.
    assert played.between(280.0, 400.0) == {1.0}


def test_the_learned_profile_predicts_every_phase(played):
    """Nothing was known of the engine; each phase with what was learned up to its end."""
    print("ITL error by phase:", ", ".join(f"{error:+.1%}" for error in played.itl_errors))
    assert played.trust[-1] == "learned"
    assert np.abs(played.itl_errors).max() <= 0.15
    assert np.abs(played.itl_errors).mean() <= 0.10
