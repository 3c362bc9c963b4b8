"""Replicas of several models in simulated time: starting, routing, draining.

Knows no wall clock and no network: `advance` takes everything that happens up to a moment
in order of time, so what happens doesn't depend on how often it is called (only a drained
replica is dropped at the next call). Requests that find no ready replica wait at the
gateway for the next one.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optimizer.errors import InvalidInputError

from .attainment import Attainment, Ending, RequestRecord
from .engine import RequestStatus
from .live import EndedRequest
from .replica import Replica, ReplicaState, Variant
from .router import Router
from .workload import Request, RequestStream

__all__ = ["Cluster"]

ENDINGS = {
    RequestStatus.FINISHED: Ending.FINISHED,
    RequestStatus.REJECTED: Ending.REJECTED,
    RequestStatus.TIMED_OUT: Ending.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request on its way: when it came to the gateway, and where it went."""

    request: Request
    replica: Replica


class Cluster:
    """Variants, their replicas, and the requests that are routed to them."""

    def __init__(
        self,
        variants: Sequence[Variant],
        streams: Mapping[str, RequestStream],
        *,
        routers: Mapping[str, Router],
        attainment: Attainment,
        start_s: float,
        grace_s: float = 30.0,
        on_end: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        self.variants = {variant.name: variant for variant in variants}
        self.now_s = start_s
        self.attainment = attainment
        self._streams = streams
        self._routers = routers
        self._grace_s = grace_s
        self._on_end = on_end
        self._replicas: list[Replica] = []
        self._sent: dict[int, _Sent] = {}
        self._backlog: dict[str, deque[Request]] = {each.model: deque() for each in variants}
        self._created: dict[str, int] = dict.fromkeys(self.variants, 0)
        self._keys = 0

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """All replicas that have not stopped, the oldest first."""
        return tuple(self._replicas)

    def count(self, variant: str, *states: ReplicaState) -> int:
        """Return a variant's replicas in `states`; by default those that are wanted."""
        wanted = states or (ReplicaState.STARTING, ReplicaState.READY)
        return sum(r.variant.name == variant and r.state in wanted for r in self._replicas)

    def waiting_at_gateway(self, model: str) -> int:
        """Return the requests for which no replica has been ready yet."""
        return len(self._backlog[model])

    def set_replicas(self, variant: str, count: int, *, cold_start_s: float | None = None) -> None:
        """Start replicas, or let the youngest go: starting ones at once, ready ones drained.

        `cold_start_s` overrides the variant's; 0 makes replicas that are ready now.
        """
        if count < 0:
            raise InvalidInputError(f"count is {count} for {variant}; must be at least 0")
        spec = self.variants[variant]
        after_s = spec.cold_start_s if cold_start_s is None else cold_start_s
        wanted = [
            replica
            for replica in self._replicas
            if replica.variant.name == variant
            and replica.state in {ReplicaState.STARTING, ReplicaState.READY}
        ]
        for replica in reversed(wanted[count:]):
            self._release(replica)
        for _ in range(count - len(wanted)):
            self._start(spec, after_s)
        self.advance(self.now_s)

    def start_replica(self, variant: str, name: str, *, cold_start_s: float | None = None) -> None:
        """Start one replica under a name that somebody else gives, as a pod has one."""
        spec = self.variants[variant]
        self._start(spec, spec.cold_start_s if cold_start_s is None else cold_start_s, name)
        self.advance(self.now_s)

    def release_replica(self, name: str) -> None:
        """Let one replica go; one that isn't there, or is going, stays as it is."""
        for replica in self.replicas:
            if replica.name == name and replica.state is not ReplicaState.DRAINING:
                self._release(replica)

    def advance(self, until_s: float) -> None:
        """Let everything up to `until_s` happen."""
        while True:
            starting = [r for r in self._replicas if r.state is ReplicaState.STARTING]
            ready_s = min((r.ready_s for r in starting), default=math.inf)
            arrival_s, model = min(
                ((stream.next_arrival_s, name) for name, stream in self._streams.items()),
                default=(math.inf, ""),
            )
            if min(ready_s, arrival_s) > until_s:
                break
            if ready_s <= arrival_s:
                self._become_ready(min(starting, key=lambda r: r.ready_s))
            else:
                request = self._streams[model].take()
                self.attainment.arrive(model, request.arrival_s)
                self._dispatch(model, request, request.arrival_s)
        self.now_s = max(self.now_s, until_s)
        for replica in list(self._replicas):
            self._run(replica, min(until_s, replica.stops_by_s))
            if replica.state is ReplicaState.DRAINING:
                self._drain(replica, until_s)

    def finish(self, within_s: float) -> None:
        """Let nothing more arrive, and run until what is in flight has ended or time is up."""
        self._streams = {}
        deadline_s = self.now_s + within_s
        while self._sent and self.now_s < deadline_s:
            self.advance(min(self.now_s + 1.0, deadline_s))

    def _start(self, variant: Variant, after_s: float, name: str | None = None) -> None:
        number = self._created[variant.name]
        self._created[variant.name] += 1
        replica = Replica(
            name=name or f"{variant.name}-{number}",
            variant=variant,
            created_s=self.now_s,
            ready_s=self.now_s + after_s,
            seed=number,
        )
        self._replicas.append(replica)

    def _release(self, replica: Replica) -> None:
        if replica.state is ReplicaState.STARTING:
            self._stop(replica)
        else:
            replica.state = ReplicaState.DRAINING
            replica.stops_by_s = self.now_s + self._grace_s

    def _become_ready(self, replica: Replica) -> None:
        replica.state = ReplicaState.READY
        model = replica.variant.model
        backlog = self._backlog[model]
        while backlog:
            self._dispatch(model, backlog.popleft(), replica.ready_s)

    def _dispatch(self, model: str, request: Request, at_s: float) -> None:
        """Send a request to a ready replica, or keep it at the gateway."""
        ready = [
            replica
            for replica in self._replicas
            if replica.state is ReplicaState.READY and replica.variant.model == model
        ]
        if not ready:
            self._backlog[model].append(request)
            return
        for replica in ready:
            self._run(replica, at_s)
        replica = ready[self._routers[model].choose(ready)]
        self._sent[self._keys] = _Sent(request, replica)
        replica.submit(
            self._keys,
            arrival_s=at_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            cached_tokens=request.cached_tokens,
        )
        self._keys += 1

    def _run(self, replica: Replica, until_s: float) -> None:
        for ended in replica.advance(until_s):
            self._report(self._sent.pop(ended.key), ended)

    def _drain(self, replica: Replica, now_s: float) -> None:
        if replica.in_flight == 0:
            self._stop(replica)
        elif now_s >= replica.stops_by_s:
            lost = [key for key, sent in self._sent.items() if sent.replica is replica]
            for key in lost:
                self._report(self._sent.pop(key), None)
            self._stop(replica)

    def _stop(self, replica: Replica) -> None:
        replica.state = ReplicaState.STOPPED
        self._replicas.remove(replica)

    def _report(self, sent: _Sent, ended: EndedRequest | None) -> None:
        """Record how a request ended; None if its replica was taken from under it."""
        arrival_s = sent.request.arrival_s
        intervals = max(sent.request.output_tokens - 1, 1)
        record = RequestRecord(
            model=sent.replica.variant.model,
            variant=sent.replica.variant.name,
            replica=sent.replica.name,
            ending=Ending.LOST if ended is None else ENDINGS[ended.status],
            arrival_s=arrival_s,
            ttft_s=math.nan if ended is None else ended.first_token_s - arrival_s,
            itl_s=(
                math.nan if ended is None else (ended.finish_s - ended.first_token_s) / intervals
            ),
            end_s=sent.replica.stops_by_s if ended is None else ended.finish_s,
        )
        self.attainment.end(record)
        self._on_end(record)
