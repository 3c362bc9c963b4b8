"""One replica in a replay: its life, and an engine of arrays that compiled code advances.

Beside `replica.Replica`, which serves live pages, this one serves whole replays: its
engine's columns stay where they are, so that machine code may keep a hold on them.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer import FloatArray, IntArray

from . import state
from .engine import EngineSpec, RequestStatus
from .live import EndedRequest
from .request_histograms import RequestHistograms

__all__ = ["Ended", "Pod", "PodEngine", "PodState"]

FIRST_ROWS = 1024
FILLS = (0.0, 0, 0, 0, state.PENDING, math.nan, math.nan, math.nan, math.nan, 0, 0, 0)


class PodState(IntEnum):
    """A pod's life, in order."""

    PENDING = 0  # no node has room
    STARTING = 1
    READY = 2
    DRAINING = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ended:
    """Columns over requests that ended; `key` is what they were submitted as."""

    key: IntArray
    status: IntArray
    first_token_s: FloatArray
    finish_s: FloatArray


class PodEngine:
    """An engine from `start_s` on, for `serving_kernel.serve`."""

    def __init__(self, spec: EngineSpec, *, start_s: float, max_model_len: int) -> None:
        self.spec = spec
        self.engine = state.new_engine(
            spec.law(), _columns(FIRST_ROWS), free_blocks=spec.usable_blocks, start_s=start_s
        )
        self.engine.n[state.SUBMITTED] = 0
        self.key = np.zeros(FIRST_ROWS, dtype=np.int64)
        self.ended_before = 0  # ended requests without a row; negative never
        self.requests = RequestHistograms(
            max_model_len=max_model_len,
            itl_bounds_s=state.ITL_BOUNDS_S,
            ttft_constant_s=spec.ttft_constant_s,
        )
        self._reported = 0

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return int(self.engine.n[state.ROWS])

    @property
    def waiting(self) -> int:
        """Requests in the queue, the preempted with them."""
        return int(self.engine.n[state.QUEUED] + self.engine.n[state.PREEMPTED])

    @property
    def in_flight(self) -> int:
        """Requests submitted that have not ended."""
        n = self.engine.n
        return int(n[state.SUBMITTED] - n[state.ENDED]) - self.ended_before

    @property
    def kv_cache_usage_ratio(self) -> float:
        """Blocks held over blocks there are."""
        return float(1.0 - self.engine.n[state.FREE_BLOCKS] / self.spec.usable_blocks)

    @property
    def meters(self) -> state.Meters:
        """What the engine has counted."""
        return self.engine.meters

    def keys_in_flight(self) -> IntArray:
        """Return what the requests that have not ended were submitted as."""
        n = self.engine.n
        rows = np.arange(n[state.SUBMITTED])
        status = np.asarray(self.engine.requests.status)[: n[state.SUBMITTED]]
        return np.asarray(self.key[rows[status <= state.RUNNING]])

    def make_room(self, more: int) -> bool:
        """Have rows for `more` requests; tell whether the columns are new ones."""
        n = self.engine.n
        if n[state.SUBMITTED] + more <= len(self.key):
            return False
        self._forget()
        if n[state.SUBMITTED] + more <= len(self.key):
            return False
        rows = max(2 * len(self.key), int(n[state.SUBMITTED]) + more)
        columns, old = _columns(rows), self.engine.requests
        for column, before in zip(columns, old, strict=True):
            np.asarray(column)[: len(self.key)] = before
        self.key = np.concatenate([self.key, np.zeros(rows - len(self.key), dtype=np.int64)])
        self.engine = self.engine._replace(requests=columns)
        return True

    def ended(self, *, observed: bool) -> Ended:
        """Return who ended since the last call; `observed` counts them for the metrics."""
        requests, n = self.engine.requests, self.engine.n
        rows = np.asarray(requests.ended)[self._reported : n[state.ENDED]].copy()
        self._reported = int(n[state.ENDED])
        status = np.asarray(requests.status)[rows]
        served_s = np.where(status == state.FINISHED, self.spec.ttft_constant_s, 0.0)
        ended = Ended(
            key=self.key[rows],
            status=status,
            first_token_s=np.asarray(requests.first_token_s)[rows] + self.spec.ttft_constant_s,
            finish_s=np.asarray(requests.finish_s)[rows] + served_s,
        )
        if observed:
            self._observe(rows, ended)
        return ended

    def _observe(self, rows: IntArray, ended: Ended) -> None:
        requests = self.engine.requests
        for at, row in enumerate(rows.tolist()):
            self.requests.observe(
                EndedRequest(
                    key=row,
                    status=RequestStatus(int(ended.status[at])),
                    arrival_s=float(requests.arrival_s[row]),
                    prompt_tokens=int(requests.prompt_tokens[row]),
                    output_tokens=int(requests.output_tokens[row]),
                    cached_tokens=int(requests.cached_tokens[row]),
                    scheduled_s=float(requests.scheduled_s[row]),
                    first_token_s=float(ended.first_token_s[at]),
                    finish_s=float(ended.finish_s[at]),
                    preemptions=int(requests.preemptions[row]),
                )
            )

    def _forget(self) -> None:
        """Move the columns up to where the oldest request that lives comes first."""
        n, batch, requests = self.engine.n, self.engine.batch, self.engine.requests
        while n[state.HEAD] < n[state.CURSOR] and requests.status[n[state.HEAD]] != state.WAITING:
            n[state.HEAD] += 1
        held = (*batch.request[: n[state.ROWS]], *batch.preempted[: n[state.PREEMPTED]])
        oldest = int(min(n[state.HEAD], n[state.CURSOR], *held))
        if oldest == 0:
            return
        flying = self.in_flight
        for column, fill in zip(requests, FILLS, strict=True):
            _moved_up(np.asarray(column), oldest, fill)
        _moved_up(self.key, oldest, 0)
        np.asarray(batch.request)[: n[state.ROWS]] -= oldest
        np.asarray(batch.preempted)[: n[state.PREEMPTED]] -= oldest
        for counter in (state.SUBMITTED, state.CURSOR, state.HEAD):
            n[counter] -= oldest
        n[state.ENDED] = self._reported = 0
        self.ended_before = int(n[state.SUBMITTED]) - flying


def _moved_up(column: NDArray[Any], by: int, fill: float) -> None:
    kept = len(column) - by
    column[:kept] = column[by:]
    column[kept:] = fill


def _columns(rows: int) -> state.Requests:
    def ints() -> IntArray:
        return np.zeros(rows, dtype=np.int64)

    return state.new_requests(np.zeros(rows), ints(), ints(), ints())


@dataclass(slots=True, kw_only=True, eq=False)
class Pod:
    """One replica of a variant; its engine is there from `ready_s` on."""

    number: int
    variant: int
    created_s: float
    state: PodState = PodState.PENDING
    node: int = -1
    ready_s: float = math.inf
    stops_by_s: float = math.inf
    engine: PodEngine | None = None
    generation: int = 0
    name: str = field(default="")

    @property
    def busy_s(self) -> float:
        """For how long its engine has computed. [s]"""
        return 0.0 if self.engine is None else float(self.engine.meters.sums[state.BUSY_S])
