"""Published profiles: what others measured, or estimated from measured kernels. Pure.

A seed from here beats the roofline's (`priors`) where it has a row: same model, same
accelerator, same number of them, same number format. It stays a PRIOR: engines, images and
arguments differ, and what is learned replaces it.

Sources, each a block of the table:

1. "An approximate parameterized queueing model of LLM inference serving", MASCOTS 2026,
   and its data, llm-inferno/model-trainer and control-loop (Apache-2.0): sweeps of vLLM.
2. aiconfigurator (Apache-2.0), operator database, vLLM backend, bf16: decode over batch and
   context, prefill of one prompt, fitted to the iteration law.
3. The package aiconfigurator-core 0.12.0 (Apache-2.0), silicon_sample.csv: time per output
   token of real vLLM at fixed concurrencies, fitted by bench/seed_table.py.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .domain import FloatArray, IntArray, ServiceProfiles
from .priors import accelerator_of, prior_profiles
from .step_law import parameters_of, profiles_of

__all__ = ["PUBLISHED", "Published", "published_row", "seed_profiles"]


class Published(NamedTuple):
    """One published profile, in milliseconds per iteration and per token."""

    model: str
    accelerator: str
    number_format: str
    accelerators: int
    base_ms: float
    decode_ms: float
    prefill_ms: float
    kv_ms: float


# Formats that these models are distributed in; others are bf16 unless their name says.
_NATIVE = {"GPT-OSS": "fp4", "MINIMAX-M2": "fp8", "KIMI-K2": "int4"}
_FORMATS = (
    ("fp8", re.compile(r"FP8|W8A8")),
    ("fp4", re.compile(r"FP4")),
    ("int4", re.compile(r"INT4|AWQ|GPTQ|W4A16")),
    ("other", re.compile(r"INT8|FP32|BNB|GGUF|Q\d")),
)
# A coefficient that a fit left at zero takes so much of the roofline's: none is zero.
_REST = 0.05

PUBLISHED = (
    # 1
    Published("Llama-3.1-8B", "H100", "bf16", 1, 6.36, 0.0212, 0.0212, 5.83e-05),
    Published("Qwen2.5-14B", "H100", "bf16", 1, 10.65, 0.0418, 0.0418, 5.77e-05),
    # 2
    Published("Llama-3.1-8B", "A100", "bf16", 1, 11.8, 0.0165, 0.0609, 8.2e-05),
    Published("Llama-3.1-8B", "H200", "bf16", 1, 4.86, 0.0110, 0.0213, 2.9e-05),
    Published("Llama-3.1-8B", "L40S", "bf16", 1, 22.0, 0.0450, 0.0696, 1.86e-04),
    Published("Llama-3.1-8B", "B200", "bf16", 1, 3.37, 0.0038, 0.0104, 1.8e-05),
    Published("Qwen3-8B", "A100", "bf16", 1, 12.0, 0.0171, 0.061, 9.3e-05),
    Published("Qwen3-8B", "H100", "bf16", 1, 6.47, 0.0120, 0.0208, 4.6e-05),
    Published("Qwen3-8B", "H200", "bf16", 1, 5.04, 0.0114, 0.0208, 3.3e-05),
    Published("Qwen3-8B", "L40S", "bf16", 1, 21.8, 0.0555, 0.0709, 2.1e-04),
    Published("Qwen3-8B", "B200", "bf16", 1, 3.47, 0.0042, 0.0107, 2.0e-05),
    Published("Qwen3-32B", "H100", "bf16", 1, 25.0, 0.0376, 0.0921, 8.3e-05),
    Published("Qwen3-32B", "H100", "bf16", 2, 13.5, 0.0279, 0.0512, 4.2e-05),
    Published("Qwen3-32B", "H100", "bf16", 4, 8.30, 0.0169, 0.0301, 2.2e-05),
    Published("Qwen3-32B", "A100", "bf16", 1, 44.1, 0.0630, 0.253, 1.7e-04),
    Published("Qwen3-32B", "A100", "bf16", 2, 24.9, 0.0513, 0.137, 9.2e-05),
    Published("Qwen3-32B", "A100", "bf16", 4, 14.3, 0.0408, 0.083, 4.6e-05),
    Published("Qwen3-32B", "H200", "bf16", 1, 18.7, 0.0309, 0.0933, 5.9e-05),
    Published("Qwen3-32B", "H200", "bf16", 2, 10.6, 0.0218, 0.0510, 2.9e-05),
    Published("Qwen3-32B", "L40S", "bf16", 1, 91.3, 0.159, 0.287, 4.0e-04),
    Published("Qwen3-32B", "L40S", "bf16", 2, 46.5, 0.172, 0.222, 1.9e-04),
    Published("Qwen3-32B", "B200", "bf16", 1, 12.5, 0.0074, 0.0454, 3.7e-05),
    Published("Qwen3-32B", "B200", "bf16", 2, 7.86, 0.0151, 0.0259, 1.9e-05),
    Published("Llama-3.1-70B", "H100", "bf16", 4, 15.2, 0.0296, 0.0626, 2.7e-05),
    Published("Llama-3.1-70B", "H100", "bf16", 8, 10.0, 0.0202, 0.0396, 1.4e-05),
    Published("Llama-3.1-70B", "A100", "bf16", 4, 27.9, 0.0766, 0.162, 5.9e-05),
    Published("Llama-3.1-70B", "A100", "bf16", 8, 17.2, 0.0582, 0.104, 2.8e-05),
    Published("Llama-3.1-70B", "H200", "bf16", 4, 12.3, 0.0236, 0.0619, 1.9e-05),
    Published("Llama-3.1-70B", "H200", "bf16", 8, 8.12, 0.0227, 0.0383, 1.0e-05),
    Published("Llama-3.1-70B", "B200", "bf16", 4, 9.12, 0.0261, 0.0319, 1.3e-05),
    Published("Llama-3.1-70B", "B200", "bf16", 8, 7.05, 0.0184, 0.0220, 6.7e-06),
    # 3
    Published("MiniMax-M2.5", "B200", "fp4", 4, 6.71, 0.0508, 0, 1.17e-05),
    Published("MiniMax-M2.5", "B200", "fp8", 4, 9.1, 0.0435, 0, 1.75e-05),
    Published("MiniMax-M2.5", "B300", "fp4", 1, 6.9, 0.167, 0.0285, 0),
    Published("MiniMax-M2.5", "B300", "fp4", 2, 7.78, 0.0475, 0.0216, 0),
    Published("MiniMax-M2.5", "B300", "fp4", 4, 6.5, 0.04, 0.0135, 0),
    Published("MiniMax-M2.5", "B300", "fp8", 4, 8.65, 0.0485, 0.0172, 0),
    Published("MiniMax-M2.5", "H100", "fp8", 4, 10.4, 0.23, 0, 1.89e-05),
    Published("MiniMax-M2.5", "H200", "fp8", 4, 11.6, 0.191, 0.0283, 1.27e-05),
    Published("MiniMax-M2.5", "H200", "fp8", 8, 8, 0.122, 0.0184, 0),
    Published("Llama-3.1-70B", "B200", "fp4", 1, 12.5, 0, 0.0447, 2.53e-05),
    Published("Llama-3.1-70B", "B200", "fp4", 2, 9.11, 0.0278, 0.0309, 1.09e-05),
    Published("Llama-3.1-70B", "B200", "fp4", 4, 7, 0.0654, 0.0259, 0),
    Published("Llama-3.1-70B", "B200", "fp4", 8, 6.08, 0.0764, 0.02, 0),
    Published("Llama-3.1-70B", "B200", "fp8", 1, 15.6, 0.0101, 0.0724, 2.47e-05),
    Published("Llama-3.1-70B", "B200", "fp8", 2, 9.97, 0.0323, 0.0459, 9.84e-06),
    Published("Llama-3.1-70B", "B200", "fp8", 4, 7.57, 0.0615, 0.0306, 0),
    Published("Llama-3.1-70B", "B200", "fp8", 8, 6, 0.07, 0.0223, 0),
    Published("Llama-3.1-70B", "H100", "fp8", 2, 17.3, 0.0735, 0.023, 5.26e-05),
    Published("Llama-3.1-70B", "H100", "fp8", 4, 11, 0.0548, 0.0446, 2.79e-05),
    Published("Llama-3.1-70B", "H100", "fp8", 8, 8.82, 0.063, 0.0298, 1.15e-05),
    Published("Llama-3.1-70B", "H200", "fp8", 1, 20.7, 0.0771, 0.106, 6.66e-05),
    Published("Llama-3.1-70B", "H200", "fp8", 2, 13.2, 0.0376, 0.0705, 3.76e-05),
    Published("Llama-3.1-70B", "H200", "fp8", 4, 9.18, 0.0456, 0.0425, 2.08e-05),
    Published("Llama-3.1-70B", "H200", "fp8", 8, 7.74, 0.0471, 0.0262, 8.95e-06),
    Published("Kimi-K2.5", "B200", "fp4", 4, 7.71, 0.272, 0.0189, 0),
    Published("Kimi-K2.5", "B200", "int4", 8, 9.33, 0.264, 0.0362, 7.87e-06),
    Published("Kimi-K2.5", "B300", "fp4", 4, 7.55, 0.242, 0.0185, 0),
    Published("Kimi-K2.5", "H200", "int4", 8, 9.26, 0.312, 0.0443, 1.33e-05),
    Published("gpt-oss-120b", "B200", "fp4", 1, 3.63, 0.0785, 0.00937, 0),
    Published("gpt-oss-120b", "B200", "fp4", 2, 3.61, 0.0465, 0.00562, 0),
    Published("gpt-oss-120b", "B200", "fp4", 4, 2.97, 0.052, 0.0026, 0),
    Published("gpt-oss-120b", "B200", "fp4", 8, 2.93, 0.0414, 0.00532, 0),
    Published("gpt-oss-120b", "H200", "fp4", 1, 5.28, 0.316, 0.0349, 0),
    Published("gpt-oss-120b", "H200", "fp4", 2, 4.35, 0.148, 0.0212, 2.77e-06),
    Published("gpt-oss-120b", "H200", "fp4", 4, 3.66, 0.0873, 0.0138, 0),
    Published("gpt-oss-120b", "H200", "fp4", 8, 3.47, 0.0521, 0.00989, 0),
)


def published_row(model: str, accelerator: str, accelerators: int) -> Published | None:
    """Return the row for a model on so many accelerators, or None.

    >>> published_row("meta-llama/Llama-3.1-8B-Instruct", "NVIDIA-H100-80GB-HBM3", 1).base_ms
    6.36
    """
    name = re.sub(r"[_\s/:]", "-", model.upper())
    device = accelerator_of(accelerator)
    number_format = _number_format(name)
    for row in PUBLISHED:
        same = (row.accelerator, row.accelerators, row.number_format) == (
            device,
            accelerators,
            number_format,
        )
        if same and _names(name, row.model.upper()):
            return row
    return None


def seed_profiles(
    accelerators: Sequence[str], models: Sequence[str], *, accelerators_per_replica: IntArray
) -> ServiceProfiles:
    """Return each variant's published profile, else the roofline's; NaN where neither is.

    Parameters
    ----------
    accelerators, models : sequence of str, length V
    accelerators_per_replica : array of int, shape (V,), >= 1

    Notes
    -----
    What a published profile doesn't tell, the constant in TTFT, is the roofline's.
    """
    roofline = prior_profiles(
        accelerators, models, accelerators_per_replica=accelerators_per_replica
    )
    values = parameters_of(roofline)
    for row, (model, device) in enumerate(zip(models, accelerators, strict=True)):
        known = published_row(model, device, int(accelerators_per_replica[row]))
        if known is not None:
            values[row, :4] = _seconds(known, values[row, :4])
    constant = np.where(np.isfinite(values[:, 0]), 10e-3, np.nan)
    profiles = profiles_of(values)
    unknown = np.isnan(roofline.ttft_constant_s)
    return replace(profiles, ttft_constant_s=np.where(unknown, constant, roofline.ttft_constant_s))


def _seconds(row: Published, roofline: FloatArray) -> FloatArray:
    told = np.array([row.base_ms, row.decode_ms, row.prefill_ms, row.kv_ms]) * 1e-3
    # Where the roofline has nothing to say either, a little of the base.
    rest = np.where(np.isfinite(roofline), roofline, told[0] * np.array([1.0, 1e-3, 1e-3, 1e-6]))
    return np.asarray(np.where(told > 0.0, told, _REST * rest))


def _number_format(name: str) -> str:
    said = next((form for form, pattern in _FORMATS if pattern.search(name)), None)
    native = next((form for known, form in _NATIVE.items() if known in name), "bf16")
    return said or native


def _names(name: str, known: str) -> bool:
    """Return whether `known` is in `name` as whole words, and it isn't a distilled one."""
    pattern = rf"(?<![A-Z0-9.]){re.escape(known)}(?![A-Z0-9.])"
    return bool(re.search(pattern, name)) and "DISTILL" not in name
