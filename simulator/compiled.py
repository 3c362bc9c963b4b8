"""The kernel as machine code, where numba (extra `[sim]`) is installed."""

import inspect
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np

from . import admission, kernel, metering, serving_kernel, state, stretch

__all__ = ["compiled_advance", "compiled_serve", "has_numba", "typed_list"]

Advance: TypeAlias = Callable[[state.Engine, float, np.random.Generator], int]
Serve: TypeAlias = Callable[..., int]

KERNEL = (state, metering, admission, stretch, kernel)


@cache
def has_numba() -> bool:
    return find_spec("numba") is not None


@cache
def compiled_advance() -> Advance:
    """Return `kernel.advance` as machine code, which numba keeps on disk between runs."""
    import numba

    fingerprint = _prepared(*KERNEL)

    def run(engine: state.Engine, until_s: float, random: np.random.Generator) -> int:
        kernel.advance(engine, until_s, random)
        return fingerprint

    advance: Advance = numba.njit(cache=True, nogil=True)(run)
    return advance


@cache
def compiled_serve() -> Serve:
    """Return `serving_kernel.serve` as machine code; engines and keys are typed lists."""
    import numba

    fingerprint = _prepared(*KERNEL, serving_kernel)

    def run(
        engines: Any,
        pool: serving_kernel.Pool,
        gateway: serving_kernel.Gateway,
        law: int,
        until_s: float,
        random: np.random.Generator,
    ) -> int:
        serving_kernel.serve(engines, pool, gateway, law, until_s, random)
        return fingerprint

    serve: Serve = numba.njit(cache=True, nogil=True)(run)
    return serve


def typed_list(items: Iterable[Any]) -> Any:
    """Return `items` as the list that compiled code takes; at least one."""
    from numba.typed import List

    typed = List()
    for item in items:
        typed.append(item)
    return typed


@cache
def _prepared(*modules: ModuleType) -> int:
    """Let compiled code call the modules' functions; return the fingerprint of their text.

    numba looks at this file's time stamp and at the closure's values to tell whether what
    it kept still holds, so the kernel's text goes into one.
    """
    from numba.extending import register_jitable

    for module in modules:
        for function in vars(module).values():
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                register_jitable(function)
    text = "".join(inspect.getsource(module) for module in modules)
    return zlib.crc32(text.encode())
