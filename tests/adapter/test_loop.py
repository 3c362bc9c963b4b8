"""The loop's cadence, with a real router page behind it."""

import asyncio

import pytest

from adapter.clock import ShiftedClock, SystemClock
from adapter.config import parse_settings
from adapter.decide import DecisionMemory
from adapter.frames import TickFailure, read_frame
from adapter.loop import Loop
from adapter.records import Publication
from tests.helpers.pages import PageServer, page

QUEUE = 'llm_d_epp_flow_control_queue_size{model_name="m",target_model_name="m"}'


class Published:
    """What a loop sends, read as the serving process reads it."""

    def __init__(self) -> None:
        self._pipe = asyncio.StreamReader()
        self.send = self._pipe.feed_data

    async def next(self, kind):
        """Wait for the next frame of a kind and return what is in it."""
        while True:
            frame = await asyncio.wait_for(read_frame(self._pipe), timeout=20)
            if isinstance(frame.content, kind):
                return frame.content

    async def desired(self) -> list[float]:
        """Wait for the next publication and return its counts."""
        return (await self.next(Publication)).values["wva_desired_replicas"].tolist()


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
  scrape: {{window_s: 7200}}
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
    loop = Loop(
        settings,
        settings_file=None,
        clock=ShiftedClock(SystemClock(), ahead_s=0.0),
        memory=DecisionMemory.empty(),
        send=published.send,
    )
    running = asyncio.ensure_future(loop.run(stop))
    for _ in range(2):  # at the start; the next is due in an hour
        assert await published.desired() == [0.0, 0.0]
    router.answers["/metrics"] = page(f"{QUEUE} 1\n")
    assert sum(await published.desired()) == 1.0  # one variant wakes, not all
    stop.set()
    await asyncio.wait_for(running, timeout=10)


class BrokenClock(SystemClock):
    """Says once that it can't tell the time."""

    broken = True

    def unix_s(self) -> float:
        if self.broken:
            self.broken = False
            raise OSError("no time")
        return super().unix_s()


async def test_a_tick_that_fails_is_told_and_the_next_one_decides():
    published, stop = Published(), asyncio.Event()
    loop = Loop(
        parse_settings(
            "interval_s: 3600\nsources: {scrape: {window_s: 7200}}\n"
            "variants: [{name: v, model: m, accelerator: H100}]"
        ),
        settings_file=None,
        clock=ShiftedClock(BrokenClock(), ahead_s=0.0),
        memory=DecisionMemory.empty(),
        send=published.send,
    )
    running = asyncio.ensure_future(loop.run(stop))
    assert (await published.next(TickFailure)).message == "OSError: no time"
    assert len(await published.desired()) == 1
    stop.set()
    await asyncio.wait_for(running, timeout=10)
