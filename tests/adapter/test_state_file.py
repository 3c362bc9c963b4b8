"""The state in a file: whole or not at all, whatever ends the writer."""

import asyncio
import signal
import sys

import pytest

from adapter.errors import StateError
from adapter.state_file import NAME, StateFile

WRITER = """
import asyncio, sys
from pathlib import Path
from adapter.state_file import StateFile

async def main():
    file = StateFile(Path(sys.argv[1]))
    print("ready", flush=True)
    while True:
        for byte in (b"a", b"b"):
            await file.save(byte * 2_000_000)

asyncio.run(main())
"""


async def test_what_was_saved_is_loaded(tmp_path):
    file = StateFile(tmp_path / "made")
    assert await file.load() is None
    await file.save(b"one")
    await file.save(b"two")
    assert await file.load() == (b"two", None)
    assert [path.name for path in (tmp_path / "made").iterdir()] == [NAME]


async def test_a_folder_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="can't be written"):
        await StateFile(tmp_path / "file").save(b"x")


async def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(StateError, match="can't be read"):
        await StateFile(tmp_path).load()


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.05, 0.1])
async def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path, after_s):
    await StateFile(tmp_path).save(b"a" * 2_000_000)
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    await writer.stdout.readline()
    await asyncio.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    await writer.wait()
    kept = await StateFile(tmp_path).load()
    assert len(kept.data) == 2_000_000
    assert len(set(kept.data)) == 1
