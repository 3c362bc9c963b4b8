"""Limits of each variant's engines before one has answered, as columns. Pure.

In this order: a flag on the engine's command line, the profile that the settings declare,
and for the KV cache what the accelerators' memory leaves beside the weights. What an engine
exports about itself comes before all of them; the engine's own defaults after them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optimizer import FloatArray, prior_kv_capacity_tokens

from .config import Profile, Settings, Variant
from .engine_arguments import EngineArguments, parse_engine_arguments

__all__ = ["EngineColumns", "engine_columns"]

_GIB = 2.0**30
_FLAGS = ("max_batch_size", "max_batched_tokens", "kv_capacity_tokens")


class EngineColumns(NamedTuple):
    """One entry per variant; NaN where nothing says."""

    max_batch_size: FloatArray
    max_queue_size: FloatArray
    max_batched_tokens: FloatArray
    kv_capacity_tokens: FloatArray
    stated: tuple[str, ...]  # what the command line sets, in words


def engine_columns(settings: Settings, profiles: Sequence[Profile | None]) -> EngineColumns:
    """Return the limits that settings and command lines give.

    Parameters
    ----------
    settings : Settings
    profiles : sequence of Profile or None, length V
        The declared profile of each variant.
    """
    variants = settings.variants
    commands = [
        parse_engine_arguments(v.engine_arguments) if v.engine_arguments else None for v in variants
    ]

    def known(name: str) -> FloatArray:
        declared = _column([getattr(p, name, None) for p in profiles])
        if name not in _FLAGS:
            return declared
        stated = _column([_stated(command, name) for command in commands])
        return np.where(np.isfinite(stated), stated, declared)

    capacity = known("kv_capacity_tokens")
    return EngineColumns(
        max_batch_size=known("max_batch_size"),
        max_queue_size=known("max_queue_size"),
        max_batched_tokens=known("max_batched_tokens"),
        kv_capacity_tokens=np.where(
            np.isfinite(capacity), capacity, _of_memory(settings, variants, commands)
        ),
        stated=tuple(_words(command) for command in commands),
    )


def _column(values: Sequence[float | None]) -> FloatArray:
    return np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)


def _stated(command: EngineArguments | None, name: str) -> float | None:
    if command is None:
        return None
    if name == "kv_capacity_tokens":
        return command.kv_capacity_tokens
    return getattr(command, name) if name in command.stated else None


def _of_memory(
    settings: Settings, variants: Sequence[Variant], commands: Sequence[EngineArguments | None]
) -> FloatArray:
    """Return the KV tokens that fit beside the weights, where `memory_gib` says how much there is.

    Without a command line the share of memory that an engine takes isn't known.
    """
    memory = [
        math.nan
        if command is None or kind is None or kind.memory_gib is None
        else kind.memory_gib * _GIB * v.accelerators_per_replica * command.gpu_memory_ratio
        for v, command in zip(variants, commands, strict=True)
        for kind in [settings.accelerators.get(v.accelerator)]
    ]
    narrow = [command is not None and "fp8" in command.kv_cache_dtype for command in commands]
    return prior_kv_capacity_tokens(
        [v.model for v in variants],
        memory_bytes=_column(memory),
        number_bytes=np.where(narrow, 1.0, 2.0),
    )


def _words(command: EngineArguments | None) -> str:
    if command is None:
        return ""
    return ", ".join(f"{name} {getattr(command, name):g}" for name in sorted(command.stated))
