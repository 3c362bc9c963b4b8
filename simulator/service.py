"""A service: the requests of one model, the gateway they come to, and the pods that serve them."""

from collections.abc import Sequence

import numpy as np

from optimizer import FloatArray, IntArray

from . import serving_kernel, state
from .compiled import compiled_serve, has_numba, typed_list
from .ledger import Ledger
from .outcomes import Outcomes
from .pod import Pod, PodEngine, PodState
from .workload import Requests

__all__ = ["Service"]

NO_LIMIT = 1 << 40


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
        self.ledger = Ledger(requests, timeout_s=timeout_s)
        self.pods: list[Pod] = []
        self._weights: list[float] = []
        self._pool: serving_kernel.Pool | None = None
        self._engines: object = None
        self._latest = -1

    # what the gateway knows

    @property
    def arrived(self) -> int:
        """Requests that have come."""
        return self.ledger.arrived

    @property
    def queued(self) -> int:
        """Requests that wait at the gateway."""
        return self.ledger.arrived - self.ledger.sent

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
        gateway, queued = self.ledger.gateway, slice(self.ledger.sent, self.arrived)
        total = float(np.sum(gateway.prompt_tokens[queued] - gateway.cached_tokens[queued]))
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
        arrival_s = np.asarray(self.ledger.gateway.arrival_s)[: self.arrived]
        first_s = self._first_tokens_s(now_s)
        had = (first_s > now_s - window_s) & (first_s <= now_s)
        waits = np.isnan(first_s) & (self.ledger.status[: self.arrived] <= state.RUNNING)
        return np.concatenate([(first_s - arrival_s)[had], now_s - arrival_s[waits]])

    def _first_tokens_s(self, now_s: float) -> FloatArray:
        """Return first tokens so far, those of requests that still run, too."""
        first_s = self.ledger.first_token_s[: self.arrived].copy()
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
            self.ledger.note_lost(pod.engine.keys_in_flight(), at_s=at_s)
        place = self.pods.index(pod)
        del self.pods[place], self._weights[place]
        self._pool = None

    def changed(self) -> None:
        """Note that a pod drains, or that weights moved."""
        self._pool = None

    def advance(self, until_s: float) -> None:
        """Let everything before `until_s` happen."""
        gateway, sent = self.ledger.gateway, self.ledger.sent
        if not self.pods:
            self.ledger.pass_unserved(until_s)
        else:
            coming = int(np.searchsorted(gateway.arrival_s, until_s, side="left"))
            pool = self._laid_out(coming - sent + 1)
            run = compiled_serve() if self._compiled else serving_kernel.serve
            run(self._engines, pool, gateway, self._law, until_s, self._random)
            self._latest = int(pool.number[pool.latest[0]])
            for pod in self.pods:
                self._harvest(pod)
        self.ledger.note_given_up(sent)

    def outcomes(self) -> Outcomes:
        """Return what everybody who came got; who still waits has status PENDING or above."""
        return self.ledger.outcomes()

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
        if len(ended.key):
            self.ledger.note_ended(ended)
