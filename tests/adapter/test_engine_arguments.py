"""Command lines of engines, in the forms that Deployments write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.engine_arguments import limits_in, parse_engine_arguments

VLLM = ["vllm", "serve", "meta-llama/Llama-3.1-8B"]
SGLANG = ["python3", "-m", "sglang.launch_server", "--model-path", "m"]


def test_defaults_of_vllm():
    found = parse_engine_arguments(VLLM)
    assert found.engine == "vllm"
    assert found.gpu_memory_ratio == 0.9
    assert found.block_size_tokens == 16
    assert found.kv_cache_dtype == "auto"
    assert found.accelerators_per_replica == 1
    assert found.max_batch_size == 256
    assert found.max_batched_tokens == 8192
    assert found.kv_blocks is None
    assert not found.enforce_eager


FORMS = [
    pytest.param([*VLLM, "--gpu-memory-utilization=0.85"], id="dashes, equals"),
    pytest.param([*VLLM, "--gpu_memory_utilization=0.85"], id="underscores, equals"),
    pytest.param([*VLLM, "--gpu-memory-utilization", "0.85"], id="value apart"),
    pytest.param(
        ["/bin/sh", "-c", "vllm serve m --gpu-memory-utilization 0.85 --port 8000"], id="in a shell"
    ),
    pytest.param(
        ["sh", "-c", "set -e\nexec vllm serve m \\\n --gpu_memory_utilization=0.85"],
        id="in a script",
    ),
    pytest.param(
        ["sh", "-c", "echo 'x; vllm serve --gpu-memory-utilization 0.85"], id="open quote"
    ),
    pytest.param(
        [*VLLM, "--gpu-memory-utilization=0.5", "--gpu-memory-utilization=0.85"], id="last"
    ),
]


@pytest.mark.parametrize("command", FORMS)
def test_forms_of_a_flag(command):
    assert parse_engine_arguments(command).gpu_memory_ratio == 0.85


FLAGS = [
    pytest.param(["--enforce-eager"], "enforce_eager", True, id="a switch at the end"),
    pytest.param(["--enforce-eager", "--port", "1"], "enforce_eager", True, id="a switch"),
    pytest.param(["--enforce-eager=false"], "enforce_eager", False, id="a switch that is off"),
    pytest.param(["--num-gpu-blocks-override", "512"], "kv_blocks", 512, id="blocks"),
    pytest.param(["--max-num-seqs", "64"], "max_batch_size", 64, id="slots"),
    pytest.param(["--max-num-seqs", "many"], "max_batch_size", 256, id="nonsense: default"),
    pytest.param(["-tp", "2"], "accelerators_per_replica", 2, id="parallel, in short"),
    pytest.param(["-x", "2"], "accelerators_per_replica", 1, id="another flag"),
    pytest.param(["-tp=2", "-pp", "3"], "accelerators_per_replica", 6, id="two parallelisms"),
    pytest.param(["--tensor-parallel-size=4"], "accelerators_per_replica", 4, id="parallel"),
    pytest.param(["--kv-cache-dtype", "fp8"], "kv_cache_dtype", "fp8", id="KV format"),
    pytest.param(["--block_size=32"], "block_size_tokens", 32, id="block size"),
    pytest.param(
        ["--speculative-config", '{"a": "--max-num-seqs 3"}', "--max-num-seqs=9"],
        "max_batch_size",
        9,
        id="a flag inside a value doesn't count after a real one",
    ),
]


@pytest.mark.parametrize(("arguments", "name", "value"), FLAGS)
def test_flags_of_vllm(arguments, name, value):
    assert getattr(parse_engine_arguments([*VLLM, *arguments]), name) == value


V0 = {"VLLM_USE_V1": "0"}
BUDGETS = [
    pytest.param([], {}, 8192, id="V1"),
    pytest.param([], {"VLLM_USE_V1": "1"}, 8192, id="V1 asked for"),
    pytest.param(["--max-num-batched-tokens=1024"], V0, 1024, id="explicit"),
    pytest.param(["--enable-chunked-prefill"], V0, 2048, id="V0 in chunks"),
    pytest.param(["--max-model-len", "32768"], V0, 32768, id="V0 whole, long context"),
    pytest.param(["--max-model-len", "1024"], V0, 2048, id="V0 whole, short context"),
    pytest.param([], V0, 2048, id="V0, context unknown"),
]


@pytest.mark.parametrize(("arguments", "environment", "tokens"), BUDGETS)
def test_token_budget_of_vllm(arguments, environment, tokens):
    assert parse_engine_arguments([*VLLM, *arguments], environment).max_batched_tokens == tokens


SGLANG_FLAGS = [
    pytest.param(["--tp", "2"], "accelerators_per_replica", 2, id="tp"),
    pytest.param(["--tp-size=8"], "accelerators_per_replica", 8, id="tp-size"),
    pytest.param([], "max_batched_tokens", 8192, id="chunks by default"),
    pytest.param(["--chunked-prefill-size", "4096"], "max_batched_tokens", 4096, id="chunk size"),
    pytest.param(["--chunked-prefill-size", "-1"], "max_batched_tokens", 16384, id="chunks off"),
    pytest.param(["--mem-fraction-static", "0.8"], "gpu_memory_ratio", 0.8, id="memory"),
    pytest.param(["--max-running-requests=48"], "max_batch_size", 48, id="slots"),
]


@pytest.mark.parametrize(("arguments", "name", "value"), SGLANG_FLAGS)
def test_flags_of_sglang(arguments, name, value):
    found = parse_engine_arguments([*SGLANG, *arguments])
    assert found.engine == "sglang"
    assert getattr(found, name) == value


NAMES = ["max-num-seqs", "max-num-batched-tokens", "block_size", "tp", "chunked-prefill-size"]
flag = st.builds("--{}={}".format, st.sampled_from(NAMES), st.text(max_size=8) | st.floats())


@given(st.lists(st.text(max_size=40) | flag | st.just("sglang"), max_size=8))
def test_no_command_line_breaks_it(command):
    found = parse_engine_arguments(command)
    assert found.max_batch_size > 0
    assert found.max_batched_tokens > 0
    assert found.block_size_tokens > 0
    assert found.accelerators_per_replica > 0


@pytest.mark.parametrize(
    ("command", "stated"),
    [
        pytest.param(VLLM, set(), id="defaults are not stated"),
        pytest.param([*VLLM, "--max-num-seqs=64"], {"max_batch_size"}, id="slots"),
        pytest.param([*VLLM, "--max-num-seqs=many"], set(), id="nonsense"),
        pytest.param(
            [*SGLANG, "--chunked-prefill-size=-1", "--max-prefill-tokens=9000"],
            {"max_batched_tokens"},
            id="sglang",
        ),
    ],
)
def test_what_a_flag_sets_is_told_from_what_is_assumed(command, stated):
    assert parse_engine_arguments(command).stated == stated


@pytest.mark.parametrize(
    ("command", "tokens"),
    [
        pytest.param(VLLM, None, id="the engine measures"),
        pytest.param([*VLLM, "--num-gpu-blocks-override=512"], 512 * 16, id="blocks"),
        pytest.param(
            [*VLLM, "--num-gpu-blocks-override=512", "--block-size=32"], 512 * 32, id="larger"
        ),
        pytest.param([*SGLANG, "--max-total-tokens=8000"], 8000, id="sglang"),
        pytest.param(
            [*SGLANG, "--max-total-tokens=8000", "--page-size=64"], 8000, id="sglang, in pages"
        ),
    ],
)
def test_a_stated_cache_has_so_many_tokens(command, tokens):
    assert parse_engine_arguments(command).kv_capacity_tokens == tokens


def test_without_chunks_a_whole_prompt_is_one_step():
    command = [*VLLM, "--no-enable-chunked-prefill", "--max-model-len=32768"]
    assert parse_engine_arguments(command).max_batched_tokens == 32768


def test_variables_before_the_command_are_its_environment():
    assert parse_engine_arguments(["VLLM_USE_V1=0", *VLLM]).max_batched_tokens == 2048


def test_what_is_kept_of_a_command_says_the_same_and_holds_no_key():
    command = [
        *("VLLM_USE_V1=0", "vllm", "serve", "/models/secret", "--api-key=s3cret", "-tp", "2"),
        *("--max-num-seqs", "64", "--hf-token", "s3cret", "--kv-cache-dtype", "fp8"),
    ]
    kept = limits_in(command)
    assert not any("secret" in word or "s3cret" in word for word in kept)
    assert parse_engine_arguments(kept) == parse_engine_arguments(command)
