"""Beside KEDA, another listener of the same stream, which notes when it was told what."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from adapter.keda._generated import externalscaler_pb2 as pb
from adapter.keda._generated import externalscaler_pb2_grpc as stubs

__all__ = ["Heard", "listening"]


@dataclass
class Heard:
    """What a stream has said since somebody began to listen."""

    said: list[tuple[float, bool]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, active: bool) -> None:
        self.said.append((time.monotonic(), active))
        self._news.set()

    async def next(self, active: bool) -> float:
        """Wait until the stream has said so last; return when it did."""
        while not self.said or self.said[-1][1] is not active:
            self._news.clear()
            await self._news.wait()
        return self.said[-1][0]


@contextlib.asynccontextmanager
async def listening(address: str, variant: str, namespace: str) -> AsyncIterator[Heard]:
    heard = Heard()
    ref = pb.ScaledObjectRef(
        name=variant, namespace=namespace, scalerMetadata={"variantName": variant}
    )

    async def listen() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            async for each in stubs.ExternalScalerStub(channel).StreamIsActive(ref):
                heard.add(each.result)

    running = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
