"""The five methods of KEDA's external scaler, answered from the store.

Nothing is computed here, and nothing is waited for but the next publication. A decision
that can't be obeyed is UNAVAILABLE and never 0 or false: KEDA would scale on those. An
open StreamIsActive stays silent instead, also on a variant that isn't known yet: ending it
would make KEDA wait up to 60 s before it listens again, longer each time, and its polls of
IsActive show the error meanwhile.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from adapter.errors import AdapterError, NoMatchError, StalePublicationError
from adapter.store import Store

from ._generated import externalscaler_pb2 as pb
from .metadata import DEFAULT_METRIC, ScalerRef, check_namespace, parse_scaler_ref

__all__ = ["ExternalScaler"]

# One replica per desired replica: with AverageValue, HPA's count is our figure.
TARGET = 1
# KEDA drops a push that comes before it has made the HPA, so "true" is said again.
RESEND_S = 15.0

# KEDA before 2.7 asks for the metric by the HPA's name, with the trigger's index before it.
_TRIGGER_INDEX = re.compile(r"^s\d+-")
# KEDA rounds floats to thousandths: below this a value above zero would become zero.
_LEAST_FLOAT = 0.001

# Messages are of generated classes, which have no types.
Message = Any


class ExternalScaler:
    """Answers KEDA's operator.

    Parameters
    ----------
    store : Store
        Where decisions are read.
    namespaces : tuple of str
        Namespaces besides its own that a ScaledObject may name; "*" for all.
    served : callable
        Told the gRPC code of every answer; of a stream, when it ends.
    resend_s : float
        How often an active stream repeats itself. [s]

    Attributes
    ----------
    open_streams : int
        Streams that KEDA holds open.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespaces: tuple[str, ...],
        served: Callable[[str], None],
        resend_s: float = RESEND_S,
    ) -> None:
        self._store = store
        self._namespaces = namespaces
        self._served = served
        self._resend_s = resend_s
        self._draining = asyncio.Event()
        self.open_streams = 0

    def drain(self) -> None:
        """End all streams cleanly: KEDA opens them again elsewhere, without backing off."""
        self._draining.set()

    async def IsActive(  # noqa: N802 - the contract's name, as below
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> Message:
        """Tell whether the workload needs more than zero replicas."""
        async with self._answering(context):
            return pb.IsActiveResponse(result=self._active(self._ref(request)))

    async def GetMetricSpec(  # noqa: N802
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> Message:
        """Tell the metric and its target: from configuration alone, whatever is down."""
        async with self._answering(context):
            return _metric_spec(self._ref(request))

    async def GetMetrics(  # noqa: N802
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> Message:
        """Tell the metric's value."""
        async with self._answering(context):
            ref = self._ref(request.scaledObjectRef)
            metric = self._store.metric(_TRIGGER_INDEX.sub("", request.metricName) or ref.metric)
            value = self._store.read(ref.namespace, metric, ref.variant)
            return pb.GetMetricsResponse(metricValues=[_metric_value(metric, value)])

    async def StreamIsActive(  # noqa: N802
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> None:
        """Tell the state at once, on every change, and "true" again now and then."""
        now_s = asyncio.get_running_loop().time
        told, told_s = None, -math.inf
        async with self._answering(context):
            with self._counted():
                ref = self._ref(request)
                while not self._draining.is_set():
                    sequence = self._store.sequence
                    active = self._active_if_known(ref)
                    repeat = active is True and now_s() - told_s >= self._resend_s
                    if active is not None and (active is not told or repeat):
                        await context.write(pb.IsActiveResponse(result=active))
                        told, told_s = active, now_s()
                    await self._next_look(sequence)

    async def StreamMetricSpec(  # noqa: N802
        self, request: Message, context: grpc.aio.ServicerContext
    ) -> None:
        """Tell the metric and its target, which never change while this process lives."""
        async with self._answering(context):
            with self._counted():
                await context.write(_metric_spec(self._ref(request)))
                await self._draining.wait()

    def _ref(self, request: Message) -> ScalerRef:
        ref = parse_scaler_ref(request.name, request.namespace, request.scalerMetadata)
        check_namespace(ref, self._namespaces)
        self._store.metric(ref.metric)
        return ref

    def _active(self, ref: ScalerRef) -> bool:
        return self._store.read(ref.namespace, DEFAULT_METRIC, ref.variant) > 0

    def _active_if_known(self, ref: ScalerRef) -> bool | None:
        try:
            return self._active(ref)
        except (StalePublicationError, NoMatchError):
            return None

    async def _next_look(self, sequence: int) -> None:
        """Wait for a publication later than `sequence`, the end, or the time to look again.

        Time alone changes what is served, too: a decision becomes held, then refused.
        """
        waits = [
            asyncio.ensure_future(self._store.changed(sequence)),
            asyncio.ensure_future(self._draining.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=self._resend_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1

    @asynccontextmanager
    async def _answering(self, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        """Turn our errors into gRPC's, and count the answer."""
        try:
            yield
        except AdapterError as exc:
            self._served(exc.grpc_code)
            await context.abort(grpc.StatusCode[exc.grpc_code], str(exc))
        self._served("OK")


def _metric_spec(ref: ScalerRef) -> Message:
    spec = pb.MetricSpec(metricName=ref.metric, targetSize=TARGET, targetSizeFloat=float(TARGET))
    return pb.GetMetricSpecResponse(metricSpecs=[spec])


def _metric_value(metric: str, value: float) -> Message:
    """Fill both fields: KEDA takes the float if it is above zero, before 2.17 the integer.

    The integer is rounded up, so that it is never less than what is needed, and 0 only
    where the value is.
    """
    return pb.MetricValue(
        metricName=metric,
        metricValue=math.ceil(value),
        metricValueFloat=max(value, _LEAST_FLOAT) if value > 0 else 0.0,
    )
