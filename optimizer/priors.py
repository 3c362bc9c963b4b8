"""A profile before anything is observed: roofline of accelerator and model size. Pure.

A decode step reads all weights once (memory bandwidth), a prompt token costs two
operations per active parameter (compute), a token of context is read from the KV cache
once per step. Names of accelerators and models are read for what they say of that:
"NVIDIA-H100-80GB-HBM3", "Qwen3-30B-A3B-Instruct-FP8".

Everything from here is a PRIOR, replaced by what is learned: base, prefill and KV slope
of dense models within a third of operator databases, the decode slope within a factor of
three (see the tests); a mixture of experts decodes several times slower per sequence than
its active parameters say. Names that say nothing give NaN, never a default.

Sources: the vendors' data sheets (bandwidth, dense BF16 rate); S. Williams et al., Roofline,
CACM 52(4), 2009.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .domain import FloatArray, IntArray, ServiceProfiles
from .step_law import profiles_of

__all__ = [
    "ModelSize",
    "accelerator_of",
    "model_size",
    "prior_kv_capacity_tokens",
    "prior_profiles",
]


class Accelerator(NamedTuple):
    """Data-sheet figures of one device."""

    bandwidth_tb_per_s: float
    dense_bf16_tflops: float


class ModelSize(NamedTuple):
    """What a model's name says of it; NaN: nothing."""

    parameters_b: float  # held in memory
    active_b: float  # used per token; fewer in a mixture of experts
    bytes_per_parameter: float


ACCELERATORS = {
    "T4": Accelerator(0.32, 65),
    "L4": Accelerator(0.30, 121),
    "A10": Accelerator(0.60, 125),
    "A10G": Accelerator(0.60, 125),
    "A30": Accelerator(0.93, 165),
    "A40": Accelerator(0.70, 150),
    "L40": Accelerator(0.86, 181),
    "L40S": Accelerator(0.86, 362),
    "A100": Accelerator(2.04, 312),
    "H100": Accelerator(3.35, 989),
    "H200": Accelerator(4.80, 989),
    "H20": Accelerator(4.00, 148),
    "GH200": Accelerator(4.00, 989),
    "B200": Accelerator(8.00, 2250),
    "GB200": Accelerator(8.00, 2500),
    "B300": Accelerator(8.00, 2500),
    "MI210": Accelerator(1.64, 181),
    "MI250": Accelerator(3.28, 362),
    "MI300X": Accelerator(5.30, 1307),
    "MI325X": Accelerator(6.00, 1307),
    "GAUDI2": Accelerator(2.45, 432),
    "GAUDI3": Accelerator(3.70, 1835),
}

# Shares of the data sheet that engines reach, and what a step costs beside memory and
# compute (launches, sampling, scheduling): fitted by hand to dense models of 8 to 70
# billion parameters on six accelerators.
_BANDWIDTH_SHARE = 0.80
_COMPUTE_SHARE = 0.75
_STEP_OVERHEAD_S = 0.8e-3
# What grows with every doubling of the accelerators of one replica.
_PARALLEL_OVERHEAD_S = 0.4e-3
_PARALLEL_LOSS = 0.15
# A decoded token computes in the shadow of the weights' way through memory: part of its
# compute shows, and the sampling and bookkeeping of its sequence.
_DECODE_SHARE = 0.4
_SEQUENCE_OVERHEAD_S = 8e-6
_TTFT_CONSTANT_S = 10e-3  # network, tokenizer and server of one request
# KV bytes per token grow with depth, not with width (grouped heads): 128 KiB at 8 billion
# parameters, two bytes per number.
_KV_BYTES_AT_8B = 131_072.0
_KV_GROWTH = 0.42

_SIZE = re.compile(r"(?<![A-Z0-9.])(?:(\d+)X)?(\d+(?:\.\d+)?)B(?![A-Z0-9])")
_ACTIVE = re.compile(r"(?<![A-Z0-9.])A(\d+(?:\.\d+)?)B(?![A-Z0-9])")
_MILLIONS = re.compile(r"(?<![A-Z0-9.])(\d+(?:\.\d+)?)M(?![A-Z0-9])")
# What names don't say.
_UNSAID = {
    "GPT-OSS-120B": ModelSize(117.0, 5.1, 0.55),
    "GPT-OSS-20B": ModelSize(21.0, 3.6, 0.55),
    "DEEPSEEK-V3": ModelSize(671.0, 37.0, 1.0),
    "DEEPSEEK-R1": ModelSize(671.0, 37.0, 1.0),
}
# Experts share attention: about this share of "8x7B" remains of the product.
_SHARED_EXPERTS = 0.83
_WIDTHS = (
    (re.compile(r"FP8|INT8|W8A\d+|8BIT|Q8"), 1.0),
    (re.compile(r"FP4|INT4|AWQ|GPTQ|W4A\d+|4BIT|Q4|MXFP4|BNB"), 0.55),
    (re.compile(r"FP32|F32"), 4.0),
)


