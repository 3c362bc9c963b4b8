"""The `python_*` and `process_*` families of an emulated server.

The interpreter, its memory and its files are this process's, which the replicas of a
fleet share; start and CPU time are the replica's own. Memory and files are left out where
the platform has no /proc, as Python's client library does.
"""

import gc
import os
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import state
from .prometheus_text import Family, counter, gauge
from .vllm_families import EngineMetrics

__all__ = ["process_families"]

PROC = Path("/proc/self")


def process_families(*, start_unix_s: float) -> list[Family[EngineMetrics]]:
    """Return the families that come first on the page."""
    return [
        _gc("objects_collected", "Objects collected during gc", "collected"),
        _gc("objects_uncollectable", "Uncollectable objects found during GC", "uncollectable"),
        _gc("collections", "Number of times this generation was collected", "collections"),
        gauge("python_info", "Python platform information", lambda _: (1.0,), _python_labels()),
        *(_memory() if PROC.exists() else ()),
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            lambda _: (start_unix_s,),
        ),
        _untimed_counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            lambda metrics: (metrics.engine.meters.sums[state.BUSY_S],),
        ),
        *(_files() if PROC.exists() else ()),
    ]


def _untimed_counter(
    name: str,
    text: str,
    read: Callable[[EngineMetrics], Sequence[float]],
    *labels: dict[str, str],
) -> Family[EngineMetrics]:
    """Describe a counter without a `_created` twin, as collectors of the process have none."""
    return replace(counter(name, text, read, *(labels or ({},))), created=())


def _gc(what: str, text: str, key: str) -> Family[EngineMetrics]:
    return _untimed_counter(
        f"python_gc_{what}_total",
        text,
        lambda _: [generation[key] for generation in gc.get_stats()],
        *({"generation": str(generation)} for generation in range(len(gc.get_stats()))),
    )


def _python_labels() -> dict[str, str]:
    return {
        "implementation": platform.python_implementation(),
        "major": str(sys.version_info.major),
        "minor": str(sys.version_info.minor),
        "patchlevel": str(sys.version_info.micro),
        "version": platform.python_version(),
    }


def _memory() -> list[Family[EngineMetrics]]:
    page_bytes = os.sysconf("SC_PAGE_SIZE")

    def pages(field: int) -> Callable[[EngineMetrics], Sequence[float]]:
        return lambda _: (int((PROC / "statm").read_text().split()[field]) * page_bytes,)

    return [
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", pages(0)),
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.", pages(1)),
    ]


def _files() -> list[Family[EngineMetrics]]:
    return [
        gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            lambda _: (sum(1 for _ in (PROC / "fd").iterdir()),),
        ),
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            lambda _: (resource.getrlimit(resource.RLIMIT_NOFILE)[0],),
        ),
    ]
