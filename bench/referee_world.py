"""The independent simulator as a world that policies scale: its workers are the pods.

What a policy reads of a pod is what vLLM would count, put together from the steps that the other
simulator tells of: running, waiting and KV tokens as they are, tokens and gaps per worker exactly.
It tells of ended requests for all workers together; each is put down to the worker whose tokens
ask for it most. One variant, round robin, no timeouts: that is what it has.
"""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from simulator import state
from simulator.history import Action
from simulator.live import EndedRequest, RequestStatus
from simulator.pod import Pod, PodEngine, PodState
from simulator.scenario import Scenario
from simulator.world import World

from .referee import BLOCK_TOKENS, FOLDER

__all__ = ["RefereeWorld"]

WORKER = Path(__file__).with_name("referee_loop_worker.py")


class _Worker(PodEngine):
    """One worker's counters, as a page shows an engine's."""

    shown_running = shown_waiting = 0
    kv_tokens = decoded = computed = 0.0
    ended_requests = 0

    @property
    def running(self) -> int:
        return self.shown_running

    @property
    def waiting(self) -> int:
        return self.shown_waiting

    @property
    def kv_cache_usage_ratio(self) -> float:
        return min(self.kv_tokens / (self.spec.usable_blocks * self.spec.block_size), 1.0)

    def saw(self, told: dict[str, Any] | None) -> None:
        """Count what it did since it was last asked; None: it had nothing to do."""
        if told is None:
            self.shown_running = self.shown_waiting = 0
            self.kv_tokens = 0.0
            return
        self.shown_running, self.shown_waiting = told["running"], told["waiting"]
        self.kv_tokens = told["kv_tokens"]
        took_s, decoding, computed = np.array(told["steps"]).T
        meters = self.meters
        at = np.searchsorted(np.asarray(meters.itl_bounds_s), took_s)
        np.add.at(np.asarray(meters.itl_counts), at, decoding.astype(np.int64))
        meters.sums[state.BUSY_S] += float(took_s.sum())
        meters.sums[state.ITL_S] += float(took_s @ decoding)
        self.decoded += float(decoding.sum())
        self.computed += float(computed.sum())
        meters.totals[state.STEPS] += len(took_s)
        meters.totals[state.GENERATED] = int(self.decoded) + self.ended_requests
        for entry in (state.PROMPTS, state.QUERIED):
            meters.totals[entry] = int(self.computed)

    def finish(self, request: EndedRequest) -> None:
        """Count a request that ended."""
        self.ended_requests += 1
        ttft_s = request.first_token_s - request.arrival_s
        at = np.searchsorted(np.asarray(self.meters.ttft_bounds_s), ttft_s)
        self.meters.ttft_counts[at] += 1
        self.meters.sums[state.TTFT_S] += ttft_s
        self.requests.observe(request)


class _Gateway:
    """Nothing waits before the workers."""

    queued = 0