def model_size(name: str) -> ModelSize:
    """Return what a model's name says of its size and number format.

    >>> model_size("meta-llama/Llama-3.1-8B-Instruct")
    ModelSize(parameters_b=8.0, active_b=8.0, bytes_per_parameter=2.0)
    >>> model_size("Qwen3-30B-A3B-FP8")
    ModelSize(parameters_b=30.0, active_b=3.0, bytes_per_parameter=1.0)
    """
    text = re.sub(r"[_\s/:]", "-", name.upper())
    width = next((bytes_ for pattern, bytes_ in _WIDTHS if pattern.search(text)), 2.0)
    for known, told in _UNSAID.items():
        # A distilled model has its teacher's name and a size of its own.
        if known in text and "DISTILL" not in text:
            return told
    size, active = _SIZE.search(_ACTIVE.sub("", text)), _ACTIVE.search(text)
    if size is not None:
        each = float(size.group(2))
        experts = int(size.group(1) or 1)
        total = each * experts * (_SHARED_EXPERTS if experts > 1 else 1.0)
        # Mixtures named "8x7B" use two experts per token.
        used = min(total, 2 * each * _SHARED_EXPERTS) if experts > 1 else total
        return ModelSize(total, float(active.group(1)) if active else used, width)
    millions = _MILLIONS.search(text)
    if millions is not None:
        return ModelSize(float(millions.group(1)) / 1e3, float(millions.group(1)) / 1e3, width)
    return ModelSize(np.nan, np.nan, width)


def prior_profiles(
    accelerators: Sequence[str],
    models: Sequence[str],
    *,
    accelerators_per_replica: IntArray,
    parameters_b: FloatArray | None = None,
) -> ServiceProfiles:
    """Return the roofline's profile of each variant; NaN rows where a name says nothing.

    Parameters
    ----------
    accelerators, models : sequence of str, length V
        Names in any usual spelling.
    accelerators_per_replica : array of int, shape (V,), >= 1
    parameters_b : array, shape (V,), optional
        Sizes that are known otherwise, in billions; NaN: read the name.

    Returns
    -------
    ServiceProfiles
        With weights W, active parameters P, KV bytes per token k, bandwidth B and compute
        rate F of all accelerators of a replica:

            base    = W / (0.8 B) + overhead     kv     = k / (0.8 B)
            prefill = 2 P / (0.75 F)             decode = 0.4 prefill + 8 µs
    """
    devices = np.array([_device(name) for name in accelerators], dtype=np.float64).reshape(-1, 2)
    sizes = np.array([model_size(name) for name in models], dtype=np.float64).reshape(-1, 3)
    total, active, width = sizes.T
    if parameters_b is not None:
        share = np.where(np.isfinite(active / total), active / total, 1.0)
        total = np.where(np.isfinite(parameters_b), parameters_b, total)
        active = np.where(np.isfinite(parameters_b), parameters_b * share, active)
    number = np.maximum(accelerators_per_replica, 1)
    bandwidth = devices[:, 0] * 1e12 * number * _BANDWIDTH_SHARE
    # Tensor cores run narrow formats faster, up to twice.
    speed = np.clip(2.0 / width, 1.0, 2.0) * _COMPUTE_SHARE
    together = number / (1.0 + _PARALLEL_LOSS * np.log2(number))
    prefill = 2.0 * active * 1e9 / (devices[:, 1] * 1e12 * together * speed)
    overhead = _STEP_OVERHEAD_S + _PARALLEL_OVERHEAD_S * np.log2(number)
    kv = _KV_BYTES_AT_8B * (total / 8.0) ** _KV_GROWTH / bandwidth
    return profiles_of(
        np.stack(
            [
                total * 1e9 * width / bandwidth + overhead,
                _DECODE_SHARE * prefill + _SEQUENCE_OVERHEAD_S,
                prefill,
                kv,
                np.where(np.isfinite(kv + prefill), _TTFT_CONSTANT_S, np.nan),
            ],
            axis=-1,
        )
    )


def prior_kv_capacity_tokens(
    models: Sequence[str], *, memory_bytes: FloatArray, number_bytes: FloatArray
) -> FloatArray:
    """Return the tokens that fit into the memory which the weights leave.

    Parameters
    ----------
    models : sequence of str, length V
        Names in any usual spelling.
    memory_bytes : array, shape (V,)
        Memory that the engine takes, over all accelerators of a replica; NaN: not known.
    number_bytes : array, shape (V,)
        Bytes of one number in the cache: 2 of 16 bits, 1 of 8.

    Returns
    -------
    ndarray, shape (V,)
        (M - W) / k with memory M, weights W and KV bytes per token k, as `prior_profiles` has
        them; NaN where a name says nothing or the weights don't fit. What activations take
        isn't subtracted: vLLM finds about a tenth less. [tokens]
    """
    sizes = np.array([model_size(name) for name in models], dtype=np.float64).reshape(-1, 3)
    total, _, width = sizes.T
    each = _KV_BYTES_AT_8B * (total / 8.0) ** _KV_GROWTH * number_bytes / 2.0
    tokens = (memory_bytes - total * 1e9 * width) / each
    return np.where(tokens > 0, np.floor(tokens), np.nan)


def _device(name: str) -> tuple[float, float]:
    """Return bandwidth and compute rate of the accelerator that `name` contains."""
    known = accelerator_of(name)
    return ACCELERATORS[known] if known else (np.nan, np.nan)


def accelerator_of(name: str) -> str:
    """Return the listed accelerator that `name` contains, "" if none.

    The longest listed name decides: "NVIDIA-GH200-480GB" isn't an H200.
    """
    text = re.sub(r"[_\s]", "-", name.upper()).replace("GAUDI-", "GAUDI")
    words = set(re.split(r"[^A-Z0-9]+", text))
    found = [known for known in ACCELERATORS if known in words]
    return max(found, key=len) if found else ""
