"""The whole `plan` in a closed loop: loads come, counts follow, replicas take time to start.

Many independent models side by side, in one request. Arrivals are drawn per tick;
engines are what the queueing model says of them at the rate of the last minute, so that
a loop of hours takes seconds. What is read is what an adapter reads: means over a window.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from optimizer import (
    ModelTable,
    Observations,
    PlanRequest,
    PlanState,
    Policy,
    ReplicaTable,
    VariantTable,
    plan,
)
from optimizer.latency import predict

from .replicas import CHAT, replicas

__all__ = ["ClosedLoop", "capacity_rps"]

TTFT_S, ITL_S = 0.5, 0.025
ANSWERS = ("mean_queue_length", "mean_in_service", "kv_usage_ratio")


@dataclass
class ClosedLoop:
    """`models` models with one variant each; `dearer` ones have a second that costs double.

    `start`, `max_replicas`, `dearer` and `dispersion` may differ from model to model.
    """

    models: int
    start: int = 1
    tick_s: float = 10.0
    window_s: float = 20.0
    cold_start_s: float = 60.0
    max_replicas: int = 50
    min_replicas: int = 1
    dearer: bool = False
    policy: dict = field(default_factory=dict)
    seed: int = 1
    dispersion: float = 1.0

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        self.kinds = 2 if np.any(self.dearer) else 1
        count = self.models * self.kinds
        self.model = np.repeat(np.arange(self.models), self.kinds)
        self.engines = replicas(**{name: np.full(count, v) for name, v in CHAT.items()})
        self.slo = self.engines.targets(ttft_s=TTFT_S, itl_s=ITL_S)
        first = np.arange(count) % self.kinds == 0
        each = {
            name: np.repeat(np.broadcast_to(getattr(self, name), self.models), self.kinds)
            for name in ("start", "max_replicas", "dearer")
        }
        self.current = np.where(first, each["start"], 0).astype(np.int64)
        self.most = np.where(first | each["dearer"], each["max_replicas"], 0).astype(np.int64)
        self.cost = np.where(first, 1.0, 2.0)
        self.ready_at_s = [[-np.inf] * n for n in self.current]
        self.now_s, self.state = 0.0, PlanState.empty()
        self.counts = np.zeros((int(self.window_s / self.tick_s), self.models))
        self.history = []
        self.full_rps, self.answers = _engine_answers()
        self.backlog = self.truth_rps = np.zeros(self.models)
        self.last = None

    def ready(self):
        return np.array([sum(at <= self.now_s for at in starts) for starts in self.ready_at_s])

    def run(self, rate_rps, *, seconds):
        """Let the loop run at a rate per model, or at one that a function of time gives."""
        for _ in range(int(seconds / self.tick_s)):
            self.now_s += self.tick_s
            rate = rate_rps(self.now_s) if callable(rate_rps) else rate_rps
            expected = np.broadcast_to(np.asarray(rate, float), self.models) * self.tick_s
            came = self.random.poisson(expected / self.dispersion) * np.asarray(self.dispersion)
            self.counts = np.concatenate([self.counts[1:], came[None]])
            self.truth_rps = expected / self.tick_s
            self._queue()
            self._decide()
        return self

    def _decide(self):
        decided = plan(self.request())
        self.state, self.last = decided.state, decided
        for row, wanted in enumerate(decided.desired):
            starts = self.ready_at_s[row]
            # The youngest go first, as in a Deployment.
            del starts[wanted:]
            starts.extend([self.now_s + self.cold_start_s] * (wanted - len(starts)))
        self.current = decided.desired.copy()
        self.history.append(self.current)

    def _queue(self):
        """Let queues grow by what arrives beyond what full batches serve."""
        serving = np.bincount(self.model, weights=self.ready())
        beyond = (self.counts[-1] / self.tick_s) - serving * self.full_rps
        self.backlog = np.maximum(self.backlog + beyond * self.tick_s, 0.0)

    def request(self):
        count, ready = len(self.model), self.ready()
        rate = self.counts.sum(axis=0) / self.window_s
        serving = np.maximum(np.bincount(self.model, weights=ready), 1)
        each = np.minimum(self.truth_rps / serving, 0.99 * self.full_rps)[self.model]
        busy = {
            name: np.interp(each, self.answers["rate_rps"], self.answers[name]) for name in ANSWERS
        }
        waiting = busy["mean_queue_length"] * self.random.exponential(1.0, count)
        waiting += (self.backlog / serving)[self.model]
        variant = np.repeat(np.arange(count), ready)
        return PlanRequest(
            now_s=self.now_s,
            now_unix_s=1.7e9 + self.now_s,
            variant_names=tuple(f"v{i:03d}" for i in range(count)),
            model_names=tuple(f"m{i:03d}" for i in range(self.models)),
            variants=VariantTable.of(
                self.model,
                cost_per_hour=self.cost,
                power_idle_w=np.ones(count),
                power_full_w=np.ones(count),
                min_replicas=np.where(self.cost > 1.0, 0, self.min_replicas),
                max_replicas=self.most,
                current_replicas=self.current,
                ready_replicas=ready,
                cold_start_s=np.full(count, self.cold_start_s),
            ),
            models=ModelTable.of(rate),
            replicas=ReplicaTable(
                variant=variant,
                running_requests=self.random.poisson(busy["mean_in_service"][variant]).astype(
                    float
                ),
                waiting_requests=np.round(waiting[variant]),
                kv_usage_ratio=busy["kv_usage_ratio"][variant],
                kv_capacity_tokens=self.engines.limits.kv_capacity_tokens[variant],
                first_token_rate_rps=np.full(len(variant), np.nan),
                output_rate_tps=np.full(len(variant), np.nan),
            ),
            profiles=self.engines.profiles,
            limits=self.engines.limits,
            workloads=self.engines.workloads,
            slo=self.slo,
            observations=Observations.none(count),
            policy=Policy(observation_window_s=self.window_s, **self.policy),
            state=self.state,
        )

    def totals(self, *, since_s=0.0):
        """Return replicas per tick and model from `since_s` on."""
        history = np.array(self.history[int(since_s / self.tick_s) :])
        return np.stack(
            [history[:, self.model == m].sum(axis=1) for m in range(self.models)], axis=1
        )

    def changes(self, *, since_s=0.0):
        """Return how often any count of each model changed from `since_s` on."""
        history = np.array(self.history[int(since_s / self.tick_s) :])
        moved = np.diff(history, axis=0) != 0
        return np.array([moved[:, self.model == m].any(axis=1).sum() for m in range(self.models)])


@cache
def _engine_answers():
    """Return the rate of full batches, and what one engine reports at 200 rates up to it."""
    shares = np.linspace(0.0, 0.99, 200)
    engines = replicas(**{name: np.full(200, v) for name, v in CHAT.items()})
    full = np.full(200, 0.95)
    full_rps = float(1.0 / predict(*engines, np.ones(200), percentile_ratio=full).utilization[0])
    found = predict(*engines, np.maximum(shares * full_rps, 1e-6), percentile_ratio=full)
    answers = {name: getattr(found, name) for name in ANSWERS}
    return full_rps, {"rate_rps": shares * full_rps, **answers}


def reversals(totals):
    """Return how often each column turns from rising to falling or back."""
    counts = []
    for column in totals.T:
        steps = np.diff(column)
        signs = np.sign(steps[steps != 0])
        counts.append(int((np.diff(signs) != 0).sum()))
    return np.array(counts)


def capacity_rps():
    """Return what one replica of the loop's engines carries."""
    loop = ClosedLoop(models=1)
    loop.run(1.0, seconds=20.0)
    return float(loop.last.capacity_rps[0])
