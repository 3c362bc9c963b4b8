"""Records of replicas for tests of the numerics: one, many, or drawn by hypothesis."""

from dataclasses import dataclass, fields, replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from optimizer import EngineLimits, ServiceProfiles, SloTargets, Workloads

__all__ = ["CHAT", "Replicas", "numerics", "replicas", "tables"]

# Tables take milliseconds to compute, and machines are busy: no deadline, fewer examples.
numerics = settings(deadline=None, max_examples=40)


@dataclass(frozen=True)
class Replicas:
    """Profiles, workloads and limits of the same variants."""

    profiles: ServiceProfiles
    workloads: Workloads
    limits: EngineLimits

    def __iter__(self):
        return iter((self.profiles, self.workloads, self.limits))

    def __len__(self):
        return len(self.profiles)

    def take(self, rows):
        return Replicas(*(record.take(rows) for record in self))

    def with_columns(self, **columns):
        """Return the same with some columns replaced by a number or an array."""
        changed = []
        for record in self:
            own = {f.name for f in fields(record)} & columns.keys()
            changed.append(replace(record, **{n: _column(columns[n], n, len(self)) for n in own}))
        return Replicas(*changed)

    def targets(self, **columns):
        """Return targets for these variants; none where not given."""
        whole = {"ttft_s": np.inf, "itl_s": np.inf, "percentile_ratio": 0.95, "throughput_tps": 0.0}
        return SloTargets(**{n: _column(v, n, len(self)) for n, v in (whole | columns).items()})


# An 8B model on an H100 with chat-like lengths, CV 1.
CHAT = {
    "iteration_base_s": 6.36e-3,
    "decode_slope_s": 2.12e-5,
    "prefill_slope_s": 2.12e-5,
    "kv_slope_s": 5.83e-8,
    "ttft_constant_s": 0.0,
    "prompt_tokens_mean": 512.0,
    "prompt_shape": 2.0,
    "output_tokens_mean": 256.0,
    "output_shape": 2.0,
    "prefix_hit_ratio": 0.0,
    "max_batch_size": 64,
    "max_queue_size": 640,
    "kv_capacity_tokens": np.inf,
    "max_batched_tokens": 8192.0,
}


def replicas(**columns) -> Replicas:
    """Return replicas like `CHAT` but for `columns`, numbers or arrays of one length.

    `prompt_shape` and `output_shape` are E[X²] / E[X]².
    """
    given = CHAT | columns
    count = max(np.size(value) for value in given.values())
    value = {name: _column(v, name, count) for name, v in given.items()}
    for kind in ("prompt", "output"):
        mean, shape = value[f"{kind}_tokens_mean"], value.pop(f"{kind}_shape")
        value[f"{kind}_tokens_second_moment"] = shape * mean**2

    def record(of):
        return of(**{f.name: value[f.name] for f in fields(of)})

    return Replicas(record(ServiceProfiles), record(Workloads), record(EngineLimits))


def _column(value, name, count):
    whole = name in {"max_batch_size", "max_queue_size"}
    return np.array(np.broadcast_to(value, count), dtype=np.int64 if whole else np.float64)


def _log_uniform(low, high):
    return st.floats(np.log(low), np.log(high)).map(np.exp)


_ROW = st.fixed_dictionaries(
    {
        "iteration_base_s": _log_uniform(3e-3, 5e-2),
        "decode_slope_s": _log_uniform(1e-6, 3e-4),
        "prefill_slope_s": _log_uniform(1e-5, 1e-4),
        "kv_slope_s": _log_uniform(3e-9, 2e-7),
        "ttft_constant_s": st.sampled_from([0.0, 0.01]),
        "prompt_tokens_mean": _log_uniform(32, 4096),
        "prompt_shape": st.floats(1.0, 2.5),
        "output_tokens_mean": _log_uniform(32, 1024),
        "output_shape": st.floats(1.0, 2.5),
        "prefix_hit_ratio": st.sampled_from([0.0, 0.3, 0.9]),
        "max_batch_size": st.integers(4, 256),
        "kv_capacity_tokens": st.one_of(st.just(np.inf), _log_uniform(1e5, 3e6)),
        "max_batched_tokens": st.sampled_from([8192.0, 16384.0]),
    }
)


@st.composite
def tables(draw, max_size=4):
    """Draw replicas as they are found in practice, 1 to `max_size` rows."""
    rows = draw(st.lists(_ROW, min_size=1, max_size=max_size))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return replicas(**columns, max_queue_size=10 * columns["max_batch_size"])
