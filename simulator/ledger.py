"""The list of one model's requests: what is known of each, and what became of it.

Columns in order of arrival. The gateway's part of them is what compiled code works on.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer import IntArray

from . import serving_kernel, state
from .outcomes import LOST, Outcomes
from .pod import Ended
from .workload import Requests

__all__ = ["Ledger"]


class Ledger:
    """All requests of one model that are known, those that have yet to come with them."""

    def __init__(self, requests: Requests, *, timeout_s: float) -> None:
        count = len(requests.arrival_s)
        self.gateway = serving_kernel.Gateway(
            arrival_s=requests.arrival_s.copy(),
            prompt_tokens=requests.prompt_tokens.copy(),
            output_tokens=requests.output_tokens.copy(),
            cached_tokens=requests.cached_tokens.copy(),
            replica=np.full(count, serving_kernel.NOT_SENT),
            timeout_s=timeout_s,
            n=np.array([count, 0, 0], dtype=np.int64),
            clock_s=np.zeros(1),
        )
        self.status: IntArray = np.full(count, state.PENDING)  # FINISHED and above: ended
        self.first_token_s = np.full(count, np.nan)
        self.finish_s = np.full(count, np.nan)  # NaN before, and for who was refused
        self.origin: IntArray = np.zeros(count, dtype=np.int64)  # see `clients`

    @property
    def arrived(self) -> int:
        """Requests that have come."""
        return int(self.gateway.n[serving_kernel.ARRIVED])

    @property
    def sent(self) -> int:
        """Requests that have left the gateway, in whichever way."""
        return int(self.gateway.n[serving_kernel.SENT])

    def requests_of(self, rows: IntArray) -> Requests:
        """Return some requests of the list."""
        gateway = self.gateway
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
        gateway, came = self.gateway, self.arrived
        at = came + np.searchsorted(gateway.arrival_s[came:], requests.arrival_s, side="right")

        def merged(column: NDArray[Any], new: NDArray[Any] | float) -> NDArray[Any]:
            return np.insert(column, at, new)

        self.gateway = gateway._replace(
            arrival_s=merged(gateway.arrival_s, requests.arrival_s),
            prompt_tokens=merged(gateway.prompt_tokens, requests.prompt_tokens),
            output_tokens=merged(gateway.output_tokens, requests.output_tokens),
            cached_tokens=merged(gateway.cached_tokens, requests.cached_tokens),
            replica=merged(gateway.replica, serving_kernel.NOT_SENT),
        )
        gateway.n[serving_kernel.KNOWN] = len(self.gateway.arrival_s)
        self.status = merged(self.status, state.PENDING)
        self.first_token_s = merged(self.first_token_s, np.nan)
        self.finish_s = merged(self.finish_s, np.nan)
        self.origin = merged(self.origin, origin)

    def note_ended(self, ended: Ended) -> None:
        """Write down what engines report."""
        self.status[ended.key] = ended.status
        self.first_token_s[ended.key] = ended.first_token_s
        self.finish_s[ended.key] = ended.finish_s

    def note_lost(self, rows: IntArray, *, at_s: float) -> None:
        """Write down whose pod was taken."""
        self.status[rows] = LOST
        self.finish_s[rows] = at_s

    def pass_unserved(self, until_s: float) -> None:
        """Let requests come to a gateway without any pod."""
        arrival_s, n = self.gateway.arrival_s, self.gateway.n
        n[serving_kernel.ARRIVED] = np.searchsorted(arrival_s, until_s, side="left")
        sent, arrived = self.sent, self.arrived
        late = until_s - arrival_s[sent:arrived] >= self.gateway.timeout_s
        self.gateway.replica[sent:arrived][late] = serving_kernel.GAVE_UP
        n[serving_kernel.SENT] += int(late.sum())  # the oldest come first
        self.gateway.clock_s[0] = until_s

    def note_given_up(self, since: int) -> None:
        """Write down who of those that left the gateway since row `since` gave up."""
        left = self.gateway.replica[since : self.sent]
        rows = since + np.flatnonzero(left == serving_kernel.GAVE_UP)
        if len(rows):
            self.status[rows] = state.TIMED_OUT
            self.finish_s[rows] = self.gateway.arrival_s[rows] + self.gateway.timeout_s

    def outcomes(self) -> Outcomes:
        """Return what everybody who came got; who still waits has status PENDING or above."""
        came = slice(0, self.arrived)
        gateway = self.gateway
        output = gateway.output_tokens[came]
        first_s, finish_s = self.first_token_s[came], self.finish_s[came]
        finished = self.status[came] == state.FINISHED
        intervals = np.maximum(output - 1, 1)
        return Outcomes(
            arrival_s=gateway.arrival_s[came],
            prompt_tokens=gateway.prompt_tokens[came],
            output_tokens=output,
            status=self.status[came],
            ttft_s=np.where(finished, first_s - gateway.arrival_s[came], np.nan),
            itl_s=np.where(finished, (finish_s - first_s) / intervals, np.nan),
            finish_s=finish_s,
        )
