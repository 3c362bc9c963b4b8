"""Priors from names: what they say, and how near the roofline comes."""

import numpy as np
import pytest

from optimizer.priors import ModelSize, model_size, prior_profiles
from optimizer.step_law import parameters_of

SIZES = [
    pytest.param("meta-llama/Llama-3.1-8B-Instruct", (8, 8, 2), id="dense"),
    pytest.param("llama-8b-h100", (8, 8, 2), id="lower case, with its accelerator"),
    pytest.param("Qwen/Qwen3-0.6B", (0.6, 0.6, 2), id="fraction"),
    pytest.param("facebook/opt-125m", (0.125, 0.125, 2), id="millions"),
    pytest.param("Qwen3-30B-A3B-Instruct", (30, 3, 2), id="active parameters"),
    pytest.param("Qwen3-235B-A22B-FP8", (235, 22, 1), id="active parameters, narrow"),
    pytest.param("mixtral-8x7b", (46.48, 11.62, 2), id="experts"),
    pytest.param("openai/gpt-oss-120b", (117, 5.1, 0.55), id="active parameters unsaid"),
    pytest.param("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", (70, 70, 2), id="distilled"),
    pytest.param("llama3-70b-awq", (70, 70, 0.55), id="four bits"),
    pytest.param("granite_3.1_8b", (8, 8, 2), id="underscores"),
    pytest.param("default", (np.nan, np.nan, 2), id="says nothing"),
    pytest.param("a100-test", (np.nan, np.nan, 2), id="an accelerator is no size"),
    pytest.param("my-8bit-model", (np.nan, np.nan, 1), id="a width is no size"),
]


@pytest.mark.parametrize(("name", "expected"), SIZES)
def test_model_size(name, expected):
    assert model_size(name) == pytest.approx(ModelSize(*expected), nan_ok=True)


# Operator-database estimates (aiconfigurator 0.12, bf16): base, decode, prefill [ms], KV [ns].
ESTIMATES = [
    ("Llama-3.1-8B", "NVIDIA-A100-SXM4-80GB", 1, (11.8, 0.0165, 0.0609, 82)),
    ("Llama-3.1-8B", "NVIDIA-H100-80GB-HBM3", 1, (6.26, 0.0127, 0.0208, 41)),
    ("Llama-3.1-8B", "H200", 1, (4.86, 0.0110, 0.0213, 29)),
    ("Llama-3.1-8B", "nvidia-l40s", 1, (22.0, 0.0450, 0.0696, 186)),
    ("Qwen3-32B", "H100", 2, (13.5, 0.0279, 0.0512, 42)),
    ("Qwen3-32B", "A100", 4, (14.3, 0.0408, 0.0830, 46)),
    ("Qwen3-32B", "B200", 1, (12.5, 0.0074, 0.0454, 37)),
    ("Llama-3.1-70B", "H100", 8, (10.0, 0.0202, 0.0396, 14)),
    ("Llama-3.1-70B", "H200", 4, (12.3, 0.0236, 0.0619, 19)),
]


@pytest.mark.parametrize(
    ("model", "accelerator", "count", "expected"),
    [pytest.param(*e, id=f"{e[0]} on {e[2]} {e[1]}") for e in ESTIMATES],
)
def test_roofline_is_near_operator_databases(model, accelerator, count, expected):
    got = parameters_of(
        prior_profiles([accelerator], [model], accelerators_per_replica=np.array([count]))
    )[0]
    base, decode, prefill, kv = np.array(expected) * [1e-3, 1e-3, 1e-3, 1e-9]
    assert got[0] == pytest.approx(base, rel=1 / 3)
    assert decode / 3.2 < got[1] < decode * 3.2
    assert got[2] == pytest.approx(prefill, rel=1 / 3)
    assert got[3] == pytest.approx(kv, rel=1 / 3)
    assert got[4] > 0


UNKNOWN = [
    pytest.param("H100", "default", id="model says nothing"),
    pytest.param("cpu", "llama-8b", id="accelerator not listed"),
    pytest.param("", "", id="no names"),
]


@pytest.mark.parametrize(("accelerator", "model"), UNKNOWN)
def test_names_that_say_nothing_give_nothing(accelerator, model):
    rows = prior_profiles([accelerator], [model], accelerators_per_replica=np.array([1]))
    assert np.isnan(parameters_of(rows)).all(axis=-1).tolist() == [True]


def test_a_size_known_otherwise_overrules_the_name():
    one = np.array([1])
    by_name = prior_profiles(["H100"], ["x-8b"], accelerators_per_replica=one)
    told = prior_profiles(
        ["H100"], ["x"], accelerators_per_replica=one, parameters_b=np.array([8.0])
    )
    np.testing.assert_array_equal(parameters_of(told), parameters_of(by_name))
    kept = prior_profiles(
        ["H100"], ["x-8b"], accelerators_per_replica=one, parameters_b=np.array([np.nan])
    )
    np.testing.assert_array_equal(parameters_of(kept), parameters_of(by_name))


def test_larger_is_slower_and_more_accelerators_are_faster():
    rows = parameters_of(
        prior_profiles(
            ["H100"] * 3,
            ["m-8b", "m-70b", "m-70b"],
            accelerators_per_replica=np.array([1, 1, 4]),
        )
    )
    assert (rows[1, :4] > rows[0, :4]).all()
    assert (rows[2, :4] < rows[1, :4]).all()


def test_no_variants_no_rows():
    assert len(prior_profiles([], [], accelerators_per_replica=np.empty(0, dtype=np.int64))) == 0


@pytest.mark.parametrize(
    ("name", "device"),
    [
        pytest.param("NVIDIA-GH200-480GB", "GH200", id="the longer name"),
        pytest.param("Intel-Gaudi-2-96GB", "GAUDI2", id="a dash inside"),
        pytest.param("AMD-MI300X-192G", "MI300X", id="AMD"),
        pytest.param("H100_SXM5", "H100", id="underscore"),
    ],
)
def test_spellings_of_accelerators(name, device):
    def base(accelerator):
        rows = prior_profiles([accelerator], ["m-8b"], accelerators_per_replica=np.array([1]))
        return rows.iteration_base_s[0]

    assert base(name) == base(device)
