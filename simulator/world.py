"""Everything but the policy, in simulated time: services, pods, nodes and what befalls them.

Time moves by `advance` from one event to the next; what a policy does between two calls is
`scale`, the scale subresource of a Deployment.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from optimizer import IntArray
from optimizer.errors import InvalidInputError

from .clients import Clients
from .cluster_spec import Event, VariantSpec
from .demand import Demand, draw_demand
from .nodes import NOWHERE, Nodes
from .pod import Pod, PodEngine, PodState
from .scenario import Scenario
from .service import Service

__all__ = ["Action", "Sample", "World"]

LAWS = {
    name: law
    for law, name in enumerate(
        ("round_robin", "equal_per_replica", "least_loaded", "weighted", "kv_aware")
    )
}
# Services are looked at this often while nothing else happens.
STEP_S = 5.0
# ... and this often while a gateway waits for room, or clients wait for answers.
HOLDING_STEP_S = 0.5
SAMPLE_S = 10.0
LIVING = (PodState.PENDING, PodState.STARTING, PodState.READY)


@dataclass(frozen=True, slots=True)
class Action:
    """A change of a variant's count that somebody asked for."""

    at_s: float
    variant: int
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counts of a moment, per variant, and what waits at each gateway."""

    at_s: float
    wanted: tuple[int, ...]
    ready: tuple[int, ...]
    queued: tuple[int, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Usage:
    """What a variant's pods took so far, in replica-seconds."""

    wanted_s: float = 0.0
    held_s: float = 0.0  # accelerators held: starting and draining pods, too
    busy_s: float = 0.0
    most: int = 0

    def since(self, before: "Usage") -> "Usage":
        """Return what was taken after `before`; the most stays that of all the time."""
        return Usage(
            wanted_s=self.wanted_s - before.wanted_s,
            held_s=self.held_s - before.held_s,
            busy_s=self.busy_s - before.busy_s,
            most=self.most,
        )


@dataclass(slots=True, eq=False)
class Rollout:
    """A rolling update under way: pods of an older generation are replaced one by one."""

    generation: int
    surge: int = field(default=1)


