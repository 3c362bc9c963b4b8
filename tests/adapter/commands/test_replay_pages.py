"""Parsed records against the text: the same decisions from both, tick by tick."""

import dataclasses

import numpy as np

from adapter.catalog import build_catalog
from adapter.clock import Clock
from adapter.collect.dialects import load_dialects
from adapter.collect.faults import FaultBook
from adapter.collect.fetch import Failure, Fetched
from adapter.collect.fleet import Fleet, Replica
from adapter.collect.scrape import Scraper
from adapter.collect.view import scraped_view
from adapter.commands.replay_pages import STATES
from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import NO_REPORT, START_UNIX_S, Adapter
from adapter.config import ScrapeSource
from adapter.decide import DecisionMemory, decide
from adapter.errors import SourceUnavailableError
from adapter.records import Reason
from simulator.exposition import Exposition
from simulator.pod import PodState
from simulator.vllm_families import EngineMetrics, ServedModel
from simulator.world import World

from ...simulator.replays import model, scenario, variant


class WorldClock(Clock):
    def __init__(self, world):
        self._world = world

    def monotonic_s(self):
        return self._world.now_s

    def unix_s(self):
        return START_UNIX_S + self._world.now_s


class PageFetcher:
    """Answers for pods with the text that a real engine would show."""

    def __init__(self, world):
        self._world = world
        self._pages = {}

    async def get(self, url, **_):
        pod = next(p for p in self._world.pods if f"http://{p.name}/metrics" == url)
        if pod.engine is None:
            return Failure(Reason.UNREACHABLE, SourceUnavailableError(url, "starting"))
        spec = self._world.variants[pod.variant]
        if pod.number not in self._pages:
            self._pages[pod.number] = Exposition(
                ServedModel(name=spec.model, max_model_len=spec.max_model_len),
                spec.engine(queue_timeout_s=1.0),
                start_unix_s=START_UNIX_S + pod.ready_s,
            )
        metrics = EngineMetrics(engine=pod.engine, requests=pod.engine.requests)
        body = self._pages[pod.number].render(metrics)
        return Fetched(body=body, content_type="text/plain")


class TextAdapter:
    """The adapter's own scraper and parser over the same world."""

    def __init__(self, settings, world):
        self._settings, self._world = settings, world
        self._fetcher = PageFetcher(world)
        self._scraper = Scraper(
            settings,
            settings.sources.scraping or ScrapeSource(),
            load_dialects(),
            FaultBook(),
            WorldClock(world),
        )
        self._memory = DecisionMemory.empty()

    async def tick(self, records):
        world = self._world
        pods = [pod for pod in world.pods if pod.state in STATES]
        fleet = Fleet(
            replicas=tuple(
                Replica(
                    name=pod.name,
                    variant=pod.variant,
                    urls=(f"http://{pod.name}",),
                    state=STATES[pod.state],
                )
                for pod in pods
            ),
            current=world.wanted.copy(),
            ready=np.array([world.count(row, PodState.READY) for row in range(2)]),
        )
        await self._scraper.scrape(self._fetcher, fleet, now_s=world.now_s)
        view = scraped_view(self._scraper, fleet, variants=2, now_s=world.now_s, max_age_s=30.0)
        fields = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
        snapshot = dataclasses.replace(records, **fields)
        publication, self._memory = decide(
            snapshot, build_catalog(self._settings), self._memory, report=NO_REPORT
        )
        return publication


async def test_text_through_the_parser_gives_the_same_plan():
    rate = {"points": [[0, 2.0], [60, 70.0], [110, 1.0]]}
    loaded = model()
    loaded["workload"] = loaded["workload"] | {"rate": rate}
    one = scenario(
        duration_s=180.0,
        models=[loaded],
        variants=[variant("small-a", "A"), variant("small-b", "B", initial_replicas=1)],
    )
    world = World(one, seed=4, compiled=False)
    settings = replay_settings(one)
    records, text = Adapter.of(settings, world), TextAdapter(settings, world)
    seen = set()
    for at_s in (0.0, 1.0, *np.arange(6.0, 180.0, 5.0)):
        world.advance(float(at_s))
        memory = records.memory
        snapshot = records.snapshot(world)
        from_records, records.memory = decide(
            snapshot, build_catalog(settings), memory, report=NO_REPORT
        )
        from_text = await text.tick(snapshot)
        for name, values in from_records.values.items():
            np.testing.assert_array_equal(values, from_text.values[name], err_msg=name)
        for name, values in from_records.details.items():
            np.testing.assert_array_equal(values, from_text.details[name], err_msg=name)
        assert from_records.message == from_text.message
        assert from_records.binding.tolist() == from_text.binding.tolist()
        for row, desired in enumerate(from_records.values["wva_desired_replicas"].tolist()):
            world.scale(row, int(desired))
            seen.add((row, desired))
    assert len(seen) > 3
