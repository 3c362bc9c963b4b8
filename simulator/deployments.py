"""The controllers of a cluster: pods follow the counts that were asked for.

A Deployment per variant with its ReplicaSet, the scheduler and the kubelet in one: pods are
created, placed on nodes, start, become ready, drain and stop.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import IntArray
from optimizer.errors import InvalidInputError

from .cluster_spec import VariantSpec
from .nodes import NOWHERE, Nodes
from .pod import Pod, PodEngine, PodState
from .scenario import Scenario
from .service import Service

__all__ = ["Deployments"]

LIVING = (PodState.PENDING, PodState.STARTING, PodState.READY)


@dataclass(slots=True, eq=False)
class Rollout:
    """A rolling update under way: pods of an older generation are replaced one by one."""

    generation: int
    surge: int = 1


class Deployments:
    """All variants' counts and pods. Its clock is moved by who owns it."""

    def __init__(
        self, scenario: Scenario, services: Sequence[Service], *, random: np.random.Generator
    ) -> None:
        self.now_s = 0.0
        self.variants = scenario.variants
        self.wanted: IntArray = np.zeros(len(self.variants), dtype=np.int64)
        self.pods: list[Pod] = []
        self.stopped_busy_s = [0.0] * len(self.variants)  # computed by pods that are gone
        self.nodes = Nodes(scenario.nodes)
        self._model_of = scenario.model_of
        self._patience_s = tuple(model.timeout_s for model in scenario.models)
        self._services = services
        self._random = random
        self._numbers = itertools.count()
        self._rollouts: dict[int, Rollout] = {}
        self.provision([spec.initial_replicas for spec in self.variants])

    def count(self, variant: int, *states: PodState) -> int:
        """Return a variant's pods in `states`."""
        return sum(pod.variant == variant and pod.state in states for pod in self.pods)

    def ready_pods(self, variant: int) -> list[Pod]:
        """Return a variant's pods that take requests, the oldest first."""
        return [p for p in self.pods if p.variant == variant and p.state is PodState.READY]

    def rolling(self, variant: int) -> bool:
        """Return whether a variant's pods are being replaced by a new version."""
        return variant in self._rollouts

    def row(self, name: str) -> int:
        """Return the row of the variant of that name."""
        names = [spec.name for spec in self.variants]
        if name not in names:
            raise InvalidInputError(f"event: no variant {name!r} (known: {', '.join(names)})")
        return names.index(name)

    # what is asked of them

    def scale(self, variant: int, count: int) -> None:
        """Have so many pods of a variant from now on."""
        self.wanted[variant] = count
        self.reconcile(variant)

    def provision(self, counts: Sequence[int]) -> None:
        """Have these counts from the start, ready: for who plans before anything happens."""
        for row, count in enumerate(counts):
            self.wanted[row] = count
            living = self.ready_pods(row)
            for pod in living[count:]:
                self.stop(pod)
            for _ in range(count - len(living)):
                self._create(row, cold_start_s=0.0)

    def update(self, variant: int) -> None:
        """Begin to replace a variant's pods one by one."""
        self._rollouts[variant] = Rollout(generation=1)
        self.reconcile(variant)

    def follow(self) -> None:
        """Let pods become ready, stop, and be placed where room has come."""
        for pod in list(self.pods):
            if pod.state is PodState.STARTING and pod.ready_s <= self.now_s:
                self._become_ready(pod)
            elif pod.state is PodState.DRAINING:
                idle = pod.engine is None or pod.engine.in_flight == 0
                if idle or pod.stops_by_s <= self.now_s:
                    self.stop(pod)
        for pod in self.pods:
            if pod.state is PodState.PENDING:
                self._schedule(pod, None)

    def deadlines_s(self) -> list[float]:
        """Return when pods change next by themselves."""
        pods = [p.ready_s for p in self.pods if p.state is PodState.STARTING]
        drains = [p.stops_by_s for p in self.pods if p.state is PodState.DRAINING]
        return [*pods, *drains]

    def reconcile(self, variant: int) -> None:
        """Start pods, or let the least useful go: pending, starting, then the youngest."""
        living = [p for p in self.pods if p.variant == variant and p.state in LIVING]
        rollout = self._rollouts.get(variant)
        count = int(self.wanted[variant]) + (rollout.surge if rollout else 0)
        for _ in range(count - len(living)):
            self._create(variant)
        going = sorted(living, key=lambda pod: (pod.state, -pod.created_s, -pod.number))
        for pod in going[: max(len(living) - count, 0)]:
            self.release(pod, self.variants[variant].grace_s)

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
        node = self.nodes.place(spec.accelerator, spec.accelerators_per_replica)
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
        spec, model = self.variants[pod.variant], self._model_of[pod.variant]
        patience_s = self._patience_s[model]
        pod.state = PodState.READY
        pod.engine = PodEngine(
            spec.engine(queue_timeout_s=patience_s),
            start_s=self.now_s,
            max_model_len=spec.max_model_len,
        )
        self._services[model].add(pod, spec.routing_weight)
        if pod.variant in self._rollouts:
            self._roll(pod.variant)

    def release(self, pod: Pod, notice_s: float) -> None:
        """Let a pod go, with this time for what it has."""
        if pod.state is PodState.READY:
            pod.state, pod.stops_by_s = PodState.DRAINING, self.now_s + notice_s
            self._services[self._model_of[pod.variant]].changed()
        elif pod.state in LIVING:
            self.stop(pod)

    def stop(self, pod: Pod) -> None:
        """End a pod, whatever it has."""
        if pod.engine is not None:
            self._services[self._model_of[pod.variant]].remove(pod, at_s=self.now_s)
            self.stopped_busy_s[pod.variant] += pod.busy_s
        pod.state = PodState.STOPPED
        self.nodes.free(pod.node, self.variants[pod.variant].accelerators_per_replica)
        self.pods.remove(pod)

    def _roll(self, variant: int) -> None:
        """Let one old pod go for the new one that is ready; the last ends the update."""
        generation = self._rollouts[variant].generation
        old = [p for p in self.pods if p.variant == variant and p.generation < generation]
        running = [p for p in old if p.state in LIVING]
        if running:
            self.release(running[0], self.variants[variant].grace_s)
        if len(running) <= 1:
            del self._rollouts[variant]
        self.reconcile(variant)
