"""Which part is played when, and that no part outlives its turn."""

import asyncio
import subprocess
import sys

import pytest

from adapter.role import Alone, play


class Elections:
    """A role that a test turns."""

    def __init__(self) -> None:
        self.elected = False
        self._turned = asyncio.Event()

    def turn(self) -> None:
        self.elected = not self.elected
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    def leads(self) -> bool:
        return self.elected

    async def until(self, *, leads: bool) -> None:
        while self.elected != leads:
            await self._turned.wait()

    async def release(self) -> None:
        self.elected = False


def parts(played: list[str]):
    def part(name: str):
        async def work(over: asyncio.Event) -> None:
            played.append(name)
            await over.wait()
            played.append(f"{name} ended")

        return work

    return {"lead": part("lead"), "follow": part("follow")}


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_parts_follow_the_election_one_after_the_other():
    role, stop, played = Elections(), asyncio.Event(), []
    playing = asyncio.ensure_future(play(role, **parts(played), stop=stop))
    await settle()
    role.turn()
    await settle()
    role.turn()
    await settle()
    stop.set()
    await playing
    assert played == [
        "follow",
        "follow ended",
        "lead",
        "lead ended",
        "follow",
        "follow ended",
    ]


async def test_who_is_alone_leads_until_the_end():
    stop, played = asyncio.Event(), []
    playing = asyncio.ensure_future(play(Alone(), **parts(played), stop=stop))
    await settle()
    assert played == ["lead"]
    stop.set()
    await playing
    assert played == ["lead", "lead ended"]


async def test_a_part_that_fails_is_not_hidden():
    async def fails(_over: asyncio.Event) -> None:
        raise RuntimeError("the loop can't be started")

    with pytest.raises(RuntimeError, match="can't be started"):
        await play(Alone(), lead=fails, follow=fails, stop=asyncio.Event())


def test_without_a_cluster_the_kubernetes_client_is_not_loaded():
    code = (
        "import sys, adapter.app, adapter.worker\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'kubernetes'])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.strip() == b"[]"
