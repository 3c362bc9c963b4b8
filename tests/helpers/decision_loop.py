"""One variant in a closed loop of decisions: readings, analyze, plan, guard, counts that follow.

What engines do is what the queueing model says of their true law at the rate of the window;
what is read of them is what an adapter reads. Counts are obeyed at once, replicas take a cold
start, and a hit ratio may be a state of its own: caches are empty after every change.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from adapter.decide import DecisionMemory, decide
from adapter.records import ReplicaState, TickReport
from optimizer.latency import predict
from optimizer.sizing import largest_arrival_rate

from .replicas import replicas
from .snapshots import catalog_of, replica, snapshot_of

__all__ = ["DecisionLoop"]

REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
FULLEST = 0.97


@dataclass
class DecisionLoop:
    """`settings` is a file's text with one variant; `truth` are columns as of `replicas`."""

    settings: str
    truth: dict
    start: int = 1
    tick_s: float = 20.0
    window_s: float = 20.0
    cold_start_s: float = 60.0
    seed: int = 1
    itl_scatter: float = 0.02
    history: list = field(default_factory=list)  # the count that each tick asked for

    def __post_init__(self):
        self.catalog = catalog_of(self.settings)
        self.random = np.random.default_rng(self.seed)
        self.now_s, self.memory = 1000.0, DecisionMemory.empty()
        self.pods = [(f"p{i}", -np.inf) for i in range(self.start)]
        self.made, self.wanted = self.start, self.start
        self.came = {}  # per replica: what came in each tick of the window
        self.backlog = 0.0
        self.publication = None

    @property
    def ready(self):
        return [name for name, at_s in self.pods if at_s <= self.now_s]

    @property
    def capacity_rps(self):
        """What the last decision takes one replica to carry."""
        return float(self.publication.details["predicted.capacity_rps"][0])

    def true_capacity_rps(self, *, ttft_s, itl_s, **columns):
        """What one replica carries within the targets by its true law."""
        engine = replicas(**{**self.truth, **columns})
        return float(
            largest_arrival_rate(
                *engine, engine.targets(ttft_s=ttft_s, itl_s=itl_s), stability_margin_ratio=0.1
            ).rate_rps[0]
        )

    def lose_one(self):
        """Take away the oldest ready replica; its Deployment starts another."""
        self.pods.remove(next(pod for pod in self.pods if pod[1] <= self.now_s))
        self._follow()

    def run(self, rate_rps, *, seconds, itl_factor=1.0, **truth):
        """Let the loop run at a rate, or at one that a function of time gives.

        `truth` changes columns of the engines from now on: numbers, or functions of time.
        """
        for _ in range(int(seconds / self.tick_s)):
            self.now_s += self.tick_s
            known = {k: v(self.now_s) if callable(v) else v for k, v in truth.items()}
            self.truth = {**self.truth, **known}
            rate = rate_rps(self.now_s) if callable(rate_rps) else rate_rps
            self._arrive(rate)
            self._decide(self._readings(rate, itl_factor))
        return self

    def _arrive(self, rate_rps):
        """Draw what each ready replica is sent in this tick."""
        each = rate_rps * self.tick_s / max(len(self.ready), 1)
        for name in self.ready:
            window = self.came.setdefault(name, deque(maxlen=int(self.window_s / self.tick_s)))
            window.append(self.random.poisson(each))

    def _rates(self, name, served_ratio):
        """Return what a replica's counters say: over the part of the window that it was there."""
        window = self.came[name]
        seconds = self.tick_s * len(window)
        offered = sum(window) / seconds
        served, work = offered * served_ratio, replicas(**self.truth).workloads
        return {
            "completion_rate_rps": served,
            "inflight_slope_rps": offered - served,
            "first_token_rate_rps": served,
            "prompt_token_rate_tps": served * work.prompt_tokens_mean[0],
            "output_token_rate_tps": served * work.output_tokens_mean[0],
            "observed_s": seconds,
        }

    def _decide(self, readings):
        engine, served_ratio = readings
        pods = [
            replica(0, name, **engine, **self._rates(name, served_ratio))
            if at_s <= self.now_s
            else replica(0, name, state=ReplicaState.STARTING, age_s=None)
            for name, at_s in self.pods
        ]
        snapshot = snapshot_of(self.catalog, pods, taken_s=self.now_s, current=[self.wanted])
        self.publication, self.memory = decide(snapshot, self.catalog, self.memory, report=REPORT)
        self.wanted = int(self.publication.values["wva_desired_replicas"][0])
        self.history.append(self.wanted)
        self._follow()

    def _follow(self):
        while len(self.pods) < self.wanted:
            self.pods.append((f"p{self.made}", self.now_s + self.cold_start_s))
            self.made += 1
        del self.pods[self.wanted :]  # the youngest go first, as in a Deployment

    def _readings(self, rate_rps, itl_factor):
        """Return what each ready engine says of itself, and which part of its arrivals it serves."""
        serving = max(len(self.ready), 1)
        engine = replicas(**self.truth)
        half = np.full(1, 0.5)
        full_rps = float(1.0 / predict(*engine, np.ones(1), percentile_ratio=half).utilization[0])
        each_rps = max(rate_rps / serving, 1e-6)
        served_rps = min(each_rps, FULLEST * full_rps)
        beyond = rate_rps - serving * full_rps
        self.backlog = max(self.backlog + beyond * self.tick_s, 0.0)
        found = predict(*engine, np.full(1, served_rps), percentile_ratio=half)
        work, limits = engine.workloads, engine.limits
        waiting = float(found.mean_queue_length[0]) + self.backlog / serving
        scatter = float(np.exp(self.itl_scatter * self.random.standard_normal()))
        running = float(found.mean_in_service[0])
        return {
            "running_requests": float(self.random.poisson(running)),
            "waiting_requests": float(np.round(waiting)),
            "mean_running_requests": running,
            "mean_waiting_requests": waiting,
            "kv_usage_ratio": float(found.kv_usage_ratio[0]),
            "mean_kv_usage_ratio": float(found.kv_usage_ratio[0]),
            "kv_capacity_tokens": float(limits.kv_capacity_tokens[0]),
            "max_batch_size": float(limits.max_batch_size[0]),
            "max_batched_tokens": float(limits.max_batched_tokens[0]),
            "prompt_tokens_mean": work.prompt_tokens_mean[0],
            "prompt_tokens_second_moment": work.prompt_tokens_second_moment[0],
            "output_tokens_mean": work.output_tokens_mean[0],
            "output_tokens_second_moment": work.output_tokens_second_moment[0],
            "prefix_hit_ratio": work.prefix_hit_ratio[0],
            "itl_mean_s": float(found.itl_mean_s[0]) * scatter * itl_factor,
            "ttft_mean_s": float(found.ttft_mean_s[0]),
        }, served_rps / each_rps
