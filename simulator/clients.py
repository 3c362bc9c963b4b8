"""Clients that react: who failed asks again, and who waits for an answer asks no further.

A list of requests drawn beforehand is an open loop: it comes whatever becomes of it. Here what
comes depends on what became of the requests before, so an overload feeds itself (retries) or holds
itself back (users who wait).
"""

import numpy as np

from optimizer import FloatArray, IntArray

from .demand import with_lengths
from .demand_spec import ClientSpec, PhaseSpec
from .ledger import Ledger
from .state import FINISHED, RUNNING
from .workload import Requests

__all__ = ["Clients"]


class Clients:
    """The clients of one model, who look at their answers whenever `follow` is called.

    Every request has an origin: the user who sent it in a closed loop, else how many attempts
    came before it.
    """

    def __init__(
        self,
        spec: ClientSpec,
        phases: tuple[PhaseSpec, ...],
        *,
        end_s: float,
        random: np.random.Generator,
    ) -> None:
        self._spec, self._phases, self._end_s = spec, phases, end_s
        self._random = random
        self._answered = 0  # rows before it have all been looked at
        self._seen: set[int] = set()
        self._active = 0

    def follow(self, ledger: Ledger, now_s: float) -> None:
        """Let clients send what they make of what has happened up to `now_s`."""
        rows = self._ended(ledger)
        origin = ledger.origin[rows]
        if self._spec.users:
            self._next_of_users(ledger, rows, origin, now_s)
        else:
            self._retry(ledger, rows, origin, now_s)

    def _ended(self, ledger: Ledger) -> IntArray:
        """Return the rows that ended since the last call."""
        status = ledger.status[self._answered : ledger.arrived]
        ended = self._answered + np.flatnonzero(status > RUNNING)
        fresh = np.array([row for row in ended.tolist() if row not in self._seen], dtype=np.int64)
        self._seen.update(fresh.tolist())
        while self._answered in self._seen:
            self._seen.remove(self._answered)
            self._answered += 1
        return fresh

    def _retry(self, ledger: Ledger, rows: IntArray, origin: IntArray, now_s: float) -> None:
        again = (ledger.status[rows] != FINISHED) & (origin < self._spec.retries)
        rows, attempts = rows[again], origin[again]
        wait_s = self._spec.retry_after_s * self._spec.backoff_factor**attempts
        wait_s = wait_s * self._random.uniform(0.5, 1.5, len(rows))  # or they come as one
        at_s = np.fmax(ledger.finish_s[rows], 0.0) + wait_s
        self._send(ledger, ledger.requests_of(rows), at_s, attempts + 1, now_s)

    def _next_of_users(self, ledger: Ledger, rows: IntArray, users: IntArray, now_s: float) -> None:
        count = self._count(now_s)
        staying = users < count
        rows, users = rows[staying], users[staying]
        ended_s = np.where(np.isnan(ledger.finish_s[rows]), now_s, ledger.finish_s[rows])
        come = np.arange(self._active, max(count, self._active))
        self._active = max(count, 0)
        think_s = self._spec.think_s
        at_s = np.concatenate(
            [
                ended_s + self._random.exponential(think_s, len(rows)),
                now_s + self._random.uniform(0.0, think_s, len(come)),
            ]
        )
        fresh = with_lengths(self._phases, self._random, np.maximum(at_s, now_s))
        self._send(ledger, fresh, at_s, np.concatenate([users, come]), now_s)

    def _count(self, now_s: float) -> int:
        """Return how many users there are."""
        return next((users for at_s, users in reversed(self._spec.users) if at_s <= now_s), 0)

    def _send(
        self, ledger: Ledger, requests: Requests, at_s: FloatArray, origin: IntArray, now_s: float
    ) -> None:
        at_s = np.maximum(at_s, now_s)
        use = np.flatnonzero(at_s < self._end_s)
        order = use[np.argsort(at_s[use], kind="stable")]
        ledger.insert(
            Requests(
                arrival_s=at_s[order],
                prompt_tokens=requests.prompt_tokens[order],
                output_tokens=requests.output_tokens[order],
                cached_tokens=requests.cached_tokens[order],
            ),
            origin[order],
        )
