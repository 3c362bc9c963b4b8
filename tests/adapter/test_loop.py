"""The loop's cadence, with a real router page behind it."""

import asyncio
import pickle

import pytest

from adapter.clock import SystemClock
from adapter.config import parse_settings
from adapter.loop import Loop
from adapter.records import Publication
from tests.helpers.pages import PageServer, page

HEADER_BYTES = 8
QUEUE = 'llm_d_epp_flow_control_queue_size{model_name="m",target_model_name="m"}'


class Published:
    """What a loop sends; tells when something has come."""

    def __init__(self) -> None:
        self.seen: list[Publication] = []
        self._came = asyncio.Event()

    def send(self, frame: bytes) -> None:
        self.seen.append(pickle.loads(frame[HEADER_BYTES:]))
        self._came.set()

    async def more_than(self, count: int) -> None:
        while len(self.seen) <= count:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), timeout=20)

    @property
    def desired(self) -> list[list[float]]:
        return [one.values["wva_desired_replicas"].tolist() for one in self.seen]


@pytest.fixture
async def router():
    nobody = page("[]", content_type="application/json")
    async with PageServer({"/metrics": page(f"{QUEUE} 0\n"), "/all": nobody}) as server:
        yield server


async def test_the_first_request_for_a_model_at_zero_is_decided_on_at_once(router):
    settings = parse_settings(
        f"""
interval_s: 3600
wake_interval_s: 0.01
sources:
  router: {{endpoints: ["{router.url}"]}}
  discovery: {{url: "{router.url}/all"}}
accelerators: {{H100: {{cost_per_hour: 4}}, L40S: {{cost_per_hour: 1}}}}
models: {{m: {{}}}}
variants:
  - {{name: fast, model: m, accelerator: H100, min_replicas: 0}}
  - {{name: slow, model: m, accelerator: L40S, min_replicas: 0}}
"""
    )
    published, stop = Published(), asyncio.Event()
    loop = Loop(settings, settings_file=None, clock=SystemClock(), send=published.send)
    running = asyncio.ensure_future(loop.run(stop))
    await published.more_than(1)  # two at the start; the next is due in an hour
    assert published.desired[-1] == [0.0, 0.0]
    router.answers["/metrics"] = page(f"{QUEUE} 1\n")
    await published.more_than(2)
    assert sum(published.desired[-1]) == 1.0  # one variant wakes, not all
    stop.set()
    await asyncio.wait_for(running, timeout=10)
