"""What the adapter reads of simulated pods, as parsed records instead of text.

Everything from a page's numbers on is the adapter's own: dialect and binding, counters and
windows, readings. Only writing and parsing the text is left out, which a test makes up for.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from adapter.collect.binding import Binding, bind
from adapter.collect.dialects import load_dialects, wanted_names
from adapter.collect.engines import EngineTable
from adapter.collect.exposition import Exposition, ExpositionReader
from adapter.collect.fleet import Fleet, Replica
from adapter.collect.increments import CounterMemory
from adapter.collect.view import EngineView, engine_view
from adapter.config import Settings
from adapter.records import Reason, ReplicaState
from optimizer import FloatArray
from simulator.exposition import ShownNumbers
from simulator.pod import Pod, PodState
from simulator.vllm_families import EngineMetrics, ServedModel
from simulator.world import World

__all__ = ["PodPages"]

STATES = {
    PodState.PENDING: ReplicaState.STARTING,
    PodState.STARTING: ReplicaState.STARTING,
    PodState.READY: ReplicaState.READY,
    PodState.DRAINING: ReplicaState.DRAINING,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """A variant's page as parsed: where its wanted series are among the page's numbers."""

    page: Exposition
    binding: Binding


@dataclass(slots=True, eq=False)
class _Target:
    """One pod as it is read."""

    row: int
    read: Callable[[EngineMetrics], FloatArray] | None = None
    memory: CounterMemory = field(default_factory=CounterMemory)
    coming: deque[tuple[float, FloatArray]] = field(default_factory=deque)  # when it can be seen


class PodPages:
    """The pods of a world, scraped once a tick into the adapter's own table."""

    def __init__(self, settings: Settings, world: World, *, start_unix_s: float) -> None:
        self._settings, self._start_unix_s = settings, start_unix_s
        source = settings.sources.scraping
        self.table = EngineTable(source.window_s if source is not None else 20.0)
        self.dialect = [""] * len(world.variants)
        self._dialects = load_dialects(settings.dialects)
        names, facts = wanted_names(self._dialects)
        self._reader = ExpositionReader(names, facts=facts)
        self._templates = [self._template(world, row) for row in range(len(world.variants))]
        self._targets: dict[int, _Target] = {}

    def read(self, world: World) -> EngineView:
        """Scrape every pod and return what is known now."""
        self.table.turn(world.now_s)
        pods = [pod for pod in world.pods if pod.state in STATES]
        self._follow(pods)
        for pod in pods:
            self._scrape(world, pod)
        fleet = self._fleet(world, pods)
        return engine_view(
            self.table,
            [[self._targets[pod.number].row] for pod in pods],
            self.dialect,
            fleet,
            variants=len(world.variants),
            now_s=world.now_s,
            max_age_s=self._settings.max_decision_age_s,
        )

    def _template(self, world: World, row: int) -> _Template:
        page = self._reader.read(self._numbers(world, row, 0.0).template())
        binding = bind(page, self._dialects, frozenset({world.variants[row].model.lower()}))
        if not isinstance(binding, Binding):
            raise TypeError(f"the simulated page of {world.variants[row].name}: {binding}")
        return _Template(page, binding)

    def _numbers(self, world: World, row: int, start_s: float) -> ShownNumbers:
        spec = world.variants[row]
        return ShownNumbers(
            ServedModel(name=spec.model, max_model_len=spec.max_model_len),
            spec.engine(queue_timeout_s=1.0),
            start_unix_s=self._start_unix_s + start_s,
        )

    def _follow(self, pods: list[Pod]) -> None:
        there = {pod.number for pod in pods}
        for number in self._targets.keys() - there:
            self.table.remove(self._targets.pop(number).row)
        for pod in pods:
            if pod.number not in self._targets:
                self._targets[pod.number] = _Target(self.table.add())

    def _scrape(self, world: World, pod: Pod) -> None:
        """Scrape a pod, and show the adapter the newest page that is old enough to be seen."""
        target, template = self._targets[pod.number], self._templates[pod.variant]
        if pod.engine is not None and not world.scrape_fails():
            metrics = EngineMetrics(engine=pod.engine, requests=pod.engine.requests)
            if target.read is None:
                numbers = self._numbers(world, pod.variant, pod.ready_s)
                target.read = numbers.reader(template.page.values.astype(np.int64))
            target.coming.append((world.now_s + world.metrics_late_s, target.read(metrics)))
        shown: FloatArray | None = None
        while target.coming and target.coming[0][0] <= world.now_s:
            _, shown = target.coming.popleft()
        if shown is None:
            self.table.fault[target.row] = Reason.UNREACHABLE
            return
        page = Exposition(template.page.layout, shown, template.page.facts)
        self.table.observe(target.row, target.memory, template.binding, page, now_s=world.now_s)
        self.dialect[pod.variant] = template.binding.dialect

    def _fleet(self, world: World, pods: list[Pod]) -> Fleet:
        ready = [world.count(row, PodState.READY) for row in range(len(world.variants))]
        return Fleet(
            replicas=tuple(
                Replica(name=pod.name, variant=pod.variant, urls=(), state=STATES[pod.state])
                for pod in pods
            ),
            current=world.wanted.copy(),
            # Pods beside those that are wanted, as in a rollout, are no capacity.
            ready=np.minimum(np.array(ready, dtype=np.int64), world.wanted),
        )
