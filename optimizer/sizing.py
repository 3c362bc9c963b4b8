"""PROVISIONAL (lead, for wiring only): replaced by the numerics helper's module."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .domain import BoolArray, FloatArray, IntArray
from .latency import work


class SizingStatus(IntEnum):
    OK = 0
    INFEASIBLE_TTFT = 1
    INFEASIBLE_ITL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sizing:
    rate_rps: FloatArray
    stable_rps: FloatArray
    status: IntArray
    memory_bound: BoolArray


def largest_arrival_rate(profiles, workloads, limits, targets, *, stability_margin_ratio):
    i, o, per, n = work(profiles, workloads, limits)
    n_itl = (targets.itl_s / 1.15 - profiles.iteration_base_s) / per
    m = np.minimum(n, n_itl)
    rate = lambda k: k / ((1 + o) * (profiles.iteration_base_s + k * per))
    stable = rate(n) * (1 - stability_margin_ratio)
    status = np.where(
        np.isnan(stable),
        SizingStatus.UNKNOWN,
        np.where(m < 1, SizingStatus.INFEASIBLE_ITL, SizingStatus.OK),
    )
    return Sizing(
        rate_rps=np.minimum(rate(np.maximum(m, 0)), stable),
        stable_rps=stable,
        status=status.astype(np.int64),
        memory_bound=n < limits.max_batch_size,
    )
