"""The peer's "Model A" [1]: the rates and latencies that it feeds to its queue.

Three parameters, means only, and each request's own work counted twice in an iteration.
It lives here, not in `optimizer`: the tests feed its rates to our chain and our sizing,
and the accuracy bench prints what it predicts beside what we do. Seconds throughout.

.. [1] llm-d workload-variant-autoscaler, pull request #727 (February 2026).
"""

from dataclasses import dataclass

import numpy as np

from optimizer import FloatArray, IntArray
from optimizer.queueing import Stationary, birth_death, stationary

# The peer keeps this far inside the range of rates that its chain allows.
MARGIN = 0.001


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelA:
    """Parameters and lengths, one entry per case."""

    alpha_s: FloatArray
    beta_s: FloatArray
    gamma_s: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray
    max_batch_size: IntArray
    max_queue_size: FloatArray

    def take(self, rows):
        return ModelA(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def iteration_s(self, n):
        compute = (self.input_tokens + self.output_tokens) / (self.output_tokens + 1.0)
        memory = self.input_tokens + self.output_tokens / 2.0
        return self.alpha_s + n * (self.beta_s * compute + self.gamma_s * memory)

    def prefill_s(self, n):
        own = (self.beta_s + self.gamma_s) * self.input_tokens
        return np.where(self.input_tokens > 0.0, self.iteration_s(n) + own, 0.0)

    def decode_s(self, n):
        context = self.input_tokens + self.output_tokens / 2.0
        return self.iteration_s(n) + self.beta_s + self.gamma_s * context

    def service_rate_rps(self, n):
        return n / (self.prefill_s(n) + self.output_tokens * self.decode_s(n))

    @property
    def smallest_rps(self) -> FloatArray:
        return MARGIN * self.service_rate_rps(np.ones(len(self.alpha_s)))

    @property
    def largest_rps(self) -> FloatArray:
        return (1.0 - MARGIN) * self.service_rate_rps(self.max_batch_size.astype(float))


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What the peer reports at a rate."""

    stationary: Stationary
    response_s: FloatArray
    wait_s: FloatArray
    prefill_s: FloatArray
    itl_s: FloatArray
    ttft_s: FloatArray


def analyze(model: ModelA, rate_rps: FloatArray) -> Analysis:
    """Solve our chain with the peer's rates, and read latencies off it as the peer does."""
    sizes = np.arange(1.0, model.max_batch_size.max() + 1.0)
    rates = np.stack([model.service_rate_rps(n) for n in sizes], axis=1)
    found = stationary(
        birth_death(rate_rps, rates, last=model.max_batch_size, queue_limit=model.max_queue_size)
    )
    service_s = found.mean_in_service / found.throughput_rps
    prefill_s = model.prefill_s(found.mean_in_service)
    itl_s = (service_s - prefill_s) / model.output_tokens
    return Analysis(
        stationary=found,
        response_s=service_s + found.mean_wait_s,
        wait_s=found.mean_wait_s,
        prefill_s=prefill_s,
        itl_s=itl_s,
        ttft_s=found.mean_wait_s + prefill_s + itl_s,
    )
