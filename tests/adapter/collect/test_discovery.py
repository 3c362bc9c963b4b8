"""A list that can't be had keeps the last one, and says so."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from adapter.collect.discovery import Discovery
from adapter.collect.faults import FaultBook
from adapter.collect.fetch import Fetcher
from adapter.config import parse_settings
from adapter.records import Reason
from tests.helpers.pages import Answer, PageServer, cut, hang, page, reset


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    one = Fetcher()
    await one.open()
    yield one
    await one.close()


def listed(*targets: str, variant: str = "a") -> Answer:
    groups = [{"targets": [target], "labels": {"variant": variant}} for target in targets]
    return page(json.dumps(groups), content_type="application/json")


def settings_of(url: str, *, own: str = ""):
    return parse_settings(
        f"""
sources: {{discovery: {{url: "{url}/all", timeout_s: 0.6}}}}
models: {{m: {{}}}}
variants:
  - {{name: a, model: m, accelerator: H100}}
  - {{name: b, model: m, accelerator: H100{own}}}
"""
    )


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        pytest.param(page("", "500 Oops"), Reason.HTTP_STATUS, id="500"),
        pytest.param(hang(), Reason.TIMEOUT, id="hang"),
        pytest.param(reset(), Reason.RESET, id="reset"),
        pytest.param(cut("[]" * 50), Reason.MALFORMED, id="half-a-body"),
        pytest.param(page("<html>"), Reason.MALFORMED, id="html"),
        pytest.param(page('[{"targets": 1}]'), Reason.MALFORMED, id="no-list"),
    ],
)
async def test_a_failed_discovery_keeps_the_last_list(
    fetcher: Fetcher, misdeed: Answer, reason: Reason
) -> None:
    async with PageServer({"/all": listed("h:1", "h:2")}) as server:
        faults = FaultBook()
        discovery = Discovery(settings_of(server.url), faults)
        good = await discovery.refresh(fetcher, now_s=1.0)
        assert good.current.tolist() == [2, 0]
        server.answers["/all"] = misdeed
        for now_s in (2.0, 3.0):
            kept = await discovery.refresh(fetcher, now_s=now_s)
            assert kept is good
        (fault,) = faults.faults()
        assert fault.reason is reason
        assert fault.since_s == 2.0
        assert "the last list stands" in fault.message
        server.answers["/all"] = listed("h:1")
        well = await discovery.refresh(fetcher, now_s=4.0)
        assert well.current.tolist() == [1, 0]
        assert faults.faults() == ()


async def test_before_the_first_list_counts_are_unknown(fetcher: Fetcher) -> None:
    async with PageServer({"/all": page("", "500 Oops")}) as server:
        faults = FaultBook()
        fleet = await Discovery(settings_of(server.url), faults).refresh(fetcher, now_s=1.0)
    assert fleet.current.tolist() == [-1, -1]
    assert fleet.replicas == ()
    assert "no list yet" in faults.faults()[0].message


async def test_an_empty_list_is_an_answer(fetcher: Fetcher) -> None:
    async with PageServer({"/all": listed("h:1")}) as server:
        discovery = Discovery(settings_of(server.url), FaultBook())
        await discovery.refresh(fetcher, now_s=1.0)
        server.answers["/all"] = page("[]")
        fleet = await discovery.refresh(fetcher, now_s=2.0)
    assert fleet.current.tolist() == [0, 0]


async def test_one_list_failing_leaves_the_others_alone(fetcher: Fetcher) -> None:
    async with PageServer({"/all": listed("h:1"), "/b": listed("h:9", variant="b")}) as server:
        settings = settings_of(server.url, own=f', discovery: "{server.url}/b"')
        discovery = Discovery(settings, FaultBook())
        first = await discovery.refresh(fetcher, now_s=1.0)
        assert first.current.tolist() == [1, 1]
        server.answers["/b"] = page("", "500 Oops")
        server.answers["/all"] = listed("h:1", "h:2")
        second = await discovery.refresh(fetcher, now_s=2.0)
    assert second.current.tolist() == [2, 1]


async def test_the_same_list_is_the_same_fleet(fetcher: Fetcher) -> None:
    async with PageServer({"/all": listed("h:1")}) as server:
        discovery = Discovery(settings_of(server.url), FaultBook())
        first = await discovery.refresh(fetcher, now_s=1.0)
        assert await discovery.refresh(fetcher, now_s=2.0) is first


async def test_other_settings_keep_the_lists_of_sources_that_stay(fetcher: Fetcher) -> None:
    async with PageServer({"/all": listed("h:1")}) as server:
        discovery = Discovery(settings_of(server.url), FaultBook())
        await discovery.refresh(fetcher, now_s=1.0)
        server.answers["/all"] = page("", "500 Oops")
        discovery.reconfigure(settings_of(server.url, own=", max_replicas: 20"))
        fleet = await discovery.refresh(fetcher, now_s=2.0)
    assert fleet.current.tolist() == [1, 0]
