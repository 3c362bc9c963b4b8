"""The peer's "Model B" put together from `optimizer.service` and `optimizer.queueing`.

Our service law with equal slopes for decoded and prompt tokens, all lengths alike, and
O + 1 output tokens, since the peer's O counts decode steps. Its latencies are read off at
the mean number in service, and its first token comes a decode step after the prompt.
"""

import numpy as np

from optimizer import EngineLimits, ServiceProfiles, Workloads
from optimizer.queueing import birth_death, stationary
from optimizer.service import (
    decode_time_s,
    prefill_steps,
    prefill_time_s,
    request_work,
    service_rate_rps,
)

TOKEN_BUDGET = 8192.0
MARGIN = 0.001


class ModelB:
    """Columns of cases: parameters in ms, as published; everything else in seconds."""

    def __init__(self, *, alpha, beta, gamma, input_tokens, output_tokens, batch, queue):
        alpha, beta, gamma, inputs, outputs, batch, queue = np.broadcast_arrays(
            alpha, beta, gamma, input_tokens, output_tokens, batch, queue
        )
        zero, output = np.zeros(alpha.shape), outputs + 1.0
        self.profiles = ServiceProfiles(
            iteration_base_s=alpha * 1e-3,
            decode_slope_s=beta * 1e-3,
            prefill_slope_s=beta * 1e-3,
            kv_slope_s=gamma * 1e-3,
            ttft_constant_s=zero,
        )
        self.workloads = Workloads(
            prompt_tokens_mean=inputs + zero,
            prompt_tokens_second_moment=inputs**2 + zero,
            output_tokens_mean=output,
            output_tokens_second_moment=output**2,
            prefix_hit_ratio=zero,
        )
        self.limits = EngineLimits(
            max_batch_size=batch.astype(np.int64),
            max_queue_size=queue.astype(np.int64),
            kv_capacity_tokens=zero + np.inf,
            max_batched_tokens=zero + TOKEN_BUDGET,
        )
        self.batch = self.limits.max_batch_size
        sizes = np.arange(1.0, self.batch.max() + 1.0)
        self.rates = np.stack(
            [service_rate_rps(self.work(zero + n), zero + n) for n in sizes], axis=1
        )

    @property
    def largest_rps(self):
        at_full = np.take_along_axis(self.rates, self.batch[:, None] - 1, 1)[:, 0]
        return (1.0 - MARGIN) * at_full

    def work(self, batch_size, rows=slice(None)):
        """Return a request's work with the chunks that its prompt takes in this batch."""
        workloads = self.workloads.take(rows)
        steps = prefill_steps(workloads, self.limits.take(rows), batch_size)
        return request_work(self.profiles.take(rows), workloads, steps)

    def analyze(self, rate_rps, rows=slice(None)):
        """Return mean latencies and the chain at these rates, as the peer reports them."""
        batch = self.batch[rows]
        found = stationary(
            birth_death(
                rate_rps,
                self.rates[rows],
                last=batch,
                queue_limit=self.limits.max_queue_size[rows].astype(float),
            )
        )
        served = found.mean_in_service
        work = self.work(np.clip(np.rint(served), 1.0, batch), rows)
        prefill_s = prefill_time_s(work, served)
        itl_s = (served / found.throughput_rps - prefill_s) / work.decode_steps
        return {
            "chain": found,
            "response_s": served / found.throughput_rps + found.mean_wait_s,
            "wait_s": found.mean_wait_s,
            "prefill_s": prefill_s,
            "itl_s": itl_s,
            "ttft_s": found.mean_wait_s + prefill_s + itl_s,
        }

    def largest_batch_within(self, primitive, target_s):
        """Return the largest batch size, at least 1, at which a primitive meets a target."""
        sizes = np.arange(1.0, self.batch.max() + 1.0)
        times = np.stack(
            [primitive(self.work(np.full(len(self.batch), n)), n) for n in sizes], axis=1
        )
        return np.maximum((times <= target_s[:, None]).sum(axis=1), 1)


def itl_at(work, n):
    return decode_time_s(work, np.full(len(work), n))


def prefill_at(work, n):
    return prefill_time_s(work, np.full(len(work), n))
