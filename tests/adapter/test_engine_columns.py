"""What is known of an engine's limits before it answers, and what counts before what."""

import math

import numpy as np
import pytest

from adapter.catalog import build_catalog
from adapter.config import parse_settings

SETTINGS = """
accelerators:
  H100: {{cost_per_hour: 4.0, memory_gib: 80}}
  H20: {{cost_per_hour: 2.0}}
models:
  llama-8b: {{profiles: {{H100: {{alpha_ms: 6.5, beta_ms: 0.02, max_batch_size: 96}}}}}}
  llama-70b: {{}}
  own: {{}}
variants:
  - {{name: a, model: {model}, accelerator: {accelerator}, engine_arguments: [{words}]}}
"""


def catalog(words: str = "", *, accelerator: str = "H100", model: str = "llama-8b"):
    text = SETTINGS.format(words=words, accelerator=accelerator, model=model)
    return build_catalog(parse_settings(text))


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        pytest.param("", 96, id="the profile's"),
        pytest.param("vllm, --max-num-seqs=16", 16, id="a flag comes before it"),
        pytest.param("vllm, --block-size=16", 96, id="an engine's default doesn't"),
    ],
)
def test_a_stated_batch_comes_before_the_profile(words, slots):
    assert catalog(words).max_batch_size.tolist() == [slots]


def test_nothing_said_is_nothing_known():
    found = catalog(accelerator="H20", model="own")
    for column in (found.max_batch_size, found.max_batched_tokens, found.kv_capacity_tokens):
        assert np.isnan(column).all()


def test_a_stated_budget_of_tokens_is_used():
    assert catalog("vllm, --max-num-batched-tokens=2048").max_batched_tokens.tolist() == [2048]


def test_a_stated_cache_comes_before_the_memory():
    found = catalog("vllm, --num-gpu-blocks-override=100, --gpu-memory-utilization=0.5")
    assert found.kv_capacity_tokens.tolist() == [1600]


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        # vLLM finds 430,000 to 440,000 tokens for Llama 8B on an H100 of 80 GB at 0.9.
        pytest.param("vllm", 437_000, id="as the engine would measure"),
        pytest.param("vllm, --kv-cache-dtype=fp8", 2 * 437_000, id="in half the bytes"),
    ],
)
def test_memory_beside_the_weights_is_the_cache(words, tokens):
    (found,) = catalog(words).kv_capacity_tokens
    assert found == pytest.approx(tokens, rel=0.12)


def test_less_memory_holds_less():
    (most,), (least,) = (
        catalog(f"vllm, --gpu-memory-utilization={share}").kv_capacity_tokens
        for share in (0.9, 0.5)
    )
    assert 0 < least < most


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"accelerator": "H20"}, id="memory not declared"),
        pytest.param({"model": "own"}, id="a name that says nothing"),
        pytest.param({"model": "llama-70b"}, id="weights that don't fit"),
    ],
)
def test_memory_that_says_nothing_bounds_nothing(changes):
    assert math.isnan(catalog("vllm", **changes).kv_capacity_tokens[0])


def test_people_are_told_what_the_command_line_sets():
    assert catalog("vllm, --max-num-seqs=16, --block-size=32").texts["engine_arguments"] == (
        "block_size_tokens 32, max_batch_size 16",
    )
