"""Published profiles are taken for the model, accelerator and format that they are of."""

import numpy as np
import pytest

from optimizer.latency import predict
from optimizer.priors import prior_profiles
from optimizer.published import PUBLISHED, published_row, seed_profiles
from optimizer.step_law import parameters_of
from tests.helpers.replicas import replicas


@pytest.mark.parametrize(
    ("model", "accelerator", "count", "base_ms"),
    [
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", "NVIDIA-H100-80GB-HBM3", 1, 6.36, id="as-people-write-it"),
        pytest.param("RedHatAI/Llama-3.1-70B-Instruct-FP8", "H100", 4, 11.0, id="format-in-the-name"),
        pytest.param("meta-llama/Llama-3.1-70B-Instruct", "H100", 4, 15.2, id="bf16-unless-said"),
        pytest.param("openai/gpt-oss-120b", "H200", 2, 4.35, id="native-format"),
        pytest.param("meta-llama/Llama-3.1-70B-Instruct", "H100", 2, None, id="another-count"),
        pytest.param("deepseek-ai/DeepSeek-R1-Distill-Llama-3.1-8B", "H100", 1, None, id="a-distilled-one"),
        pytest.param("Qwen/Qwen3-8B-AWQ", "H100", 1, None, id="another-format"),
        pytest.param("Llama-3.1-80B", "H100", 1, None, id="another-size"),
        pytest.param("Llama-3.1-8B", "GH200", 1, None, id="another-accelerator"),
    ],
)  # fmt: skip
def test_a_row_is_of_one_model_on_one_kind_of_replica(model, accelerator, count, base_ms):
    row = published_row(model, accelerator, count)
    assert (row.base_ms if row else None) == base_ms


def test_rows_differ_in_what_they_are_of():
    keys = [row[:4] for row in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_seeds_are_positive_and_fall_back_to_the_roofline():
    models = [*(row.model for row in PUBLISHED), "Llama-3.1-8B", "nobody-knows-this"]
    devices = [*(row.accelerator for row in PUBLISHED), "A30", "H100"]
    count = np.array([*(row.accelerators for row in PUBLISHED), 1, 1])
    names = [
        f"{m}-{row.number_format}" if row and row.number_format != "bf16" else m
        for m, row in zip(models, [*PUBLISHED, None, None], strict=True)
    ]
    values = parameters_of(seed_profiles(devices, names, accelerators_per_replica=count))
    assert np.all(values[:-1] > 0)
    assert np.isnan(values[-1]).all()
    roofline = prior_profiles(["A30"], ["Llama-3.1-8B"], accelerators_per_replica=np.array([1]))
    assert values[-2].tolist() == parameters_of(roofline)[0].tolist()


def test_a_published_replica_carries_what_was_measured():
    """Qwen3-32B on two H100, 4000/1000 tokens: llm-d measured 1.4 to 1.5 requests/s."""
    profile = seed_profiles(["H100"], ["Qwen/Qwen3-32B"], accelerators_per_replica=np.array([2]))
    busy = replicas(
        **{name: getattr(profile, name) for name in profile.__slots__},
        prompt_tokens_mean=4000.0,
        prompt_shape=1.0,
        output_tokens_mean=1000.0,
        output_shape=1.0,
        max_batch_size=256,
        max_queue_size=2560,
        kv_capacity_tokens=276e3,
    )
    found = predict(*busy, np.array([1.45]), percentile_ratio=np.array([0.95]))
    assert 0.85 < found.utilization[0] < 1.05
