"""One ScaledObject as KEDA 2.20's operator runs it, and the HPA that KEDA makes for it.

It asks over gRPC what the operator asks, in the operator's order and without deadlines, and
draws the operator's conclusions; time is given, so that cooldowns of minutes pass at once.
`make e2e-keda` holds the same scenarios against the operator itself.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from adapter.keda._generated import externalscaler_pb2 as pb
from adapter.keda._generated import externalscaler_pb2_grpc as stubs

__all__ = ["Fallback", "KedaOperator"]

RETRY_S, LONGEST_RETRY_S = 2.0, 60.0


@dataclass(frozen=True)
class Fallback:
    """A ScaledObject's `fallback`."""

    threshold: int
    replicas: int
    behavior: str = "static"

    def count(self, current: int) -> int:
        if self.behavior == "currentReplicasIfHigher":
            return max(current, self.replicas)
        return self.replicas


@dataclass(frozen=True)
class State:
    """What one look at a trigger came to."""

    value: float | None  # None: an error
    active: bool = False


@dataclass
class KedaOperator:
    """A ScaledObject with one trigger, its scale target, and its HPA."""

    channel: grpc.aio.Channel
    metadata: Mapping[str, str]
    name: str = "so"
    namespace: str = "team-a"
    replicas: int = 1
    least: int = 0
    most: int = 20
    cooldown_s: float = 300.0
    fallback: Fallback | None = None
    cached: bool = False  # useCachedMetrics
    last_active_s: float | None = None
    failures: int = 0
    metric: str = ""  # status.externalMetricNames, known once GetMetricSpec was answered
    calls: list[str] = field(default_factory=list)
    _record: State | None = None
    _target: float = 1.0

    async def reconcile(self) -> bool:
        """Make the HPA, as a reconcile does; return whether there is one."""
        specs = await self._specs()
        if specs:
            self.metric = f"s0-{specs[0].metricName}"
        return bool(specs)

    async def poll(self, now_s: float) -> None:
        """Look at the trigger as each pollingInterval, and take it to zero or from zero."""
        state = await self._look()
        self._record = state
        if state.value is None:
            if self.fallback is not None and self.fallback.replicas == 0:
                self._to_zero(now_s)
        elif state.active:
            self._activate(now_s)
        else:
            self._to_zero(now_s)

    async def sync(self) -> None:
        """Act as the HPA at one of its syncs; it asks KEDA, and KEDA asks the trigger."""
        if self.replicas == 0 or not self.metric:
            return  # ScalingDisabled: no metric is asked for
        state = self._record if self.cached and self._record is not None else await self._look()
        if state.value is None:
            return  # 500 from KEDA's metrics server: the HPA keeps what there is
        # AverageValue: the value over the target, rounded up; within KEDA's bounds.
        wanted = math.ceil(round(state.value, 3) / self._target)
        self.replicas = min(max(wanted, self.least, 1), self.most)

    async def listen(
        self, now_s: Callable[[], float], wait: Callable[[float], Awaitable[None]]
    ) -> None:
        """Hold the stream of `external-push` open: true acts at once, false is ignored."""
        retry_s = RETRY_S
        while True:
            self.calls.append("StreamIsActive")
            try:
                async for said in stubs.ExternalScalerStub(self.channel).StreamIsActive(self._ref):
                    if said.result and self.metric:
                        self._activate(now_s())
                retry_s = RETRY_S  # a clean end
            except grpc.aio.AioRpcError:
                pass
            await wait(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    @property
    def _ref(self) -> Any:
        address = {"scalerAddress": "wva.wva-system.svc:6000"}
        return pb.ScaledObjectRef(
            name=self.name, namespace=self.namespace, scalerMetadata={**address, **self.metadata}
        )

    async def _look(self) -> State:
        """Ask for the target, the value and the activity, one after the other."""
        # An empty or failed answer: the scaler is built anew, and asked once more.
        specs = await self._specs() or await self._specs()
        if not specs:
            return State(None)  # no fallback without a spec (keda#8056)
        self._target = specs[0].targetSizeFloat or float(specs[0].targetSize)
        try:
            state = await self._values(specs[0].metricName)
        except grpc.aio.AioRpcError:
            try:
                state = await self._values(specs[0].metricName)
            except grpc.aio.AioRpcError:
                return self._fallen_back()
        self.failures = 0
        return state

    async def _values(self, metric: str) -> State:
        request = pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName=metric)
        answer = await self._call("GetMetrics", request)
        value = sum(each.metricValueFloat or each.metricValue for each in answer.metricValues)
        return State(value, (await self._call("IsActive", self._ref)).result)

    def _fallen_back(self) -> State:
        if self.fallback is None:
            return State(None)
        self.failures += 1
        if self.failures <= self.fallback.threshold:
            return State(None)
        return State(self._target * self.fallback.count(self.replicas), active=True)

    async def _specs(self) -> list[Any]:
        try:
            return list((await self._call("GetMetricSpec", self._ref)).metricSpecs)
        except grpc.aio.AioRpcError:
            return []

    async def _call(self, method: str, request: Any) -> Any:
        self.calls.append(method)
        return await getattr(stubs.ExternalScalerStub(self.channel), method)(request)

    def _activate(self, now_s: float) -> None:
        if self.replicas == 0:
            self.replicas = max(1, self.least)
        self.last_active_s = now_s

    def _to_zero(self, now_s: float) -> None:
        """Take a target to zero whose triggers were last active longer ago than the cooldown."""
        cooling = self.last_active_s is not None and now_s - self.last_active_s <= self.cooldown_s
        if self.least == 0 and not cooling:
            self.replicas = 0
