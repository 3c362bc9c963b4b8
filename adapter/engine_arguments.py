"""What an engine's command line says of its limits, before it has answered anything. Pure.

Reads `--flag=value` and `--flag value`, with dashes or underscores, also inside a shell's
`-c` string, and `NAME=value` before the command. Values that don't parse, and flags that
aren't there, leave the engine's own defaults. What an engine exports about itself is better
than what is read here.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["EngineArguments", "limits_in", "parse_engine_arguments"]

# Token budgets of one step that the engines choose by themselves.
_CHUNKED_TOKENS = 8192
_CHUNKED_TOKENS_OF_V0 = 2048
_SGLANG_CHUNK_TOKENS = 8192
_V0 = "VLLM_USE_V1"  # 0: the engine before chunks were the rule
_SGLANG_PREFILL_TOKENS = 16_384
# What a flag sets, by its names: what the command line states counts before what is assumed.
_VLLM_FLAGS = {
    "max-num-seqs": "max_batch_size",
    "max-num-batched-tokens": "max_batched_tokens",
    "no-enable-chunked-prefill": "max_batched_tokens",
    "block-size": "block_size_tokens",
    "num-gpu-blocks-override": "kv_blocks",
    "gpu-memory-utilization": "gpu_memory_ratio",
}
_SGLANG_FLAGS = {
    "max-running-requests": "max_batch_size",
    "chunked-prefill-size": "max_batched_tokens",
    "max-prefill-tokens": "max_batched_tokens",
    "page-size": "block_size_tokens",
    "max-total-tokens": "kv_blocks",
    "mem-fraction-static": "gpu_memory_ratio",
}
_OTHER_FLAGS = {
    "disable-cuda-graph", "enable-chunked-prefill", "enforce-eager", "kv-cache-dtype",
    "max-model-len", "pipeline-parallel-size", "tensor-parallel-size", "tp", "tp-size",
}  # fmt: skip
_KEPT = _VLLM_FLAGS.keys() | _SGLANG_FLAGS.keys() | _OTHER_FLAGS
_SHORT = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArguments:
    """Limits that a command line sets, or the engine's defaults for them."""

    engine: str
    gpu_memory_ratio: float
    block_size_tokens: int
    kv_cache_dtype: str
    accelerators_per_replica: int
    max_batch_size: int
    max_batched_tokens: int
    kv_blocks: int | None  # None: the engine measures what fits
    enforce_eager: bool
    stated: frozenset[str] = frozenset()  # fields that a flag of the command line sets

    @property
    def kv_capacity_tokens(self) -> int | None:
        """Return the tokens that the KV cache is told to hold; None: the engine measures it."""
        return None if self.kv_blocks is None else self.kv_blocks * self.block_size_tokens


