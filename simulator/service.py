"""A service: the requests of one model, the gateway they come to, and the pods that serve them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer import BoolArray, FloatArray, IntArray

from . import serving_kernel, state
from .compiled import compiled_serve, has_numba, typed_list
from .pod import Pod, PodEngine, PodState
from .workload import Requests

__all__ = ["LOST", "Outcomes", "Service"]

# A status beside the engine's own: the pod was taken from under it.
LOST = 6
NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Columns over all requests that came, in order of arrival; NaN for what did not happen."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    status: IntArray
    ttft_s: FloatArray
    itl_s: FloatArray
    finish_s: FloatArray

    @property
    def finished(self) -> BoolArray:
        """Who was served to the end."""
        return np.asarray(self.status == state.FINISHED)

    def since(self, start_s: float) -> "Outcomes":
        """Return those of requests that came from `start_s` on, on a clock that starts there."""
        rows = self.arrival_s >= start_s
        own = {name: getattr(self, name)[rows] for name in self.__slots__}
        moved = {name: own[name] - start_s for name in ("arrival_s", "finish_s")}
        return Outcomes(**{**own, **moved})


class Service:
    """One model's gateway and pods. `law` is one of `serving_kernel`'s."""

    def __init__(
        self,
        requests: Requests,
        *,
        law: int,
        timeout_s: float,
        max_in_flight: int | None,
        random: np.random.Generator,
        observed: bool,
        compiled: bool | None = None,
    ) -> None:
        self._law = law
        self._limit = NO_LIMIT if max_in_flight is None else max_in_flight
        self._random = random
        self._observed = observed
        self._compiled = has_numba() if compiled is None else compiled
        count = len(requests.arrival_s)
        self._gateway = serving_kernel.Gateway(
            arrival_s=requests.arrival_s.copy(),
            prompt_tokens=requests.prompt_tokens.copy(),
            output_tokens=requests.output_tokens.copy(),
            cached_tokens=requests.cached_tokens.copy(),
            replica=np.full(count, serving_kernel.NOT_SENT),
            timeout_s=timeout_s,
            n=np.array([count, 0, 0], dtype=np.int64),
            clock_s=np.zeros(1),
        )
        self._status = np.full(count, state.PENDING)
        self._first_token_s = np.full(count, np.nan)
        self._finish_s = np.full(count, np.nan)
        self.origin: IntArray = np.zeros(count, dtype=np.int64)  # see `clients`
        self.pods: list[Pod] = []
        self._weights: list[float] = []
        self._pool: serving_kernel.Pool | None = None
        self._engines: object = None
        self._latest = -1

    # what its clients know, and what they send beside the list

    @property
    def status(self) -> IntArray:
        """How each request on the list stands; FINISHED and above for those that ended."""
        return self._status

    @property
    def finish_s(self) -> FloatArray:
        """When each request ended; NaN before, and for who was refused."""
        return self._finish_s

    def requests_of(self, rows: IntArray) -> Requests:
        """Return some requests of the list."""
        gateway = self._gateway
        return Requests(
            arrival_s=gateway.arrival_s[rows],
            prompt_tokens=gateway.prompt_tokens[rows],
            output_tokens=gateway.output_tokens[rows],
            cached_tokens=gateway.cached_tokens[rows],
        )

    def insert(self, requests: Requests, origin: IntArray) -> None:
        """Put requests on the list; none may come before what has been served already."""
        if not len(requests.arrival_s):
            return
        gateway, came = self._gateway, self.arrived
        at = came + np.searchsorted(gateway.arrival_s[came:], requests.arrival_s, side="right")

        def merged(column: NDArray[Any], new: NDArray[Any] | float) -> NDArray[Any]:
            return np.insert(column, at, new)

        self._gateway = gateway._replace(
            arrival_s=merged(gateway.arrival_s, requests.arrival_s),
            prompt_tokens=merged(gateway.prompt_tokens, requests.prompt_tokens),
            output_tokens=merged(gateway.output_tokens, requests.output_tokens),
            cached_tokens=merged(gateway.cached_tokens, requests.cached_tokens),
            replica=merged(gateway.replica, serving_kernel.NOT_SENT),
        )
        gateway.n[serving_kernel.KNOWN] = len(self._gateway.arrival_s)
        self._status = merged(self._status, state.PENDING)
        self._first_token_s = merged(self._first_token_s, np.nan)
        self._finish_s = merged(self._finish_s, np.nan)
        self.origin = merged(self.origin, origin)

    # what the gateway knows

    @property
    def arrived(self) -> int:
        """Requests that have come."""
        return int(self._gateway.n[serving_kernel.ARRIVED])

    @property
    def queued(self) -> int:
        """Requests that wait at the gateway."""
        return self.arrived - int(self._gateway.n[serving_kernel.SENT])

    @property
    def holding(self) -> bool:
        """Whether something waits for room in a pod."""
        return self.queued > 0 and bool(self.pods)

    @property
    def in_flight(self) -> int:
        """Requests that pods have."""
        return sum(pod.engine.in_flight for pod in self.pods if pod.engine is not None)

    def tokens_before_first(self) -> float:
        """Return the uncached prompt tokens of requests that have no first token yet."""
        n = self._gateway.n
        sent, arrived = int(n[serving_kernel.SENT]), int(n[serving_kernel.ARRIVED])
        uncached = (
            self._gateway.prompt_tokens[sent:arrived] - (self._gateway.cached_tokens[sent:arrived])
        )
        total = float(np.sum(uncached))
        for pod in self.pods:
            if pod.engine is None:
                continue
            engine = pod.engine.engine
            rows = slice(0, int(engine.n[state.SUBMITTED]))
            requests = engine.requests
            status = np.asarray(requests.status)[rows]
            first_s = np.asarray(requests.first_token_s)[rows]
            waiting = (status <= state.RUNNING) & np.isnan(first_s)
            computed = (
                np.asarray(requests.prompt_tokens)[rows]
                - (np.asarray(requests.cached_tokens)[rows])
            )
            total += float(computed[waiting].sum())
        return total

    def recent_ttft_s(self, now_s: float, window_s: float) -> FloatArray:
        """Return TTFT of first tokens in the window, and the time waited of who has none."""
        arrival_s = np.asarray(self._gateway.arrival_s)[: self.arrived]
        first_s = self._first_tokens_s(now_s)
        had = (first_s > now_s - window_s) & (first_s <= now_s)
        waits = np.isnan(first_s) & (self._status[: self.arrived] <= state.RUNNING)
        return np.concatenate([(first_s - arrival_s)[had], now_s - arrival_s[waits]])

    def _first_tokens_s(self, now_s: float) -> FloatArray:
        """Return first tokens so far, those of requests that still run, too."""
        first_s = self._first_token_s[: self.arrived].copy()
        for pod in self.pods:
            if pod.engine is not None:
                n, requests = pod.engine.engine.n, pod.engine.engine.requests
                rows = slice(0, int(n[state.SUBMITTED]))
                made = np.asarray(requests.first_token_s)[rows]
                use = made <= now_s
                first_s[pod.engine.key[rows][use]] = made[use] + pod.engine.spec.ttft_constant_s
        return first_s

    # what happens

    def add(self, pod: Pod, weight: float) -> None:
        """Take up a pod that has become ready."""
        self.pods.append(pod)
        self._weights.append(weight)
        self._pool = None

    def remove(self, pod: Pod, *, at_s: float) -> None:
        """Let go of a pod; what it still has in flight is lost."""
        if pod.engine is not None:
            self._harvest(pod)
            lost = pod.engine.keys_in_flight()
            self._status[lost] = LOST
            self._finish_s[lost] = at_s
        place = self.pods.index(pod)
        del self.pods[place], self._weights[place]
        self._pool = None

    def changed(self) -> None:
        """Note that a pod drains, or that weights moved."""
        self._pool = None

    def advance(self, until_s: float) -> None:
        """Let everything before `until_s` happen."""
        n, arrival_s = self._gateway.n, self._gateway.arrival_s
        gave_up_from = int(n[serving_kernel.SENT])
        if not self.pods:
            n[serving_kernel.ARRIVED] = np.searchsorted(arrival_s, until_s, side="left")
            self._give_up(until_s)
            self._gateway.clock_s[0] = until_s
        else:
            coming = int(np.searchsorted(arrival_s, until_s, side="left"))
            pool = self._laid_out(coming - gave_up_from + 1)
            run = compiled_serve() if self._compiled else serving_kernel.serve
            run(self._engines, pool, self._gateway, self._law, until_s, self._random)
            self._latest = int(pool.number[pool.latest[0]])
            for pod in self.pods:
                self._harvest(pod)
        self._note_given_up(gave_up_from)

    def outcomes(self) -> Outcomes:
        """Return what everybody who came got; who still waits has status PENDING or above."""
        came = slice(0, self.arrived)
        gateway = self._gateway
        output = gateway.output_tokens[came]
        first_s, finish_s = self._first_token_s[came], self._finish_s[came]
        finished = self._status[came] == state.FINISHED
        intervals = np.maximum(output - 1, 1)
        return Outcomes(
            arrival_s=gateway.arrival_s[came],
            prompt_tokens=gateway.prompt_tokens[came],
            output_tokens=output,
            status=self._status[came],
            ttft_s=np.where(finished, first_s - gateway.arrival_s[came], np.nan),
            itl_s=np.where(finished, (finish_s - first_s) / intervals, np.nan),
            finish_s=finish_s,
        )

    def _laid_out(self, more: int) -> serving_kernel.Pool:
        """Return the pool with room for `more` requests in every engine."""
        engines = [pod.engine for pod in self.pods if pod.engine is not None]
        fresh = [engine.make_room(more) for engine in engines]
        if self._pool is None or any(fresh):
            self._pool = self._new_pool(engines)
        for place, engine in enumerate(engines):
            self._pool.ended_before[place] = engine.ended_before
        return self._pool

    def _new_pool(self, engines: list[PodEngine]) -> serving_kernel.Pool:
        places = [pod.number for pod in self.pods]
        latest = places.index(self._latest) if self._latest in places else 0
        listed = typed_list if self._compiled else list
        self._engines = listed([engine.engine for engine in engines])

        def ints(values: Sequence[int]) -> IntArray:
            return np.array(values, dtype=np.int64)

        return serving_kernel.Pool(
            ready=ints([pod.state == PodState.READY for pod in self.pods]),
            weight=np.array(self._weights, dtype=np.float64),
            limit=ints([self._limit] * len(engines)),
            ended_before=ints([engine.ended_before for engine in engines]),
            number=ints(places),
            blocks=ints([engine.spec.usable_blocks for engine in engines]),
            key=listed([engine.key for engine in engines]),
            latest=ints([latest]),
        )

    def _harvest(self, pod: Pod) -> None:
        if pod.engine is None:
            return
        ended = pod.engine.ended(observed=self._observed)
        if not len(ended.key):
            return
        self._status[ended.key] = ended.status
        self._first_token_s[ended.key] = ended.first_token_s
        self._finish_s[ended.key] = ended.finish_s

    def _give_up(self, until_s: float) -> None:
        n, gateway = self._gateway.n, self._gateway
        sent, arrived = int(n[serving_kernel.SENT]), int(n[serving_kernel.ARRIVED])
        late = until_s - gateway.arrival_s[sent:arrived] >= gateway.timeout_s
        gateway.replica[sent:arrived][late] = serving_kernel.GAVE_UP
        n[serving_kernel.SENT] += int(late.sum())  # the oldest come first

    def _note_given_up(self, since: int) -> None:
        sent = int(self._gateway.n[serving_kernel.SENT])
        rows = since + np.flatnonzero(self._gateway.replica[since:sent] == serving_kernel.GAVE_UP)
        if len(rows):
            self._status[rows] = state.TIMED_OUT
            self._finish_s[rows] = self._gateway.arrival_s[rows] + self._gateway.timeout_s
