"""The kernel as machine code, where numba (extra `[sim]`) is installed."""

import inspect
import zlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import TypeAlias

import numpy as np

from . import admission, kernel, metering, state, stretch

__all__ = ["compiled_advance", "has_numba"]

Advance: TypeAlias = Callable[[state.Engine, float, np.random.Generator], int]


@cache
def has_numba() -> bool:
    return find_spec("numba") is not None


@cache
def compiled_advance() -> Advance:
    """Return `kernel.advance` as machine code, which numba keeps on disk between runs.

    numba looks at this file's time stamp and at the closure's values to tell whether what
    it kept still holds, so the kernel's text goes into one.
    """
    import numba
    from numba.extending import register_jitable

    modules = (state, metering, admission, stretch, kernel)
    for module in modules:
        for function in vars(module).values():
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                register_jitable(function)
    text = "".join(inspect.getsource(module) for module in modules)
    fingerprint = zlib.crc32(text.encode())

    def run(engine: state.Engine, until_s: float, random: np.random.Generator) -> int:
        kernel.advance(engine, until_s, random)
        return fingerprint

    advance: Advance = numba.njit(cache=True, nogil=True)(run)
    return advance
