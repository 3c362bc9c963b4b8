"""Requests at a rate that a test turns up and down, evenly spaced and all alike.

Without chance in the arrivals a decision follows from the rate, so that a test can ask for
"the load of twelve and a half replicas".
"""

import math
from dataclasses import dataclass

from simulator.workload import Request

__all__ = ["Load"]


@dataclass(slots=True)
class Load:
    """A stream of requests, as the simulator takes one."""

    prompt_tokens: int = 128
    output_tokens: int = 128
    rate_rps: float = 0.0
    _latest_s: float = -math.inf

    @property
    def next_arrival_s(self) -> float:
        return self._latest_s + 1.0 / self.rate_rps if self.rate_rps > 0.0 else math.inf

    def take(self) -> Request:
        self._latest_s = self.next_arrival_s
        return Request(self._latest_s, self.prompt_tokens, self.output_tokens, 0)

    def set_rate(self, rate_rps: float, *, now_s: float) -> None:
        """Change the rate from now on; the next request comes one new interval later."""
        self.rate_rps = rate_rps
        self._latest_s = max(self._latest_s, now_s)
