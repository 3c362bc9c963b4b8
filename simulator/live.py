"""The same engine, driven while requests arrive: submit, advance, see what ended.

Runs `kernel` on lists, so that it needs no compiler and starts at once. However often it
is advanced, requests see what `simulate` gives for the same arrivals: its time follows
the step-time law, never the host's clock.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from optimizer.errors import InvalidInputError

from . import kernel, state
from .engine import EngineSpec, RequestStatus, check_requests

__all__ = ["EndedRequest", "LiveEngine"]

# Ended requests are forgotten in lots of this many, to keep the columns short.
FORGET_AFTER = 1024

# The rest of a row of `state.Requests` that has yet to arrive.
UNTOUCHED = (state.PENDING, math.nan, math.nan, math.nan, math.nan, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """One request's way through the engine; NaN for what did not happen.

    `first_token_s` and `finish_s` are the client's, `scheduled_s` the engine's.
    """

    key: int
    status: RequestStatus
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    scheduled_s: float
    first_token_s: float
    finish_s: float
    preemptions: int


class LiveEngine:
    """One engine from `start_s` on. Not for use from several threads."""

    def __init__(self, spec: EngineSpec, *, start_s: float, seed: int = 0) -> None:
        self.spec = spec
        self._random = np.random.default_rng(seed)
        no_floats, no_ints = np.empty(0), np.empty(0, dtype=np.int64)
        self._engine = state.as_lists(
            state.new_engine(
                spec.law(),
                state.new_requests(no_floats, no_ints, no_ints, no_ints),
                free_blocks=spec.usable_blocks,
                start_s=start_s,
            )
        )
        self._columns = cast("tuple[list[Any], ...]", self._engine.requests)
        self._keys: list[int] = []
        self._reported = 0
        self._in_flight = 0
        self._latest_s = start_s

    def submit(
        self,
        key: int,
        *,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
    ) -> None:
        """Hand over a request that arrives at `arrival_s`, not before the last one did."""
        if not self._latest_s <= arrival_s < math.inf:
            raise InvalidInputError(
                f"arrival_s is {arrival_s}; the engine has been run to {self._latest_s}: "
                "submit requests in order, before advancing past their arrival"
            )
        lengths = [np.array([x]) for x in (prompt_tokens, output_tokens, cached_tokens)]
        check_requests(self.spec, np.array([arrival_s]), *lengths)
        new = (arrival_s, prompt_tokens, output_tokens, cached_tokens)
        for column, value in zip(self._columns, new + UNTOUCHED, strict=True):
            column.append(value)
        self._keys.append(key)
        self._engine.n[state.SUBMITTED] += 1
        self._in_flight += 1
        self._latest_s = arrival_s

    def advance(self, until_s: float) -> list[EndedRequest]:
        """Run every step that ends before `until_s`; return the requests that ended by it."""
        self._latest_s = max(self._latest_s, until_s)
        kernel.advance(self._engine, until_s, self._random)
        ended = self._engine.n[state.ENDED]
        rows = self._engine.requests.ended[self._reported : ended]
        self._reported = ended
        self._in_flight -= len(rows)
        requests = [self._ended(row) for row in rows]
        if ended >= FORGET_AFTER:
            self._forget()
        return requests

    def _ended(self, row: int) -> EndedRequest:
        requests = self._engine.requests
        status = RequestStatus(requests.status[row])
        constant_s = self.spec.ttft_constant_s
        served = status is RequestStatus.FINISHED
        return EndedRequest(
            key=self._keys[row],
            status=status,
            arrival_s=requests.arrival_s[row],
            prompt_tokens=requests.prompt_tokens[row],
            output_tokens=requests.output_tokens[row],
            cached_tokens=requests.cached_tokens[row],
            scheduled_s=requests.scheduled_s[row],
            first_token_s=requests.first_token_s[row] + constant_s,
            finish_s=requests.finish_s[row] + (constant_s if served else 0.0),
            preemptions=requests.preemptions[row],
        )

    def _forget(self) -> None:
        """Drop the columns' front, up to the oldest request that lives."""
        n, batch, requests = self._engine.n, self._engine.batch, self._engine.requests
        while n[state.HEAD] < n[state.CURSOR] and (requests.status[n[state.HEAD]] != state.WAITING):
            n[state.HEAD] += 1
        held = (*batch.request[: n[state.ROWS]], *batch.preempted[: n[state.PREEMPTED]])
        oldest = min(n[state.HEAD], *held, n[state.CURSOR])
        for column in (*self._columns, self._keys):
            del column[:oldest]
        for rows in (batch.request, batch.preempted):
            rows[:] = [row - oldest for row in rows]
        for counter in (state.SUBMITTED, state.CURSOR, state.HEAD):
            n[counter] -= oldest
        n[state.ENDED] = self._reported = 0

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return int(self._engine.n[state.ROWS])

    @property
    def waiting(self) -> int:
        """Requests in the queue, the preempted with them, as the scheduler last saw it."""
        return int(self._engine.n[state.QUEUED] + self._engine.n[state.PREEMPTED])

    @property
    def in_flight(self) -> int:
        """Requests submitted that have not ended."""
        return self._in_flight

    @property
    def kv_cache_usage_ratio(self) -> float:
        """Blocks held over blocks there are."""
        return 1.0 - self._engine.n[state.FREE_BLOCKS] / self.spec.usable_blocks

    @property
    def meters(self) -> state.Meters:
        """What the engine has counted."""
        return self._engine.meters
