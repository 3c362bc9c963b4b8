"""Everything but the policy, in simulated time: services, pods, nodes and what befalls them.

Time moves by `advance` from one event to the next; what a policy does between two calls is
`scale`, the scale subresource of a Deployment.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from optimizer import IntArray
from optimizer.errors import InvalidInputError

from .clients import Clients
from .demand import Demand, draw_demand
from .demand_spec import ModelSpec
from .deployments import Deployments
from .history import Action, Sample, Usage
from .incidents import Incidents
from .pod import Pod, PodState
from .scenario import Scenario
from .service import Service

__all__ = ["World"]

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
            self._service(model, demand, observed=observed, compiled=compiled)
            for model, demand in zip(scenario.models, self.demand, strict=True)
        )
        self._clients = tuple(
            _clients(model, random, end_s=scenario.duration_s)
            for model, random in zip(scenario.models, streams, strict=True)
        )
        self.variants = scenario.variants
        self.model_of = scenario.model_of
        self.usage = [Usage() for _ in self.variants]
        self.actions: list[Action] = []
        self.samples: list[Sample] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sampled_s = -math.inf
        self.metrics_late_s = 0.0
        self._deployments = Deployments(scenario, self.services, random=self._random)
        self._incidents = Incidents(self._deployments, self._at)
        for event in scenario.events:
            self._at(event.at_s, partial(self._incidents.happen, event))
        self._sample()

    def _service(
        self, model: ModelSpec, demand: Demand, *, observed: bool, compiled: bool | None
    ) -> Service:
        return Service(
            demand.requests,
            law=LAWS[model.routing],
            timeout_s=model.timeout_s,
            max_in_flight=model.max_in_flight_per_replica,
            random=np.random.default_rng(self._random.integers(1 << 63)),
            observed=observed,
            compiled=compiled,
        )

    # what a policy may look at

    @property
    def wanted(self) -> IntArray:
        """Replicas asked for, per variant."""
        return self._deployments.wanted

    @property
    def pods(self) -> list[Pod]:
        """All pods there are, in the order in which they were created."""
        return self._deployments.pods

    def count(self, variant: int, *states: PodState) -> int:
        """Return a variant's pods in `states`."""
        return self._deployments.count(variant, *states)

    def ready_pods(self, variant: int) -> list[Pod]:
        """Return a variant's pods that take requests, the oldest first."""
        return self._deployments.ready_pods(variant)

    @property
    def scrape_loss_ratio(self) -> float:
        """Share of scrapes that fail now."""
        return self._incidents.scrape_loss_ratio

    def rolling(self, variant: int) -> bool:
        """Return whether a variant's pods are being replaced by a new version."""
        return self._deployments.rolling(variant)

    def scrape_fails(self) -> bool:
        """Draw whether one scrape fails now."""
        share = self.scrape_loss_ratio
        return bool(share) and bool(self._random.random() < share)

    def lose_scrapes(self, share: float) -> None:
        """Let this share of the scrapes fail from now on, whatever else happens."""
        self._incidents.lose_scrapes(share)

    def delay_metrics(self, late_s: float) -> None:
        """Let every scrape show what was so long ago."""
        self.metrics_late_s = late_s

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
        self._deployments.scale(variant, count)

    def provision(self, counts: Sequence[int]) -> None:
        """Have these counts from the start, ready: for who plans before anything happens."""
        self._deployments.provision(counts)

    def advance(self, until_s: float) -> None:
        """Let everything up to `until_s` happen."""
        while self.now_s < until_s:
            watched = any(self._clients) or any(service.holding for service in self.services)
            step_s = HOLDING_STEP_S if watched else STEP_S
            next_s = min(until_s, self.now_s + step_s, *self._deadlines_s())
            self._pass(max(next_s, self.now_s))
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            self._deployments.follow()
            if self.now_s - self._sampled_s >= SAMPLE_S:
                self._sample()

    def used(self) -> tuple[Usage, ...]:
        """Return what was taken so far, what still runs included."""
        busy_s = list(self._deployments.stopped_busy_s)
        for pod in self.pods:
            busy_s[pod.variant] += pod.busy_s
        return tuple(replace(u, busy_s=b) for u, b in zip(self.usage, busy_s, strict=True))

    # time

    def _deadlines_s(self) -> list[float]:
        return [*self._deployments.deadlines_s(), *(each[0] for each in self._events[:1])]

    def _pass(self, until_s: float) -> None:
        for service, clients in zip(self.services, self._clients, strict=True):
            service.advance(until_s)
            if clients is not None:
                clients.follow(service.ledger, until_s)
        elapsed_s = until_s - self.now_s
        for row, usage in enumerate(self.usage):
            usage.wanted_s += elapsed_s * int(self.wanted[row])
            usage.most = max(usage.most, int(self.wanted[row]))
        for pod in self.pods:
            if pod.state is not PodState.PENDING:
                self.usage[pod.variant].held_s += elapsed_s
        self.now_s = self._deployments.now_s = until_s

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


def _clients(model: ModelSpec, random: np.random.Generator, *, end_s: float) -> Clients | None:
    """Return clients who react to answers, where the model has such."""
    spec, phases = model.workload.clients, model.workload.phases
    return Clients(spec, phases, end_s=end_s, random=random) if spec.react else None
