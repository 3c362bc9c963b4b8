"""What an engine does to us never takes replicas away, and is always told.

Engines answer over real connections; pages go through the collector, the decision and its brakes.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from adapter.catalog import Catalog, build_catalog
from adapter.collect import Collector
from adapter.config import parse_settings
from adapter.decide import DecisionMemory, decide
from adapter.records import Publication, Snapshot, TickReport
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import Answer, PageServer, cut, hang, page, reset

INTERVAL_S = 5.0
PER_TICK = 60  # requests that each engine finishes: 12 a second

PROFILE = """
service_classes: {chat: {priority: 1, slo: {ttft_ms: 500, itl_ms: 40}}}
models:
  m:
    service_class: chat
    profiles: {H100: {alpha_ms: 6.5, beta_ms: 0.022, gamma_ms: 0.00005, max_batch_size: 64}}
"""
NO_PROFILE = "models: {m: {}}"


def engine(done: object, running: object = 30, waiting: object = 0, kv: object = 0.65, model="m"):
    labels = f'engine="0",model_name="{model}"'
    return (
        f"vllm:num_requests_running{{{labels}}} {running}\n"
        f"vllm:num_requests_waiting{{{labels}}} {waiting}\n"
        f"vllm:kv_cache_usage_perc{{{labels}}} {kv}\n"
        f"vllm:request_success_total{{{labels}}} {done}\n"
    )


def sglang(_done: int) -> Answer:
    names = ("num_running_reqs", "num_queue_reqs", "token_usage")
    return page("".join(f'sglang:{name}{{model_name="m"}} 0\n' for name in names))


FAULTS = {
    "500": lambda _: page("", "500 Internal Server Error"),
    "hangs": lambda _: hang(),
    "resets": lambda _: reset(),
    "half-a-body": lambda done: cut(engine(done)),
    "half-a-line": lambda done: page(engine(done).rstrip()[:-3]),
    "garbage": lambda _: page("\x00\x01<>\n"),
    "empty": lambda _: page(""),
    "another-exporter": lambda _: page("a 1\n"),
    "another-model": lambda done: page(engine(done, model="z")),
    "another-engine": sglang,
    "nan-everywhere": lambda _: page(engine("NaN", "NaN", "NaN", "NaN")),
    "nan-counter": lambda _: page(engine("NaN")),
    "nan-gauges": lambda done: page(engine(done, "NaN", "NaN", "NaN")),
    "nan-kv": lambda done: page(engine(done, kv="NaN")),
    "infinite-kv": lambda done: page(engine(done, kv="+Inf")),
    "negative": lambda done: page(engine(done, -5, -9, -1)),
    "counter-jumps": lambda done: page(engine(done + (10**7) * (done // PER_TICK))),
}


@dataclass
class Play:
    """Three engines, and the decisions about them."""

    engines: tuple[PageServer, ...]
    collector: Collector
    clock: ManualClock
    catalog: Catalog
    memory: DecisionMemory = field(default_factory=DecisionMemory.empty)
    done: int = 0

    async def tick(self, fault=None, among=()) -> tuple[float, Publication, Snapshot]:
        self.done += PER_TICK
        self.clock.advance(INTERVAL_S)
        for one in self.engines:
            one.answers["/metrics"] = fault(self.done) if one in among else page(engine(self.done))
        snapshot = await self.collector.collect()
        report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0, faults=snapshot.faults)
        publication, self.memory = decide(snapshot, self.catalog, self.memory, report=report)
        return float(publication.values["wva_desired_replicas"][0]), publication, snapshot


@pytest.fixture
async def engines():
    async with PageServer() as first, PageServer() as second, PageServer() as third:
        yield first, second, third


@contextlib.asynccontextmanager
async def played(engines, models: str) -> AsyncIterator[Play]:
    endpoints = ", ".join(f'"{one.url}"' for one in engines)
    settings = parse_settings(
        f"""
sources: {{scrape: {{timeout_s: 0.6, window_s: 20}}}}
{models}
brakes: {{warm_up_s: 0, max_scale_down_ratio: 1}}
down_window_s: 10
variants:
  - {{name: v, model: m, accelerator: H100, max_replicas: 20, endpoints: [{endpoints}]}}
"""
    )
    clock = ManualClock()
    play = Play(engines, Collector(settings, clock), clock, build_catalog(settings))
    await play.collector.start()
    try:
        for _ in range(10):
            await play.tick()
        yield play
    finally:
        await play.collector.stop()


@pytest.mark.parametrize("models", [PROFILE, NO_PROFILE], ids=["profile", "no-profile"])
@pytest.mark.parametrize("share", [1, 3], ids=["one-of-three", "all"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_takes_nothing_away_and_asks_for_nothing_and_is_told(
    engines, fault, share, models
):
    async with played(engines, models) as play:
        before, good, _ = await play.tick()
        assert good.message == ("",)
        told = []
        for _ in range(9):
            desired, publication, snapshot = await play.tick(fault, engines[:share])
            assert desired == before
            told += [*publication.message, *(one.message for one in snapshot.faults)]
        assert any(told)
        for _ in range(6):
            desired, publication, snapshot = await play.tick()
        assert desired == before
        assert publication.message == ("",)
        assert snapshot.faults == ()
