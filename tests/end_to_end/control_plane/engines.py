"""Emulated engines in pods: each answers at its pod's own address while Kubernetes keeps it.

The simulator's replicas over HTTP, one listener a pod, at an address of 127/8 that the pod
has to itself and the port its container declares. What Kubernetes starts and deletes is
started and drained here, so the loop from load to replicas is closed by stock controllers.
"""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from adapter.clock import SystemClock
from simulator.attainment import Attainment, Target
from simulator.cluster import Cluster
from simulator.engine import EngineSpec
from simulator.prometheus_text import CONTENT_TYPE
from simulator.replica import Replica, ReplicaState, Variant
from simulator.router import LeastLoaded

from .load import Load

__all__ = ["ENGINE", "ENGINE_PORT", "FULL_RPS", "PROFILE", "VARIANT_LABEL", "Engines", "variant"]

ENGINE_PORT = 8000
VARIANT_LABEL = "app"
TICK_S = 0.05

# Small on purpose: a replica carries a few requests/s, so that a dozen are cheap to emulate.
ENGINE = EngineSpec(
    iteration_base_s=0.020,
    decode_slope_s=0.0008,
    prefill_slope_s=0.00002,
    max_num_seqs=16,
    num_gpu_blocks=2000,
)
# What one of them serves of `Load`'s requests with its batch full: 16 in 128 steps of 33 ms.
FULL_RPS = 3.8
# The same law as the settings say it.
PROFILE = {
    "alpha_ms": 1e3 * ENGINE.iteration_base_s,
    "beta_ms": 1e3 * ENGINE.decode_slope_s,
    "beta_prefill_ms": 1e3 * ENGINE.prefill_slope_s,
    "max_batch_size": ENGINE.max_num_seqs,
    "max_batched_tokens": ENGINE.max_num_batched_tokens,
}


def variant(name: str, *, model: str = "m", namespace: str, **more: Any) -> Variant:
    values = {"accelerator": "H100", "engine": ENGINE, "cold_start_s": 2.0, **more}
    return Variant(name=name, model=model, namespace=namespace, max_model_len=2048, **values)


@dataclass(slots=True)
class _Pod:
    replica: Replica
    address: str
    runner: web.AppRunner
    listening: socket.socket

    async def close(self) -> None:
        await self.runner.cleanup()
        self.listening.close()


@dataclass
class Engines:
    """The engines of some variants and the loads of their models, by model."""

    variants: Sequence[Variant]
    loads: Mapping[str, Load]
    clock: SystemClock = field(default_factory=SystemClock)
    silent: set[str] = field(default_factory=set)  # pods whose /metrics doesn't answer
    failing: bool = False  # all of them answer 500

    def __post_init__(self) -> None:
        start_s = self.clock.monotonic_s()
        models = {each.model for each in self.variants}
        self.cluster = Cluster(
            self.variants,
            self.loads,  # type: ignore[arg-type]
            routers={model: LeastLoaded() for model in models},
            attainment=Attainment({model: Target(2.0, 0.05) for model in models}, start_s=start_s),
            start_s=start_s,
            grace_s=5.0,
        )
        self._pods: dict[str, _Pod] = {}
        self._running: asyncio.Task[None] | None = None
        self._targets: web.AppRunner | None = None
        self.targets_url = ""

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        self.targets_url = f"http://127.0.0.1:{listening.getsockname()[1]}/targets"
        self._targets = await _serve(listening, "/targets", self._answer_targets)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        for pod in self._pods.values():
            await pod.close()
        if self._targets is not None:
            await self._targets.cleanup()

    def set_rate(self, rate_rps: float, *, model: str = "m") -> float:
        """Change a model's load from now on; return the moment."""
        now_s = self.clock.monotonic_s()
        self.cluster.advance(now_s)
        self.loads[model].set_rate(rate_rps, now_s=now_s)
        return now_s

    def runs(self, pod: Mapping[str, Any]) -> bool:
        """Tell whether a pod is of one of our variants."""
        labels = pod["metadata"].get("labels", {})
        return labels.get(VARIANT_LABEL) in self.cluster.variants

    async def start(self, pod: Mapping[str, Any], address: str) -> None:
        """Start a pod's engine at an address of its own; it is ready after its cold start."""
        name = pod["metadata"]["name"]
        if name in self._pods:
            return
        self.cluster.advance(self.clock.monotonic_s())
        self.cluster.start_replica(pod["metadata"]["labels"][VARIANT_LABEL], name)
        replica = next(each for each in self.cluster.replicas if each.name == name)
        listening = socket.create_server((address, ENGINE_PORT))

        async def answer(_: web.Request) -> web.Response:
            return await self._answer_metrics(replica)

        runner = await _serve(listening, "/metrics", answer)
        self._pods[name] = _Pod(replica, address, runner, listening)

    def ready(self, name: str) -> bool:
        return name in self._pods and self._pods[name].replica.state is ReplicaState.READY

    async def stop(self, name: str) -> bool:
        """Drain a pod's engine; return whether it has gone."""
        pod = self._pods.get(name)
        if pod is None:
            return True
        self.cluster.release_replica(name)
        if pod.replica.state is not ReplicaState.STOPPED:
            return False
        await self._pods.pop(name).close()
        return True

    def waiting(self, variant: str) -> dict[str, int]:
        """Return the waiting requests of a variant's ready pods, by pod."""
        return {
            name: pod.replica.engine.waiting
            for name, pod in self._pods.items()
            if pod.replica.variant.name == variant and pod.replica.state is ReplicaState.READY
        }

    async def _run(self) -> None:
        while True:
            self.cluster.advance(self.clock.monotonic_s())
            await asyncio.sleep(TICK_S)

    async def _answer_metrics(self, replica: Replica) -> web.Response:
        if replica.name in self.silent:
            await asyncio.sleep(30)
        now_s = self.clock.monotonic_s()
        self.cluster.advance(now_s)
        if self.failing or replica.state is ReplicaState.STARTING:
            return web.Response(status=500 if self.failing else 503)
        page = replica.metrics_page(unix_offset_s=self.clock.unix_s() - now_s)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def _answer_targets(self, _: web.Request) -> web.Response:
        """List the engines in the form of Prometheus's http_sd."""
        groups = [
            {
                "targets": [f"{pod.address}:{ENGINE_PORT}"],
                "labels": {
                    "namespace": pod.replica.variant.namespace,
                    "variant": pod.replica.variant.name,
                    "replica": name,
                    "state": str(pod.replica.state),
                },
            }
            for name, pod in self._pods.items()
            if pod.replica.state is not ReplicaState.STOPPED
        ]
        return web.json_response(groups)


async def _serve(listening: socket.socket, path: str, handler: Any) -> web.AppRunner:
    app = web.Application()
    app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner
