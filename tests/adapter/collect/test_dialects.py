"""Every engine's page, as the notes have it, gives the readings that it stands for."""

import re

import pytest

from adapter.collect.binding import Binding, Misfit
from adapter.collect.dialects import load_dialects, wanted_names
from adapter.config import DialectSettings
from adapter.errors import ConfigError
from adapter.records import Missing, Reason

from .captures import capture, needs_captures, needs_notes, samples
from .engines_of import Engine, assert_same

NOT_EXPORTED = Missing(Reason.NOT_EXPORTED)
NO_EVENTS = Missing(Reason.NO_EVENTS)

NOW = {
    "3.1": {
        "dialect": "vllm",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": 444_416,
        "awake": 1,
        "max_batch_size": NOT_EXPORTED,
    },
    "3.2": {
        "dialect": "vllm",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": 27_776 * 16,
        "awake": NOT_EXPORTED,
    },
    "3.3": {
        "dialect": "vllm",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": NOT_EXPORTED,
    },
    "3.4": {
        "dialect": "sglang",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": 444_416,
    },
    "3.5": {
        "dialect": "tgi",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 27_114 / 444_416,
        "kv_capacity_tokens": 444_416,
    },
    "3.6": {
        "dialect": "trtllm-serve",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": 13_888 * 32,
        "max_batch_size": 256,
        "max_batched_tokens": 8192,
        "prefix_hit_ratio": 0.2422,
    },
    "3.7": {
        "dialect": "triton",
        "running_requests": 14,
        "waiting_requests": 3,
        "kv_usage_ratio": 0.4375,
        "kv_capacity_tokens": 13_888 * 32,
        "max_batch_size": 256,
    },
    "3.8": {
        "dialect": "dynamo-frontend",
        "running_requests": 13,
        "waiting_requests": 4,
        "kv_usage_ratio": 12_152 / 27_776,
        "kv_capacity_tokens": 27_776 * 16,
        "max_batch_size": 256,
        "max_batched_tokens": 8192,
        "awake": 1,
    },
}


@needs_notes
@pytest.mark.parametrize("number", NOW)
def test_what_a_page_says_now(number: str) -> None:
    engine = Engine().read(samples()[number][0], openmetrics=number == "3.3")
    assert isinstance(engine.binding, Binding), engine.binding
    expected = dict(NOW[number])
    assert engine.binding.dialect == expected.pop("dialect")
    assert_same(engine.replica, expected)


def grown(text: str, names: dict[str, float]) -> str:
    """Return a page on which the series whose line starts with a name have grown by a number."""
    lines = []
    for line in text.splitlines():
        match = re.fullmatch(r"(\S+?)(\{.*\})? (\S+)", line)
        by = names.get(match[1] + (match[2] or ""), names.get(match[1], 0.0)) if match else 0.0
        lines.append(f"{match[1]}{match[2] or ''} {float(match[3]) + by!r}" if by else line)
    return "\n".join([*lines, ""])


# What grows within ten seconds, and the readings that it stands for.
FLOWS = {
    "3.1": (
        {
            'vllm:request_success_total{engine="0",finished_reason="stop",model_name="llama-3.1-8b"}': 15,
            'vllm:request_success_total{engine="0",finished_reason="length",model_name="llama-3.1-8b"}': 5,
            "vllm:num_requests_waiting": 30,
            'vllm:num_requests_waiting_by_reason{engine="0",model_name="llama-3.1-8b",reason="capacity"}': 30,
            'vllm:admission_rejections_total{model_name="llama-3.1-8b",reason="max_num_queued_reqs"}': 10,
            "vllm:prompt_tokens_total": 8000,
            "vllm:generation_tokens_total": 4000,
            "vllm:prefix_cache_queries_total": 8000,
            "vllm:prefix_cache_hits_total": 2000,
            "vllm:num_preemptions_total": 1,
            "vllm:request_prompt_tokens_sum": 8000,
            "vllm:request_prompt_tokens_count": 20,
            "vllm:time_to_first_token_seconds_sum": 5.0,
            "vllm:time_to_first_token_seconds_count": 25,
            "vllm:inter_token_latency_seconds_sum": 90.0,
            "vllm:inter_token_latency_seconds_count": 3600,
        },
        {
            "completion_rate_rps": 2.0,
            "inflight_slope_rps": 3.0,
            "rejection_rate_rps": 1.0,
            "first_token_rate_rps": 2.5,
            "prompt_token_rate_tps": 800.0,
            "output_token_rate_tps": 400.0,
            "preemption_rate_rps": 0.1,
            "prefix_hit_ratio": 0.25,
            "prompt_tokens_mean": 400.0,
            "output_tokens_mean": NO_EVENTS,
            "ttft_mean_s": 0.2,
            "itl_mean_s": 0.025,
            "mean_waiting_requests": 18.0,
            "mean_running_requests": 14.0,
            "mean_kv_usage_ratio": 0.4375,
            "arrival_rate_rps": NOT_EXPORTED,
            "queue_time_mean_s": NOT_EXPORTED,
        },
    ),
    "3.2": (
        {
            "vllm:time_per_output_token_seconds_sum": 90.0,
            "vllm:time_per_output_token_seconds_count": 3600,
            'vllm:request_success_total{finished_reason="stop",model_name="llama-3.1-8b"}': 20,
        },
        {
            "itl_mean_s": 0.025,
            "completion_rate_rps": 2.0,
            "rejection_rate_rps": NOT_EXPORTED,
            "prefix_hit_ratio": Missing(Reason.NOT_EXPORTED),  # -1: the cache is off
        },
    ),
    "3.4": (
        {
            "sglang:http_requests_total": 60,
            "sglang:num_requests_total": 20,
            "sglang:num_aborted_requests_total": 5,
            "sglang:prompt_tokens_total": 8000,
            "sglang:cached_tokens_total": 4000,
            "sglang:num_retracted_requests_total": 2,
            "sglang:inter_token_latency_seconds_sum": 9.0,
            "sglang:inter_token_latency_seconds_count": 300,
        },
        {
            "arrival_rate_rps": 6.0,
            "completion_rate_rps": 2.0,
            "rejection_rate_rps": 0.5,
            "prefix_hit_ratio": 0.5,
            "preemption_rate_rps": 0.2,
            "itl_mean_s": 0.03,
            "prompt_tokens_mean": NO_EVENTS,
        },
    ),
    "3.5": (
        {
            "tgi_request_count": 60,
            "tgi_request_success": 20,
            'tgi_request_failure{err="overloaded"}': 10,
            'tgi_request_failure{err="validation"}': 10,
            "tgi_request_mean_time_per_token_duration_sum": 0.6,
            "tgi_request_mean_time_per_token_duration_count": 20,
        },
        {
            "arrival_rate_rps": 6.0,
            "completion_rate_rps": 2.0,
            "rejection_rate_rps": 1.0,
            "itl_mean_s": 0.03,
            "prompt_tokens_mean": NO_EVENTS,
            "ttft_mean_s": NOT_EXPORTED,
        },
    ),
    "3.6": (
        {
            'trtllm_request_success_total{engine_type="trtllm",finished_reason="stop",model_name="llama-3.1-8b"}': 20,
            "trtllm_prompt_tokens_total": 8000,
            "trtllm_generation_tokens_total": 4000,
        },
        {
            "completion_rate_rps": 2.0,
            "prompt_tokens_mean": 400.0,
            "output_tokens_mean": 200.0,
            "prompt_tokens_second_moment": NOT_EXPORTED,
            "rejection_rate_rps": 0.0,  # born with the first one; there is a 400, which is none
        },
    ),
    "3.7": (
        {
            "nv_inference_request_success": 20,
            'nv_inference_request_failure{model="tensorrt_llm",reason="REJECTED",version="1"}': 10,
            "nv_inference_queue_duration_us": 4_000_000,
            "nv_llm_input_token_len_sum": 8000,
            "nv_llm_input_token_len_count": 20,
        },
        {
            "completion_rate_rps": 2.0,
            "rejection_rate_rps": 1.0,
            "queue_time_mean_s": 0.2,
            "prompt_tokens_mean": 400.0,
            "prompt_token_rate_tps": 800.0,
        },
    ),
    "3.8": (
        {
            "dynamo_frontend_requests_started_total": 60,
            'dynamo_frontend_requests_total{endpoint="chat_completions",error_type="",model="llama-3.1-8b",request_type="stream",status="success"}': 20,
            'dynamo_frontend_requests_total{endpoint="chat_completions",error_type="overload",model="llama-3.1-8b",request_type="stream",status="error"}': 10,
            "dynamo_frontend_model_rejection_total": 10,
            "dynamo_frontend_time_to_first_token_seconds_sum": 5.0,
            "dynamo_frontend_time_to_first_token_seconds_count": 25,
        },
        {
            "arrival_rate_rps": 6.0,
            "completion_rate_rps": 2.0,
            "rejection_rate_rps": 1.0,
            "ttft_mean_s": 0.2,
            "itl_mean_s": NO_EVENTS,
        },
    ),
}


@needs_notes
@pytest.mark.parametrize("number", FLOWS)
def test_what_a_page_says_of_the_time_since_the_last(number: str) -> None:
    growth, expected = FLOWS[number]
    page = samples()[number][0]
    engine = Engine().read(page)
    once = engine.replica["completion_rate_rps"]
    assert once == Missing(Reason.ONE_SCRAPE)
    engine.read(grown(page, growth))
    assert_same(engine.replica, expected)


@needs_notes
def test_the_simulator_is_told_from_vllm_and_its_counters_are_born_late() -> None:
    fresh, busy = samples()["3.9"]
    engine = Engine().read(fresh)
    assert isinstance(engine.binding, Binding)
    assert engine.binding.dialect == "llm-d-inference-sim"
    assert engine.replica["kv_capacity_tokens"] == 1024 * 16
    engine.read(fresh)
    assert engine.replica["completion_rate_rps"] == 0.0
    assert engine.replica["ttft_mean_s"] == NO_EVENTS
    engine.read(busy)
    # Twenty requests have finished since the scrape that saw none: the series began at 0.
    assert engine.replica["completion_rate_rps"] == pytest.approx(20 / 20.0)
    assert engine.replica["ttft_mean_s"] == pytest.approx(2.1034 / 20)
    assert engine.replica["prompt_tokens_mean"] == pytest.approx(26.0)


@needs_notes
@pytest.mark.parametrize("number", ["3.4", "3.1"])
def test_underscores_for_colons_mean_the_same(number: str) -> None:
    page = samples()[number][0]
    plain = page.replace("sglang:", "sglang_").replace("vllm:", "vllm_")
    expected = Engine().read(page).read(page).replica
    assert_same(Engine().read(plain).read(plain).replica, expected)


@needs_captures
def test_the_real_vllm_is_read_whole() -> None:
    body = capture("saturated").decode()
    engine = Engine("tiny/llama").read(body).read(body)
    missing = {name for name, value in engine.replica.items() if value == NOT_EXPORTED}
    assert missing == {"max_batch_size", "max_batched_tokens", "arrival_rate_rps"}
    assert engine.replica["kv_capacity_tokens"] == 1_048_576


# --- renames, ranks, units ----------------------------------------------------------------------

M = 'model_name="llama-3.1-8b"'


def vllm(*lines: str) -> str:
    base = [f'vllm:num_requests_running{{engine="0",{M}}} 1']
    return "\n".join([*base, *lines, ""])


@pytest.mark.parametrize(
    ("lines", "signal", "value"),
    [
        pytest.param([f'vllm:kv_cache_usage_perc{{{M},engine="0"}} 0.5'], "kv_usage_ratio", 0.5, id="kv-v1"),
        pytest.param([f"vllm:gpu_cache_usage_perc{{{M}}} 0.5"], "kv_usage_ratio", 0.5, id="kv-v0"),
        pytest.param(
            [f'vllm:gpu_cache_usage_perc{{{M},engine="0"}} 0.4', f'vllm:kv_cache_usage_perc{{{M},engine="0"}} 0.5'],
            "kv_usage_ratio",
            0.5,
            id="kv-both-names",
        ),
        pytest.param(
            [f'vllm:kv_cache_usage_perc{{{M},engine="0",pid="7"}} 0.0', f'vllm:kv_cache_usage_perc{{{M},engine="0",pid="8"}} 0.6'],
            "kv_usage_ratio",
            0.6,
            id="kv-per-process",
        ),
        pytest.param(
            [f'vllm:kv_cache_usage_perc{{{M},engine="0"}} 0.2', f'vllm:kv_cache_usage_perc{{{M},engine="1"}} 0.7'],
            "kv_usage_ratio",
            0.7,
            id="kv-worst-rank",
        ),
        pytest.param([f'vllm:num_requests_running{{engine="1",{M}}} 4'], "running_requests", 5.0, id="ranks-add-up"),
        pytest.param(
            [f"vllm:num_requests_waiting{{{M}}} 2", f"vllm:num_requests_swapped{{{M}}} 3"],
            "waiting_requests",
            5.0,
            id="swapped-wait",
        ),
        pytest.param(
            [
                'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="2000"} 1',
                'vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="2000"} 1',
            ],
            "kv_capacity_tokens",
            32_000.0,
            id="blocks-are-the-sum-over-ranks-already",
        ),
        pytest.param(
            [
                'vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="16000",num_gpu_blocks="2000"} 1',
                'vllm:cache_config_info{block_size="16",engine="1",kv_cache_size_tokens="16000",num_gpu_blocks="2000"} 1',
            ],
            "kv_capacity_tokens",
            32_000.0,
            id="tokens-are-per-rank",
        ),
        pytest.param(
            ['vllm:cache_config_info{block_size="16",kv_cache_size_tokens="None",num_gpu_blocks="10"} 1'],
            "kv_capacity_tokens",
            160.0,
            id="unset-is-the-word-None",
        ),
        pytest.param(
            ['vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1'],
            "kv_capacity_tokens",
            NOT_EXPORTED,
            id="v1-0.8.5-never-learns-its-blocks",
        ),
        pytest.param(
            [
                f'vllm:engine_sleep_state{{engine="0",{M},sleep_state="awake"}} 1',
                f'vllm:engine_sleep_state{{engine="1",{M},sleep_state="awake"}} 0',
                f'vllm:engine_sleep_state{{engine="1",{M},sleep_state="discard_all"}} 1',
            ],
            "awake",
            0.0,
            id="one-rank-asleep",
        ),
        pytest.param([f"vllm:kv_cache_usage_perc{{{M}}} NaN"], "kv_usage_ratio", Missing(Reason.NOT_FINITE), id="nan"),
        pytest.param([f"vllm:kv_cache_usage_perc{{{M}}} 43"], "kv_usage_ratio", Missing(Reason.NOT_FINITE), id="not-a-ratio"),
        pytest.param([f"vllm:num_requests_waiting{{{M}}} -1"], "waiting_requests", Missing(Reason.NOT_FINITE), id="sentinel"),
    ],
)  # fmt: skip
def test_vllm_says_it_in_many_ways(lines: list[str], signal: str, value: object) -> None:
    assert Engine().read(vllm(*lines)).replica[signal] == value


@pytest.mark.parametrize(
    ("hits", "queries"),
    [
        pytest.param("prefix_cache_hits_total", "prefix_cache_queries_total", id="vllm-0.9.2-on"),
        pytest.param("prefix_cache_hits", "prefix_cache_queries", id="released-simulators"),
        pytest.param(
            "gpu_prefix_cache_hits_total", "gpu_prefix_cache_queries_total", id="v1-0.8.5"
        ),
    ],
)
def test_prefix_hits_under_all_their_names(hits: str, queries: str) -> None:
    def page(hit: int, asked: int) -> str:
        return vllm(f"vllm:{hits}{{{M}}} {hit}", f"vllm:{queries}{{{M}}} {asked}")

    assert Engine().read_all([page(10, 100), page(40, 200)]).replica["prefix_hit_ratio"] == 0.3


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["inter_token_latency_seconds"], id="now"),
        pytest.param(["time_per_output_token_seconds"], id="before"),
        pytest.param(["inter_token_latency_seconds", "time_per_output_token_seconds"], id="both"),
    ],
)
def test_itl_under_all_its_names_and_once(names: list[str]) -> None:
    def page(total: float, count: int) -> str:
        return vllm(*(f"vllm:{n}_sum{{{M}}} {total}\nvllm:{n}_count{{{M}}} {count}" for n in names))

    assert Engine().read_all([page(1, 100), page(3, 200)]).replica["itl_mean_s"] == pytest.approx(
        0.02
    )


def sglang(*lines: str) -> str:
    return "\n".join([f"sglang:token_usage{{{M}}} 0.1", *lines, ""])


@pytest.mark.parametrize(
    ("lines", "signal", "value"),
    [
        pytest.param(
            [f'sglang:num_running_reqs{{{M},tp_rank="{tp}"}} 4' for tp in range(4)],
            "running_requests", 4.0, id="tensor-ranks-say-the-same",
        ),
        pytest.param(
            [f'sglang:num_running_reqs{{{M},dp_rank="{dp}",tp_rank="{dp * 2}"}} 4' for dp in range(3)],
            "running_requests", 12.0, id="data-ranks-add-up",
        ),
        pytest.param(
            [f'sglang:num_running_reqs{{{M},priority=""}} 5', f'sglang:num_running_reqs{{{M},priority="1"}} 3'],
            "running_requests", 5.0, id="the-empty-priority-is-the-total",
        ),
        pytest.param(
            [f"sglang:num_queue_reqs{{{M}}} 1", f"sglang:num_grammar_queue_reqs{{{M}}} 2",
             f"sglang:num_decode_prealloc_queue_reqs{{{M}}} 3"],
            "waiting_requests", 6.0, id="all-queues",
        ),
        pytest.param(
            [f"sglang:num_pages{{{M}}} 100", f"sglang:page_size{{{M}}} 64"],
            "kv_capacity_tokens", 6400.0, id="pages-times-size",
        ),
    ],
)  # fmt: skip
def test_sglang_ranks_and_queues(lines: list[str], signal: str, value: float) -> None:
    assert Engine().read(sglang(*lines)).replica[signal] == value


def test_an_ensemble_counts_a_request_once() -> None:
    def page(n: int) -> str:
        steps = ("ensemble", "preprocessing", "tensorrt_llm", "postprocessing")
        lines = [
            f'nv_inference_request_success{{model="{step}",version="1"}} {n}' for step in steps
        ]
        return "\n".join(['nv_trt_llm_request_metrics{request_type="scheduled"} 1', *lines, ""])

    assert Engine().read_all([page(100), page(150)]).replica["completion_rate_rps"] == 5.0


def test_milliseconds_become_seconds_in_sums_and_buckets() -> None:
    def page(n: int) -> str:
        name = "nv_inference_first_response_histogram_ms"
        return "\n".join(
            [
                'nv_trt_llm_request_metrics{request_type="scheduled"} 1',
                f'{name}_bucket{{le="100"}} 0',
                f'{name}_bucket{{le="200"}} {n}',
                f'{name}_bucket{{le="+Inf"}} {n}',
                f"{name}_sum {150 * n}",
                f"{name}_count {n}",
                "",
            ]
        )

    engine = Engine().read_all([page(0), page(100)])
    assert engine.replica["ttft_mean_s"] == pytest.approx(0.15)
    assert engine.variant["ttft_p50_s"] == pytest.approx(0.15)


def test_a_worker_that_passes_its_engine_through_is_read_as_the_engine() -> None:
    page = vllm("dynamo_component_inflight_requests 9", f"vllm:num_requests_waiting{{{M}}} 2")
    engine = Engine().read(page)
    assert isinstance(engine.binding, Binding)
    assert engine.binding.dialect == "vllm"


@needs_notes
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param("foo 1\n", Reason.UNKNOWN, id="another-exporter"),
        pytest.param("\n", Reason.UNKNOWN, id="nothing"),
        pytest.param("<!DOCTYPE html>\n<html>\n", Reason.MALFORMED, id="html"),
        pytest.param("\x00\x01\x02\n\xff\n", Reason.MALFORMED, id="bytes"),
        pytest.param(
            'vllm:num_requests_running{model_name="other"} 1\n', Reason.WRONG_MODEL, id="model"
        ),
    ],
)
def test_a_page_that_isnt_this_models_says_why(page: str, reason: Reason) -> None:
    engine = Engine().read(page)
    assert isinstance(engine.binding, Misfit)
    assert engine.binding.reason is reason


def test_the_wrong_model_is_named_with_the_remedy() -> None:
    engine = Engine().read('vllm:num_requests_running{model_name="other/model"} 1\n')
    assert isinstance(engine.binding, Misfit)
    assert "other/model" in engine.binding.message
    assert "served_names" in engine.binding.message


def test_of_several_models_in_a_page_only_ours_counts() -> None:
    page = 'dynamo_frontend_active_requests{model="llama-3.1-8b"} 3\n'
    page += 'dynamo_frontend_active_requests{model="other"} 50\n'
    page += 'dynamo_frontend_queued_requests{model="llama-3.1-8b"} 1\n'
    page += 'dynamo_frontend_queued_requests{model="other"} 7\n'
    assert Engine().read(page).replica["running_requests"] == 2.0


def test_the_old_trtllm_names_are_known_by_their_label() -> None:
    page = 'request_success_total{engine_type="undefined",model_name="undefined"} 5\n'
    engine = Engine().read(page)
    assert isinstance(engine.binding, Binding)
    assert engine.binding.dialect == "trtllm-serve"


# --- tables ------------------------------------------------------------------------------------


def test_every_table_that_comes_with_the_adapter_loads() -> None:
    names = [dialect.name for dialect in load_dialects()]
    assert names == [
        "llm-d-inference-sim",
        "vllm",
        "sglang",
        "trtllm-serve",
        "tgi",
        "triton",
        "dynamo-frontend",
        "dynamo-worker",
    ]


def test_names_are_wanted_in_both_spellings() -> None:
    names, facts = wanted_names(load_dialects())
    assert {"vllm:num_requests_running", "vllm_num_requests_running"} <= names
    assert facts["vllm:cache_config_info"] == facts["vllm_cache_config_info"]
    assert not names & facts.keys()


def test_an_added_dialect_is_tried_first_and_may_extend_another() -> None:
    added = {
        "mine": DialectSettings(
            detect=("mine:requests",),
            extends="vllm",
            signals={"waiting_requests": "mine:requests"},
        )
    }
    engine = Engine(added=added).read(vllm(f"mine:requests{{{M}}} 7"))
    assert isinstance(engine.binding, Binding)
    assert engine.binding.dialect == "mine"
    assert engine.replica["waiting_requests"] == 7.0
    assert engine.replica["running_requests"] == 1.0


def test_an_added_dialect_may_change_one_that_comes_with_the_adapter() -> None:
    added = {
        "vllm": DialectSettings(
            detect=("vllm:num_requests_running",),
            extends="vllm",
            signals={"max_batch_size": "my_limit"},
        )
    }
    assert Engine(added=added).read(vllm("my_limit 64")).replica["max_batch_size"] == 64.0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"detect": ["a"], "signals": {"runing": "a"}}, "runing.*running_requests", id="signal"),
        pytest.param({"detect": ["a b"]}, "detect.*'a b'", id="selector"),
        pytest.param({"detect": []}, "at least one", id="detect-nothing"),
        pytest.param({"detect": ["a"], "extends": "vlm"}, "vlm.*known: .*vllm", id="parent"),
        pytest.param({"detect": ["a"], "signals": {"completions": {"serie": "a"}}}, "serie", id="key"),
        pytest.param({"detect": ["a"], "signals": {"completions": {"plus": ["a"]}}}, "series", id="no-series"),
        pytest.param({"detect": ["a"], "signals": {"completions": {"series": "a", "over": "max"}}}, "over", id="over"),
        pytest.param({"detect": ["a"], "signals": {"completions": {"series": "a", "times": "b"}}}, "counter", id="product"),
        pytest.param({"detect": ["a"], "signals": {"ttft_s": {"sum": "a"}}}, "count", id="half-a-histogram"),
        pytest.param({"detect": ["a"], "signals": {"ttft_s": {"histogram": "a", "scale": 0}}}, "scale", id="scale"),
        pytest.param({"detect": ["a"], "signals": {"awake": {"series": "a", "one_per": "x"}}}, "one_per", id="one-per"),
        pytest.param({"detect": ["a"], "signals": {"awake": 3}}, "awake", id="number"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_an_error_that_names_its_place(table: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dialects({"mine": DialectSettings(**table)})


def test_dialects_that_extend_each_other_are_an_error() -> None:
    added = {
        "a": DialectSettings(detect=("x",), extends="b"),
        "b": DialectSettings(detect=("x",), extends="a"),
    }
    with pytest.raises(ConfigError, match="a -> b -> a"):
        load_dialects(added)