def parse_engine_arguments(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> EngineArguments:
    """Return what `command` (entrypoint and arguments of a container) says.

    >>> parse_engine_arguments(["vllm", "serve", "m", "--max-num-seqs=64"]).max_batch_size
    64
    """
    words = _words(command)
    flags = _flags(words)
    if any("sglang" in word.lower() for word in command):
        return _sglang(flags)
    return _vllm(flags, {**_assignments(words), **(environment or {})})


def limits_in(command: Sequence[str]) -> tuple[str, ...]:
    """Return the part of a command that says something of limits, without keys and paths.

    >>> limits_in(["vllm", "serve", "m", "--api-key", "x", "--max-num-seqs", "64"])
    ('vllm', '--max-num-seqs=64')
    """
    words = _words(command)
    engine = "sglang" if any("sglang" in word.lower() for word in command) else "vllm"
    flags = (
        f"--{flag}={value}" if value else f"--{flag}"
        for flag, value in _flags(words).items()
        if flag in _KEPT
    )
    old = [f"{name}={value}" for name, value in _assignments(words).items() if name == _V0]
    return (*old, engine, *flags)


def _vllm(flags: Mapping[str, str], environment: Mapping[str, str]) -> EngineArguments:
    return EngineArguments(
        engine="vllm",
        gpu_memory_ratio=_number(flags, "gpu-memory-utilization", 0.9),
        block_size_tokens=_optional(flags, "block-size") or 16,
        kv_cache_dtype=flags.get("kv-cache-dtype") or "auto",
        accelerators_per_replica=(_optional(flags, "tensor-parallel-size") or 1)
        * (_optional(flags, "pipeline-parallel-size") or 1),
        max_batch_size=_optional(flags, "max-num-seqs") or 256,
        max_batched_tokens=_vllm_batched_tokens(flags, environment),
        kv_blocks=_optional(flags, "num-gpu-blocks-override"),
        enforce_eager=_is_set(flags, "enforce-eager"),
        stated=_stated(flags, _VLLM_FLAGS),
    )


def _vllm_batched_tokens(flags: Mapping[str, str], environment: Mapping[str, str]) -> int:
    explicit = _optional(flags, "max-num-batched-tokens")
    if explicit is not None:
        return explicit
    if environment.get(_V0) != "0":
        whole = _optional(flags, "max-model-len") if "no-enable-chunked-prefill" in flags else None
        return max(whole or 0, _CHUNKED_TOKENS)
    if _is_set(flags, "enable-chunked-prefill"):
        return _CHUNKED_TOKENS_OF_V0
    # Without chunks a prompt has to fit into one step.
    return max(_optional(flags, "max-model-len") or 0, _CHUNKED_TOKENS_OF_V0)


def _sglang(flags: Mapping[str, str]) -> EngineArguments:
    chunk = _number(flags, "chunked-prefill-size", _SGLANG_CHUNK_TOKENS)
    whole = _optional(flags, "max-prefill-tokens") or _SGLANG_PREFILL_TOKENS
    return EngineArguments(
        engine="sglang",
        gpu_memory_ratio=_number(flags, "mem-fraction-static", 0.9),
        block_size_tokens=_optional(flags, "page-size") or 1,
        kv_cache_dtype=flags.get("kv-cache-dtype") or "auto",
        accelerators_per_replica=_optional(flags, "tp", "tp-size", "tensor-parallel-size") or 1,
        max_batch_size=_optional(flags, "max-running-requests") or 256,
        max_batched_tokens=int(chunk) if chunk >= 1 else whole,
        kv_blocks=_pages(flags),
        enforce_eager=_is_set(flags, "disable-cuda-graph"),
        stated=_stated(flags, _SGLANG_FLAGS),
    )


def _pages(flags: Mapping[str, str]) -> int | None:
    total = _optional(flags, "max-total-tokens")
    return None if total is None else total // (_optional(flags, "page-size") or 1)


def _stated(flags: Mapping[str, str], fields: Mapping[str, str]) -> frozenset[str]:
    """Return the fields that flags set to a number that counts."""
    return frozenset(
        field
        for flag, field in fields.items()
        if flag in flags and (flag.startswith("no-") or _number(flags, flag, 0.0) > 0)
    )


def _assignments(words: Sequence[str]) -> dict[str, str]:
    """Return the environment that is written before a command, as a shell has it."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            break
        found[name] = value
    return found


def _words(command: Sequence[str]) -> list[str]:
    """Return the words of a command, those of a shell's script among them."""
    words: list[str] = []
    for word in command:
        # A flag's JSON value has blanks too: only what holds flags itself is a script.
        if " " in word and "--" in word:
            words.extend(_split(word))
        else:
            words.append(word)
    return words


def _split(script: str) -> list[str]:
    try:
        return shlex.split(script, comments=True)
    except ValueError:  # a quote that doesn't end: blanks still separate
        return script.split()


def _flags(words: Sequence[str]) -> dict[str, str]:
    """Return flags and their values, "" for those without; the last one counts."""
    flags: dict[str, str] = {}
    for given, following in pairwise([*words, ""]):
        flag, equals, value = given.partition("=")
        flag = _SHORT.get(flag, flag)
        if not flag.startswith("--"):
            continue
        own_value = following if _is_value(following) else ""
        flags[flag[2:].replace("_", "-")] = value if equals else own_value
    return flags


def _is_value(word: str) -> bool:
    """Return whether a word is a value: "-1" is, "--flag" and "-v" aren't."""
    return not word.startswith("-") or word[1:2].isdigit()


def _number(flags: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(flags[name])
    except (KeyError, ValueError):
        return default
    return value if math.isfinite(value) else default


def _optional(flags: Mapping[str, str], *names: str) -> int | None:
    """Return the first of the flags that is a positive number."""
    values = (_number(flags, name, 0.0) for name in names)
    return next((int(value) for value in values if value >= 1), None)


def _is_set(flags: Mapping[str, str], name: str) -> bool:
    return name in flags and flags[name].lower() not in {"false", "0"}
