"""The five methods of KEDA's external scaler, answered from the store.

Nothing is computed here and nothing is waited for but the next publication. A decision
that can't be obeyed is UNAVAILABLE and never 0 or false: KEDA would scale on those. An
open StreamIsActive says nothing instead: ending it would make KEDA wait up to 60 s
before it listens again, and its polls of IsActive show the error meanwhile.
"""

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc

from adapter.errors import AdapterError, StalePublicationError, UnknownMetricError
from adapter.store import Store

from ._generated import externalscaler_pb2 as pb
from .metadata import DEFAULT_METRIC, ScalerRef, check_namespace, parse_scaler_ref

__all__ = ["METHODS", "ExternalScaler"]

logger = logging.getLogger(__name__)

METHODS = ("IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec")
TARGET = 1  # replicas per replica: with AverageValue, HPA's count is our figure
# KEDA drops a push that comes before it has made the HPA, so a "true" is said again.
RESEND_S = 15.0

# KEDA before 2.7 asks for the HPA's name of the metric, which has the trigger's index.
_TRIGGER_INDEX = re.compile(r"^s\d+-")
_LEAST_FLOAT = 0.001

Context = grpc.aio.ServicerContext


class ExternalScaler:
    """Answers KEDA's operator.

    Parameters
    ----------
    store : Store
        Where decisions are read.
    namespaces : tuple of str
        Namespaces besides its own that a ScaledObject may name; "*" for all.
    served : callable
        Told the gRPC code of every answer.
    resend_s : float
        How often an active stream repeats itself. [s]
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
        """End all streams cleanly, so that KEDA opens them elsewhere at once."""
        self._draining.set()

    async def IsActive(self, request: Any, context: Context) -> Any:  # noqa: N802 - KEDA's name
        """Tell whether the workload needs more than zero replicas."""
        return await self._answer(context, lambda: self._is_active(self._ref(request)))

    async def GetMetricSpec(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Tell the metric and its target: from configuration alone, whatever is down."""
        return await self._answer(context, lambda: self._metric_spec(self._ref(request)))

    async def GetMetrics(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Tell the metric's value."""
        return await self._answer(context, lambda: self._metrics(request))

    async def StreamIsActive(  # noqa: N802
        self, request: Any, context: Context
    ) -> AsyncIterator[Any]:
        """Tell the state at once, on every change, and "true" again now and then."""
        with self._stream():
            ref = await self._answer(context, lambda: self._ref(request))
            told: bool | None = None
            told_s = -math.inf
"""
"""
