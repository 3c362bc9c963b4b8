"""The scenarios' onlookers end between two looks, and say what went wrong with one."""

import asyncio

import pytest

from .control_plane.looking import Looking


async def test_a_look_under_way_is_finished_and_is_the_last() -> None:
    began, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def look() -> None:
        began.set()
        await may_end.wait()
        ended.append(True)

    looking = Looking(look, every_s=0.0)
    looking.start()
    await began.wait()
    stopping = asyncio.create_task(looking.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    may_end.set()
    await stopping
    assert ended == [True]


async def test_nobody_waits_for_the_next_look_to_stop() -> None:
    looked = asyncio.Event()

    async def look() -> None:
        looked.set()

    looking = Looking(look, every_s=3600.0)
    looking.start()
    await looked.wait()
    await asyncio.wait_for(looking.stop(), 10)


async def test_what_went_wrong_with_a_look_is_raised_at_the_end() -> None:
    looked = asyncio.Event()

    async def look() -> None:
        looked.set()
        raise LookupError("nothing there")

    looking = Looking(look, every_s=0.0)
    looking.start()
    await looked.wait()
    with pytest.raises(LookupError, match="nothing there"):
        await looking.stop()
