"""Programs that run beside the tests: started, watched, stopped by their own process id."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Daemon", "DaemonError", "free_port", "wait_until"]

# Processes side by side have ports of their own, below those that outgoing connections get.
_PORTS = itertools.cycle(range(first := 12_000 + os.getpid() % 100 * 200, first + 200))


class DaemonError(Exception):
    """A program didn't start, or ended when it shouldn't have; the message ends with its log."""


class Daemon:
    """One program with its log. `start` may be called again after it was stopped or killed."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_bound_to_us(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def stop(self, *, within_s: float = 20.0) -> int:
        """End it in order, or by force when time is up; return its exit status."""
        if self._process is None:
            return 0
        if self.running:
            self.signal(signal.SIGCONT)
            self.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)

    def wait(self, within_s: float) -> int:
        """Return its exit status; an error if it doesn't end in time."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.running:
            self.signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    def wait_ready(self, ready: Callable[[], bool], *, within_s: float) -> None:
        """Wait until `ready`; fail at once if the program ends before."""
        deadline = time.monotonic() + within_s
        while not ready():
            if not self.running:
                raise DaemonError(f"{self.name} ended while starting:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise DaemonError(f"{self.name} isn't ready after {within_s:.0f} s:\n{self.tail()}")
            time.sleep(0.1)


def _bound_to_us() -> list[str]:
    """Return what makes a program end when the tests are killed, where the system has it.

    It ends with the thread that started it, too: start programs from the main thread.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on, and that no outgoing connection takes meanwhile."""
    for _ in range(200):
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
    raise DaemonError(f"none of 200 ports of {host} is free")


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)
