"""The families of vLLM 0.32's `/metrics`: how its numbers are read off an emulated engine.

The wire format itself (names, texts, labels, order, buckets) is vllm_families.yaml.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from operator import attrgetter
from typing import Any, Protocol

import yaml

from optimizer.errors import InvalidInputError

from . import state
from .engine import EngineSpec
from .prometheus_text import (
    Family,
    Histogram,
    Labels,
    counter,
    gauge,
    histogram,
    histogram_values,
)
from .request_histograms import (
    LATENCY_BOUNDS_S,
    PARAMS_N_BOUNDS,
    PREEMPTION_BOUNDS,
    RequestHistograms,
    token_bounds,
)

__all__ = ["EngineMetrics", "ServedModel", "vllm_families"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What the command line of the emulated server says."""

    name: str
    max_model_len: int
    gpu_memory_utilization: float = 0.92


class ShownEngine(Protocol):
    """What a page shows of an engine."""

    @property
    def running(self) -> int:
        """Requests in the batch."""
        ...

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        ...

    @property
    def kv_cache_usage_ratio(self) -> float:
        """Blocks held over blocks there are."""
        ...

    @property
    def meters(self) -> state.Meters:
        """What the engine has counted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """Where the numbers are: the engine, and what was counted over its ended requests."""

    engine: ShownEngine
    requests: RequestHistograms


Read = Callable[[EngineMetrics], Sequence[float]]


def _total(entry: int) -> Read:
    return lambda metrics: (metrics.engine.meters.totals[entry],)


def _observed(name: str) -> Read:
    """Read a histogram over requests by its name there."""
    read: Callable[[RequestHistograms], Histogram] = attrgetter(name)
    return lambda metrics: read(metrics.requests).values()


def _prompts_by_source(metrics: EngineMetrics) -> Sequence[float]:
    totals = metrics.engine.meters.totals
    return (totals[state.PROMPTS] - totals[state.CACHED], totals[state.CACHED], 0.0)


def _hits_by_source(metrics: EngineMetrics) -> Sequence[float]:
    return (metrics.engine.meters.totals[state.HITS], 0.0, 0.0, 0.0, 0.0)


def _success(metrics: EngineMetrics) -> Sequence[float]:
    return (0.0, metrics.requests.finished, 0.0, 0.0, 0.0)  # all by length, as with ignore_eos


def _ttft(metrics: EngineMetrics) -> Sequence[float]:
    meters = metrics.engine.meters
    return histogram_values(meters.ttft_counts, meters.sums[state.TTFT_S])


def _itl(metrics: EngineMetrics) -> Sequence[float]:
    meters = metrics.engine.meters
    return histogram_values(meters.itl_counts, meters.sums[state.ITL_S])


def _iteration_tokens(metrics: EngineMetrics) -> Sequence[float]:
    meters = metrics.engine.meters
    return histogram_values(meters.iteration_counts, meters.totals[state.ITERATION_TOKENS])


# What `read` may name in the table, beside the histograms of RequestHistograms.
READERS: Mapping[str, Read] = {
    "zero": lambda _: (0.0,),
    "awake": lambda _: (1.0, 0.0, 0.0),
    "running": lambda metrics: (metrics.engine.running,),
    "waiting": lambda metrics: (metrics.engine.waiting,),
    "waiting_by_reason": lambda metrics: (metrics.engine.waiting, 0.0),
    "kv_usage": lambda metrics: (metrics.engine.kv_cache_usage_ratio,),
    "prefix_queries": _total(state.QUERIED),
    "prefix_hits": _total(state.HITS),
    "hits_by_source": _hits_by_source,
    "preemption_count": _total(state.PREEMPTIONS),
    "prompts": _total(state.PROMPTS),
    "prompts_cached": _total(state.CACHED),
    "prompts_by_source": _prompts_by_source,
    "generated": _total(state.GENERATED),
    "success": _success,
    "rejections": lambda metrics: (metrics.requests.rejected, 0.0),
    "ttft": _ttft,
    "itl": _itl,
    "iteration_tokens": _iteration_tokens,
}


def vllm_families(model: ServedModel, spec: EngineSpec) -> list[Family[EngineMetrics]]:
    """Return the `vllm:` families of one engine, in the order of the page."""
    bounds: Mapping[str, Sequence[float]] = {
        "tokens": token_bounds(model.max_model_len),
        "iteration": state.ITERATION_BOUNDS,
        "latency": LATENCY_BOUNDS_S,
        "ttft": state.TTFT_BOUNDS_S,
        "itl": state.ITL_BOUNDS_S,
        "params_n": PARAMS_N_BOUNDS,
        "preemptions": PREEMPTION_BOUNDS,
    }
    rows = [_family(row, model.name, bounds) for row in _table()]
    info: Family[EngineMetrics] = gauge(
        "vllm:cache_config_info",
        "Information of the LLMEngine CacheConfig",
        lambda _: (1.0,),
        _cache_config(model, spec),
    )
    return [*rows, info]


@cache
def _table() -> list[dict[str, Any]]:
    text = files(__package__).joinpath("vllm_families.yaml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = yaml.safe_load(text)
    return rows


def _family(
    row: Mapping[str, Any], model: str, bounds: Mapping[str, Sequence[float]]
) -> Family[EngineMetrics]:
    common = {"model_name": model}
    if row.get("engine_label", True):
        common["engine"] = "0"
    labels: list[Labels] = [common]
    for label, values in row.get("labels", {}).items():
        labels = [{**common, label: value} for value in values]
    read = READERS.get(row["read"]) or _observed(row["read"])
    if row["type"] == "histogram":
        return histogram(row["name"], row["help"], bounds[row["bounds"]], read, *labels)
    kind = counter if row["type"] == "counter" else gauge
    return kind(row["name"], row["help"], read, *labels)


def _cache_config(model: ServedModel, spec: EngineSpec) -> Labels:
    """Return every field of the engine's CacheConfig, as text."""
    if spec.num_gpu_blocks is None:
        raise InvalidInputError(
            "num_gpu_blocks is None; an engine that shows metrics states its KV cache"
        )
    tokens = spec.num_gpu_blocks * spec.block_size
    return {
        "_block_size_resolved": "True",
        "block_size": str(spec.block_size),
        "cache_dtype": "auto",
        "cache_hit_alignment_tokens": "None",
        "effective_attention_block_size": str(spec.block_size),
        "enable_mamba_shared_prefix_checkpoint": "False",
        "enable_prefix_caching": "True",
        "engine": "0",
        "gpu_memory_utilization": str(model.gpu_memory_utilization),
        "hash_block_size": "None",
        "is_attention_free": "False",
        "kv_cache_dtype_skip_layers": "[]",
        "kv_cache_layout": "None",
        "kv_cache_max_concurrency": str(tokens / model.max_model_len),
        "kv_cache_memory_bytes": "None",
        "kv_cache_size_tokens": str(tokens),
        "kv_offloading_backend": "native",
        "kv_offloading_size": "None",
        "kv_sharing_fast_prefill": "False",
        "mamba_block_size": "None",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": "None",
        "mamba_ssm_cache_dtype": "auto",
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(spec.num_gpu_blocks),
        "num_gpu_blocks_override": "None",
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "sha256",
        "prefix_match_unit": "None",
        "replayssm_buffer_len": "16",
        "skip_page_size_padded": "None",
        "sliding_window": "None",
        "swa_bounded_replay": "True",
        "use_kda_recoverssm": "False",
        "use_replayssm": "False",
        "user_specified_block_size": "False",
    }
