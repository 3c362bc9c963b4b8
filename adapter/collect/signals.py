"""The raw signals: what a dialect can say of an engine, before any rate or mean is taken. Pure.

Gauges hold now. Counters are totals since the process began. Histograms have a sum, a count and,
where they are exported, buckets. Over the window they become *flows*: one column each, kept per
target and added up.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AREA_OF",
    "BUCKETED",
    "COUNTERS",
    "ELAPSED",
    "FLOWS",
    "GAUGES",
    "GAUGE_BOUNDS",
    "HISTOGRAMS",
    "INFLIGHT",
    "INFLIGHT_CHANGE",
    "OVER",
    "RAW_SIGNALS",
    "count_flow",
    "flow",
    "gauge",
    "sum_flow",
]

# How several series within one pod become one number, where a dialect doesn't say otherwise.
OVER = {
    "running_requests": "sum",
    "waiting_requests": "sum",
    "kv_usage_ratio": "max",  # the worst rank is the first to preempt
    "kv_capacity_tokens": "sum",
    "max_batch_size": "sum",
    "max_batched_tokens": "sum",
    "awake": "min",
    "prefix_hit_ratio": "mean",
    "power_w": "sum",
}
GAUGES = tuple(OVER)
COUNTERS = (
    "arrivals",
    "completions",
    "answered",  # by the server before the engine, whatever became of the request
    "rejections",
    "prompt_tokens",
    "output_tokens",
    "preemptions",
    "drafts",  # of speculative decoding
    "prefix_hit_tokens",
    "prefix_query_tokens",
)
HISTOGRAMS = (
    "ttft_s",
    "itl_s",
    "tpot_s",
    "request_prompt_tokens",
    "request_output_tokens",
    "queue_time_s",
)
RAW_SIGNALS = (*GAUGES, *COUNTERS, *HISTOGRAMS)

# Histograms of which the buckets are kept, for percentiles and second moments.
BUCKETED = ("ttft_s", "itl_s", "tpot_s", "request_prompt_tokens", "request_output_tokens")

# Gauges of which the mean over the window is wanted; their flow is value times seconds.
AREA_OF = ("running_requests", "waiting_requests", "kv_usage_ratio")
INFLIGHT = ("running_requests", "waiting_requests")
INFLIGHT_CHANGE = "inflight_change"
ELAPSED = "elapsed_s"
FLOWS = (
    *COUNTERS,
    *(f"{name}.sum" for name in HISTOGRAMS),
    *(f"{name}.count" for name in HISTOGRAMS),
    *(f"{name}.area" for name in AREA_OF),
    INFLIGHT_CHANGE,
    ELAPSED,
)

# Outside of these a gauge is a sentinel (-1 for "off") or an accident, not a reading.
_RATIOS = ("kv_usage_ratio", "prefix_hit_ratio", "awake")
GAUGE_BOUNDS: NDArray[np.float64] = np.array(
    [(0.0, 1.0 if name in _RATIOS else 1e12) for name in GAUGES]
)


def gauge(name: str) -> int:
    """Return a gauge's column."""
    return GAUGES.index(name)


def flow(name: str) -> int:
    """Return a flow's column."""
    return FLOWS.index(name)


def sum_flow(histogram: str) -> int:
    """Return the column of a histogram's sum."""
    return FLOWS.index(f"{histogram}.sum")


def count_flow(histogram: str) -> int:
    """Return the column of a histogram's count."""
    return FLOWS.index(f"{histogram}.count")
