"""From a request in the router's queue to KEDA's open stream: the loop and the gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import grpc
import pytest

from adapter.clock import ShiftedClock, SystemClock
from adapter.config import KedaSettings, parse_settings
from adapter.decide import DecisionMemory
from adapter.frames import read_frame
from adapter.keda._generated import externalscaler_pb2 as pb
from adapter.keda._generated import externalscaler_pb2_grpc as stubs
from adapter.keda.server import KedaServer
from adapter.loop import Loop
from adapter.publish import SERVED_METRICS
from adapter.records import Publication
from adapter.store import Store
from tests.helpers.pages import PageServer, page

QUEUE = 'llm_d_epp_flow_control_queue_size{{model_name="{0}",target_model_name="{0}"}} {1}\n'
# The next tick is due in an hour: what is decided meanwhile, a waiting request asked for.
SETTINGS = """
interval_s: 3600
wake_interval_s: 0.01
sources:
  scrape: {{window_s: 7200}}
  router: {{endpoints: ["{url}"]}}
  discovery: {{url: "{url}/all"}}
accelerators:
  H100: {{cost_per_hour: 4}}
  A100: {{cost_per_hour: 2}}
  L40S: {{cost_per_hour: 1}}
service_classes: {{chat: {{priority: 1, slo: {{itl_ms: {itl_ms}}}}}}}
models:
  m:
    service_class: chat
    profiles:
      H100: {{alpha_ms: 5, beta_ms: 0.1, max_batch_size: 64}}
      A100: {{alpha_ms: 12, beta_ms: 0.2, max_batch_size: 64}}
      L40S: {{alpha_ms: 30, beta_ms: 0.5, max_batch_size: 64}}
  n: {{}}
variants:
  - {{name: dear, model: m, accelerator: H100, min_replicas: 0}}
  - {{name: middling, model: m, accelerator: A100, min_replicas: 0}}
  - {{name: cheap, model: m, accelerator: L40S, min_replicas: 0}}
  - {{name: other, model: n, accelerator: L40S, min_replicas: 0}}
"""
NAMES = ("dear", "middling", "cheap", "other")


@dataclass
class Adapter:
    """A loop that reads a router, and the server that KEDA asks, joined as in the process."""

    router: PageServer
    itl_ms: float
    store: Store = field(default_factory=lambda: Store(SystemClock(), metrics=SERVED_METRICS))
    heard: dict[str, bool] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        settings = parse_settings(SETTINGS.format(url=self.router.url, itl_ms=self.itl_ms))
        pipe = asyncio.StreamReader()
        loop = Loop(
            settings,
            settings_file=None,
            clock=ShiftedClock(SystemClock(), ahead_s=0.0),
            memory=DecisionMemory.empty(),
            send=pipe.feed_data,
        )
        self._stop = asyncio.Event()
        self._server = KedaServer(KedaSettings(host="127.0.0.1", port=0), self.store)
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._server.port}")
        self._running = [asyncio.create_task(self._serve(pipe))]
        self._running += [asyncio.create_task(self._listen(name)) for name in NAMES]
        self._deciding = asyncio.create_task(loop.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.wait_for(self._deciding, timeout=10)
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._channel.close()
        await self._server.stop(0.2)

    def queue(self, **waiting: int) -> None:
        """Change how many requests wait at the router, by model."""
        lines = (QUEUE.format(model, waiting.get(model, 0)) for model in ("m", "n"))
        self.router.answers["/metrics"] = page("".join(lines))

    async def until(self, holds) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)

    async def _serve(self, pipe: asyncio.StreamReader) -> None:
        while True:
            content = (await read_frame(pipe)).content
            if isinstance(content, Publication):
                self.store.swap(content, received_s=SystemClock().monotonic_s())

    async def _listen(self, name: str) -> None:
        """Listen as KEDA does for one ScaledObject with our trigger."""
        ref = pb.ScaledObjectRef(
            name=name, namespace="default", scalerMetadata={"variantName": name}
        )
        async for said in stubs.ExternalScalerStub(self._channel).StreamIsActive(ref):
            self.heard[name] = said.result


@pytest.fixture
async def router() -> AsyncIterator[PageServer]:
    nobody = page("[]", content_type="application/json")
    async with PageServer({"/all": nobody}) as server:
        yield server


@pytest.mark.parametrize(
    ("itl_ms", "wakes"),
    [
        pytest.param(100, "cheap", id="all-hold-the-slo"),
        pytest.param(20, "middling", id="the-cheapest-does-not"),
        pytest.param(8, "dear", id="only-the-dearest-does"),
        pytest.param(1, "cheap", id="none-does"),
    ],
)
async def test_the_first_request_wakes_the_cheapest_variant_that_holds_the_slo(
    router: PageServer, itl_ms: float, wakes: str
) -> None:
    async with Adapter(router, itl_ms) as adapter:
        adapter.queue()
        await adapter.until(lambda: adapter.store.sequence >= 2 and len(adapter.heard) == 4)
        assert adapter.heard == dict.fromkeys(NAMES, False)
        adapter.queue(m=1)
        await adapter.until(lambda: any(adapter.heard.values()))
        await asyncio.sleep(0.2)  # others would have been told by then
        assert adapter.heard == {**dict.fromkeys(NAMES, False), wakes: True}
