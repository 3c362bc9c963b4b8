"""A saved state in a file: replaced whole, on the disk before the old one is gone."""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

from .errors import StateError
from .kept_state import KeptState

__all__ = ["StateFile"]

NAME = "decisions.state"
MAX_BYTES = 1 << 28


class StateFile:
    """The state in a folder of its own, or one that certificates share."""

    spacing_s = 0.5

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.place = str(self._path)

    async def load(self) -> KeptState | None:
        """Return what is kept, None if there is no file.

        Raises
        ------
        StateError
            If it can't be read.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, data: bytes) -> None:
        """Replace the file.

        Raises
        ------
        StateError
            If it can't be written; then the old one is still there.
        """
        await asyncio.to_thread(self._write, data)

    def _read(self) -> KeptState | None:
        try:
            size = self._path.stat().st_size
            if size > MAX_BYTES:
                raise StateError(f"{self._path} of {size} bytes is above the bound of {MAX_BYTES}")
            return KeptState(self._path.read_bytes(), None)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StateError(f"{self._path} can't be read: {exc}") from exc

    def _write(self, data: bytes) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{NAME}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    # A name that is on the disk before its content is an empty file after
                    # a power cut.
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
            _sync_folder(folder)
        except OSError as exc:
            raise StateError(f"{self._path} can't be written: {exc}") from exc


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