class RefereeWorld:
    """What `simulator.world.World` is to policies, served by the referee."""

    metrics_late_s = 0.0

    def __init__(self, scenario: Scenario, *, seed: int) -> None:
        (spec,) = scenario.variants
        own = World(scenario, seed=seed, compiled=False)
        self.scenario, self.variants, self.model_of = scenario, scenario.variants, (0,)
        self.requests = own.demand[0].requests
        self.services = (_Gateway(),)
        self.now_s = self.wanted_s = 0.0
        self.wanted = np.array([spec.initial_replicas], dtype=np.int64)
        self.actions: list[Action] = []
        self.ended: list[EndedRequest] = []
        self.pods: list[Pod] = []
        self._number = 0
        self._engine = spec.engine(queue_timeout_s=np.inf)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Have a world whose process ends with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate(timeout=60.0)

    # what policies look at

    def count(self, variant: int, *states: PodState) -> int:
        """Return how many pods are in `states`."""
        return sum(pod.variant == variant and pod.state in states for pod in self.pods)

    def ready_pods(self, variant: int) -> list[Pod]:
        """Return the pods that take requests."""
        return [p for p in self.pods if p.variant == variant and p.state is PodState.READY]

    def rolling(self, variant: int) -> bool:  # noqa: ARG002 - the world's signature
        """Return False: versions aren't known there."""
        return False

    def scrape_fails(self) -> bool:
        """Return False."""
        return False

    # what they do

    def provision(self, counts: list[int]) -> None:
        """Begin with so many."""
        self.wanted[:] = counts

    def scale(self, variant: int, count: int) -> None:
        """Ask for `count` workers; the newest go first, there as here."""
        before = int(self.wanted[variant])
        if count == before:
            return
        self.actions.append(Action(self.now_s, variant, before, count))
        self.wanted[variant] = count
        self._asked({"scale": count})
        self.pods = self.pods[:count]
        self._created(count)

    def advance(self, until_s: float) -> None:
        """Let everything up to `until_s` happen."""
        if until_s <= self.now_s:
            return
        told = self._asked({"until_s": until_s})
        self.wanted_s += int(self.wanted[0]) * (until_s - self.now_s)
        self.now_s = until_s
        for pod in self.pods[: told["active"]]:
            self._ready(pod)
            assert isinstance(pod.engine, _Worker)
            pod.engine.saw(told["workers"].get(str(pod.number)))
        for each in told["ended"]:
            self._end(each)

    def _ready(self, pod: Pod) -> None:
        if pod.engine is not None:
            return
        pod.state, pod.ready_s = PodState.READY, self.now_s
        length = self.variants[0].max_model_len
        pod.engine = _Worker(self._engine, start_s=self.now_s, max_model_len=length)

    def _end(self, told: dict[str, float]) -> None:
        """Put requests that ended in one step down to a worker, with the step's means."""
        gaps = max(told["output_tokens"] - 1.0, 0.0)
        first_s = told["at_s"] - gaps * told["itl_s"]
        # The other has no time that every request takes beside the engine's steps.
        constant_s = self._engine.ttft_constant_s
        request = EndedRequest(
            key=0,
            status=RequestStatus.FINISHED,
            arrival_s=first_s - told["ttft_s"],
            prompt_tokens=round(told["prompt_tokens"]),
            output_tokens=round(told["output_tokens"]),
            cached_tokens=0,
            scheduled_s=first_s - told["ttft_s"],
            first_token_s=first_s + constant_s,
            finish_s=told["at_s"] + constant_s,
            preemptions=0,
        )
        for _ in range(int(told["requests"])):
            self.ended.append(request)
            workers = [pod.engine for pod in self.pods if isinstance(pod.engine, _Worker)]
            owed = [w.decoded / max(told["output_tokens"], 1.0) - w.ended_requests for w in workers]
            workers[int(np.argmax(owed))].finish(request)

    # the other process

    def _created(self, count: int) -> None:
        while len(self.pods) < count:
            self.pods.append(
                Pod(
                    number=self._number,
                    variant=0,
                    created_s=self.now_s,
                    state=PodState.STARTING,
                    name=f"{self.variants[0].name}-{self._number}",
                )
            )
            self._number += 1

    def _asked(self, command: dict[str, float]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [str(FOLDER / "bin" / "python"), str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            first = {**self._described(), "initial": int(self.wanted[0])}
            self._write(first)
            self._created(int(self.wanted[0]))
        self._write(command)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the referee ended with {self._process.wait(10.0)}")
        return dict(json.loads(line))

    def _write(self, content: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(content) + "\n")
        self._process.stdin.flush()

    def _described(self) -> dict[str, Any]:
        law, spec = self._engine, self.variants[0]
        return {
            "base_ms": 1e3 * law.iteration_base_s,
            "decode_ms": 1e3 * law.decode_slope_s,
            "prefill_ms": 1e3 * law.prefill_slope_s,
            "kv_ms": 1e3 * law.kv_slope_s,
            "num_gpu_blocks": spec.profile.kv_capacity_tokens // BLOCK_TOKENS,
            "max_num_seqs": law.max_num_seqs,
            "max_num_batched_tokens": law.max_num_batched_tokens,
            "startup_s": spec.cold_start.mean_s,
            "requests": [
                [1e3 * float(at), int(prompt), int(output)]
                for at, prompt, output in zip(
                    self.requests.arrival_s,
                    self.requests.prompt_tokens,
                    self.requests.output_tokens,
                    strict=True,
                )
            ],
        }