class World:
    """One scenario from its first moment on, the same for the same seed and calls."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        observed: bool = True,
        compiled: bool | None = None,
    ) -> None:
        self.scenario = scenario
        self.now_s = 0.0
        demand_seed, self_seed = np.random.SeedSequence(seed).spawn(2)
        streams = [np.random.default_rng(s) for s in demand_seed.spawn(len(scenario.models))]
        self._random = np.random.default_rng(self_seed)
        self.demand: tuple[Demand, ...] = tuple(
            draw_demand(model.workload, random, end_s=scenario.duration_s)
            for model, random in zip(scenario.models, streams, strict=True)
        )
        self.services = tuple(
            Service(
                demand.requests,
                law=LAWS[model.routing],
                timeout_s=model.timeout_s,
                max_in_flight=model.max_in_flight_per_replica,
                random=np.random.default_rng(self._random.integers(1 << 63)),
                observed=observed,
                compiled=compiled,
            )
            for model, demand in zip(scenario.models, self.demand, strict=True)
        )
        self._clients = tuple(
            Clients(
                model.workload.clients,
                model.workload.phases,
                end_s=scenario.duration_s,
                random=random,
            )
            if model.workload.clients.react
            else None
            for model, random in zip(scenario.models, streams, strict=True)
        )
        self.variants = scenario.variants
        self.model_of = scenario.model_of
        self.wanted: IntArray = np.zeros(len(self.variants), dtype=np.int64)
        self.pods: list[Pod] = []
        self.usage = [Usage() for _ in self.variants]
        self.actions: list[Action] = []
        self.samples: list[Sample] = []
        self.scrape_loss_ratio = self._always_lost_ratio = 0.0
        self._nodes = Nodes(scenario.nodes)
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._rollouts: dict[int, Rollout] = {}
        self._sampled_s = -math.inf
        for event in scenario.events:
            self._at(event.at_s, lambda event=event: self._happen(event))  # type: ignore[misc]
        for row, spec in enumerate(self.variants):
            self.wanted[row] = spec.initial_replicas
            for _ in range(spec.initial_replicas):
                self._create(row, cold_start_s=0.0)
        self._sample()

    # what a policy may look at

    def count(self, variant: int, *states: PodState) -> int:
        """Return a variant's pods in `states`."""
        return sum(pod.variant == variant and pod.state in states for pod in self.pods)

    def ready_pods(self, variant: int) -> list[Pod]:
        """Return a variant's pods that take requests, the oldest first."""
        return [p for p in self.pods if p.variant == variant and p.state is PodState.READY]

    def rolling(self, variant: int) -> bool:
        """Return whether a variant's pods are being replaced by a new version."""
        return variant in self._rollouts

    def scrape_fails(self) -> bool:
        """Draw whether one scrape fails now."""
        return bool(self.scrape_loss_ratio) and bool(self._random.random() < self.scrape_loss_ratio)

    def lose_scrapes(self, share: float) -> None:
        """Let this share of the scrapes fail from now on, whatever else happens."""
        self.scrape_loss_ratio = self._always_lost_ratio = share

    # what it may do

    def scale(self, variant: int, count: int) -> None:
        """Ask for `count` replicas."""
        spec, before = self.variants[variant], int(self.wanted[variant])
        if not 0 <= count <= spec.max_replicas:
            raise InvalidInputError(
                f"{count} replicas of {spec.name}; must be 0 to {spec.max_replicas}"
            )
        if count == before:
            return
        self.actions.append(Action(self.now_s, variant, before, count))
        self.wanted[variant] = count
        self._reconcile(variant)

    def provision(self, counts: Sequence[int]) -> None:
        """Have these counts from the start, ready: for who plans before anything happens."""
        for row, count in enumerate(counts):
            self.wanted[row] = count
            living = self.ready_pods(row)
            for pod in living[count:]:
                self._stop(pod)
            for _ in range(count - len(living)):
                self._create(row, cold_start_s=0.0)

    def advance(self, until_s: float) -> None:
        """Let everything up to `until_s` happen."""
        while self.now_s < until_s:
            watched = any(self._clients) or any(service.holding for service in self.services)
            step_s = HOLDING_STEP_S if watched else STEP_S
            next_s = min(until_s, self.now_s + step_s, *self._deadlines())
            self._pass(max(next_s, self.now_s))
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            self._follow_pods()
            if self.now_s - self._sampled_s >= SAMPLE_S:
                self._sample()

    def used(self) -> tuple[Usage, ...]:
        """Return what was taken so far, what still runs included."""
        usage = [replace(each) for each in self.usage]
        for pod in self.pods:
            usage[pod.variant].busy_s += pod.busy_s
        return tuple(usage)

    # time

    def _deadlines(self) -> list[float]:
        pods = [p.ready_s for p in self.pods if p.state is PodState.STARTING]
        drains = [p.stops_by_s for p in self.pods if p.state is PodState.DRAINING]
        return [*pods, *drains, *(each[0] for each in self._events[:1])]

    def _pass(self, until_s: float) -> None:
        for service, clients in zip(self.services, self._clients, strict=True):
            service.advance(until_s)
            if clients is not None:
                clients.follow(service, until_s)
        elapsed_s = until_s - self.now_s
        for row, usage in enumerate(self.usage):
            usage.wanted_s += elapsed_s * int(self.wanted[row])
            usage.most = max(usage.most, int(self.wanted[row]))
        for pod in self.pods:
            if pod.state is not PodState.PENDING:
                self.usage[pod.variant].held_s += elapsed_s
        self.now_s = until_s

    def _follow_pods(self) -> None:
        for pod in list(self.pods):
            if pod.state is PodState.STARTING and pod.ready_s <= self.now_s:
                self._become_ready(pod)
            elif pod.state is PodState.DRAINING:
                idle = pod.engine is None or pod.engine.in_flight == 0
                if idle or pod.stops_by_s <= self.now_s:
                    self._stop(pod)
        for pod in self.pods:
            if pod.state is PodState.PENDING:
                self._schedule(pod, None)

    def _sample(self) -> None:
        self._sampled_s = self.now_s
        rows = range(len(self.variants))
        self.samples.append(
            Sample(
                at_s=self.now_s,
                wanted=tuple(int(n) for n in self.wanted),
                ready=tuple(self.count(row, PodState.READY) for row in rows),
                queued=tuple(service.queued for service in self.services),
            )
        )

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), happen))

    # pods

    def _reconcile(self, variant: int) -> None:
        """Start pods, or let the least useful go: pending, starting, then the youngest."""
        living = [p for p in self.pods if p.variant == variant and p.state in LIVING]
        rollout = self._rollouts.get(variant)
        count = int(self.wanted[variant]) + (rollout.surge if rollout else 0)
        for _ in range(count - len(living)):
            self._create(variant)
        going = sorted(living, key=lambda pod: (pod.state, -pod.created_s, -pod.number))
        for pod in going[: max(len(living) - count, 0)]:
            self._release(pod, self.variants[variant].grace_s)

    def _create(self, variant: int, *, cold_start_s: float | None = None) -> None:
        number = next(self._numbers)
        rollout = self._rollouts.get(variant)
        pod = Pod(
            number=number,
            variant=variant,
            created_s=self.now_s,
            name=f"{self.variants[variant].name}-{number}",
            generation=rollout.generation if rollout else 0,
        )
        self.pods.append(pod)
        self._schedule(pod, cold_start_s)

    def _schedule(self, pod: Pod, cold_start_s: float | None) -> None:
        spec = self.variants[pod.variant]
        node = self._nodes.place(spec.accelerator, spec.accelerators_per_replica)
        if node == NOWHERE:
            return
        after_s = self._cold_start_s(spec) if cold_start_s is None else cold_start_s
        pod.node, pod.state, pod.ready_s = node, PodState.STARTING, self.now_s + after_s
        if after_s == 0.0:
            self._become_ready(pod)

    def _cold_start_s(self, spec: VariantSpec) -> float:
        mean_s, cv = spec.cold_start.mean_s, spec.cold_start.cv
        variance = math.log1p(cv**2)
        noise = float(self._random.standard_normal())
        return mean_s * math.exp(math.sqrt(variance) * noise - variance / 2.0)

    def _become_ready(self, pod: Pod) -> None:
        spec, model = self.variants[pod.variant], self.model_of[pod.variant]
        patience_s = self.scenario.models[model].timeout_s
        pod.state = PodState.READY
        pod.engine = PodEngine(
            spec.engine(queue_timeout_s=patience_s),
            start_s=self.now_s,
            max_model_len=spec.max_model_len,
        )
        self.services[model].add(pod, spec.routing_weight)
        if pod.variant in self._rollouts:
            self._roll(pod.variant)

    def _release(self, pod: Pod, notice_s: float) -> None:
        if pod.state is PodState.READY:
            pod.state, pod.stops_by_s = PodState.DRAINING, self.now_s + notice_s
            self.services[self.model_of[pod.variant]].changed()
        elif pod.state in LIVING:
            self._stop(pod)

    def _stop(self, pod: Pod) -> None:
        if pod.engine is not None:
            self.services[self.model_of[pod.variant]].remove(pod, at_s=self.now_s)
            self.usage[pod.variant].busy_s += pod.busy_s
        pod.state = PodState.STOPPED
        self._nodes.free(pod.node, self.variants[pod.variant].accelerators_per_replica)
        self.pods.remove(pod)

    # what goes wrong

    def _happen(self, event: Event) -> None:
        match event.kind:
            case "node-loss":
                self._lose_nodes(event)
            case "stock-out":
                self._nodes.sell_out(event.accelerator, sold_out=True)
                kind = event.accelerator
                self._at(event.until_s, lambda: self._nodes.sell_out(kind, sold_out=False))
            case "spot-loss":
                self._lose_spot(event)
            case "scrape-failure":
                self.scrape_loss_ratio = max(event.share, self._always_lost_ratio)
                self._at(event.until_s, self._read_well)
            case "rolling-update":
                row = self._row(event.variant)
                self._rollouts[row] = Rollout(generation=1)
                self._reconcile(row)

    def _read_well(self) -> None:
        self.scrape_loss_ratio = self._always_lost_ratio

    def _lose_nodes(self, event: Event) -> None:
        lost = self._nodes.lose(event.accelerator, event.nodes)
        for pod in [p for p in self.pods if p.node in lost]:
            self._stop(pod)
        self._at(event.until_s, lambda: self._nodes.bring_back(lost))
        for row in range(len(self.variants)):
            self._reconcile(row)

    def _lose_spot(self, event: Event) -> None:
        row = self._row(event.variant)
        ready = self.ready_pods(row)
        for pod in ready[: math.ceil(event.share * len(ready))]:
            self._release(pod, event.notice_s)
        self._reconcile(row)

    def _roll(self, variant: int) -> None:
        """Let one old pod go for the new one that is ready; the last ends the update."""
        generation = self._rollouts[variant].generation
        old = [p for p in self.pods if p.variant == variant and p.generation < generation]
        running = [p for p in old if p.state in LIVING]
        if running:
            self._release(running[0], self.variants[variant].grace_s)
        if len(running) <= 1:
            del self._rollouts[variant]
        self._reconcile(variant)

    def _row(self, name: str) -> int:
        names = [spec.name for spec in self.variants]
        if name not in names:
            raise InvalidInputError(f"event: no variant {name!r} (known: {', '.join(names)})")
        return names.index(name)
