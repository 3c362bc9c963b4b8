"""The emulated `/metrics` against a real engine's, and against what its requests saw."""

import gzip
import json
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from optimizer.errors import InvalidInputError
from simulator import state
from simulator.engine import EngineSpec
from simulator.exposition import Exposition
from simulator.live import LiveEngine
from simulator.prometheus_text import Page, counter, format_number, gauge, histogram, summary
from simulator.request_histograms import RequestHistograms, token_bounds
from simulator.vllm_families import EngineMetrics, ServedModel

from .reference_engine import ReferenceEngine
from .test_engine_exact import specs, workloads

CAPTURES = Path(__file__).resolve().parents[2].parent / "shared" / "captures"
needs_captures = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="recordings of a real engine (../shared/captures) are absent"
)

# The recorded engine, as far as its page tells.
MODEL = ServedModel(name="tiny/llama", max_model_len=2048)
RECORDED = EngineSpec(
    iteration_base_s=0.006,
    decode_slope_s=2e-4,
    max_num_seqs=32,
    num_gpu_blocks=8192,
    block_size=128,
)


def serve(spec, *, requests=(), until_s=1e9, model=MODEL):
    """Return the page of an engine that has served `requests`, and where its numbers are."""
    engine = LiveEngine(spec, start_s=0.0)
    metrics = EngineMetrics(
        engine=engine,
        requests=RequestHistograms(
            max_model_len=model.max_model_len,
            itl_bounds_s=state.ITL_BOUNDS_S,
            ttft_constant_s=spec.ttft_constant_s,
        ),
    )
    for key, (arrival_s, prompt, output, cached) in enumerate(requests):
        engine.submit(
            key,
            arrival_s=arrival_s,
            prompt_tokens=prompt,
            output_tokens=output,
            cached_tokens=cached,
        )
    for ended in engine.advance(until_s):
        metrics.requests.observe(ended)
    exposition = Exposition(model, spec, start_unix_s=1.79546809616e9)
    return exposition.render(metrics).decode(), metrics


def structure(text):
    """Return a page with its numbers taken out, and what only a machine's command line sets."""
    lines = []
    for line in text.splitlines():
        kept = line if line.startswith("#") else line.rpartition(" ")[0]
        kept = re.sub(r'(kv_cache_memory_bytes|version|patchlevel|minor)="[^"]*"', r"\1", kept)
        lines.append(kept)
    return lines


def recordings():
    yield from (path.read_text() for path in sorted(CAPTURES.glob("*.prom")))
    with gzip.open(CAPTURES / "vllm-ramp" / "scrapes.jsonl.gz", "rt") as file:
        scrapes = [json.loads(line)["body"] for line in file]
    yield from (scrapes[0], scrapes[len(scrapes) // 2], scrapes[-1])


@needs_captures
def test_every_line_but_its_number_is_that_of_a_real_engine():
    ours, _ = serve(RECORDED, requests=[(0.0, 100, 20, 0), (0.1, 300, 5, 128)])
    for recorded in recordings():
        theirs = structure(recorded)
        assert [line for line in structure(ours) if line not in theirs] == []
        assert structure(ours) == theirs


@needs_captures
def test_bounds_read_by_the_official_parser_are_the_same():
    def bounds(text):
        return {
            family.name: sorted({s.labels["le"] for s in family.samples if "le" in s.labels})
            for family in text_string_to_metric_families(text)
            if family.type == "histogram"
        }

    ours, _ = serve(RECORDED, requests=[(0.0, 100, 20, 0)])
    assert bounds(ours) == bounds(next(recordings()))


@lru_cache(maxsize=2)
def samples(text):
    return {
        (sample.name, *sorted((k, v) for k, v in sample.labels.items() if k != "model_name")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text, name, **labels):
    """Return one sample; `engine` is "0" where the family has it."""
    found = samples(text)
    with_engine = (name, *sorted({"engine": "0", **labels}.items()))
    return found[with_engine if with_engine in found else (name, *sorted(labels.items()))]


def read_histogram(text, name):
    """Return a histogram's bounds, its counts per bucket and its sum."""
    buckets = [
        (float(dict(key[1:])["le"]), count)
        for key, count in samples(text).items()
        if key[0] == f"{name}_bucket"
    ]
    bounds, cumulative = zip(*buckets, strict=True)
    assert bounds == tuple(sorted(bounds))
    assert cumulative[-1] == value(text, f"{name}_count")
    return np.array(bounds), np.diff(cumulative, prepend=0), value(text, f"{name}_sum")


def expected_histogram(values, bounds):
    return np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds))


@settings(max_examples=60, deadline=None)
@given(spec=specs(), workload=workloads())
def test_the_page_says_what_happened(spec, workload):
    if spec.num_gpu_blocks is None or not workload[0].size:
        return
    requests = list(zip(*(column.tolist() for column in workload), strict=True))
    reference = ReferenceEngine(spec, *workload).run()
    engine_start_s = requests[0][0]
    shifted = [(a - engine_start_s, *rest) for a, *rest in requests]
    text, _ = serve(spec, requests=shifted)
    done = [s for s in reference.all if s.status == "finished"]
    started = [s for s in reference.all if s.scheduled_s == s.scheduled_s]
    for name, values in {
        "vllm:time_to_first_token_seconds": [s.first_token_s - s.arrival_s for s in done],
        "vllm:inter_token_latency_seconds": reference.counted.itl_s,
        "vllm:iteration_tokens_total": reference.counted.iteration_tokens,
        "vllm:e2e_request_latency_seconds": [s.finish_s - s.arrival_s for s in done],
        "vllm:request_queue_time_seconds": [s.scheduled_s - s.arrival_s for s in done],
        "vllm:request_prefill_time_seconds": [s.first_token_s - s.scheduled_s for s in done],
        "vllm:request_decode_time_seconds": [s.finish_s - s.first_token_s for s in done],
        "vllm:request_inference_time_seconds": [s.finish_s - s.scheduled_s for s in done],
        "vllm:request_time_per_output_token_seconds": [
            (s.finish_s - s.first_token_s) / max(s.output - 1, 1) for s in done
        ],
        "vllm:request_prompt_tokens": [s.prompt for s in done],
        "vllm:request_prefill_kv_computed_tokens": [s.prompt - s.cached for s in done],
        "vllm:request_generation_tokens": [s.output for s in done],
        "vllm:request_num_preemptions": [s.preemptions for s in done],
    }.items():
        bounds, counts, total = read_histogram(text, name)
        np.testing.assert_array_equal(counts, expected_histogram(values, bounds), err_msg=name)
        assert total == pytest.approx(sum(values), rel=1e-9, abs=1e-9), name
    for name, labels, expected in (
        ("vllm:request_success_total", {"finished_reason": "length"}, len(done)),
        ("vllm:prompt_tokens_total", {}, sum(s.prompt for s in done)),
        ("vllm:generation_tokens_total", {}, sum(s.output for s in done)),
        ("vllm:prefix_cache_queries_total", {}, sum(s.prompt for s in started)),
        ("vllm:prefix_cache_hits_total", {}, sum(s.cached for s in started)),
        (
            "vllm:prompt_tokens_by_source_total",
            {"source": "local_cache_hit"},
            sum(s.cached for s in done),
        ),
        ("vllm:num_preemptions_total", {}, reference.counted.preemptions),
        (
            "vllm:admission_rejections_total",
            {"reason": "max_num_queued_reqs"},
            sum(s.status == "rejected" for s in reference.all),
        ),
        ("vllm:num_requests_running", {}, 0),
        ("vllm:num_requests_waiting", {}, 0),
        ("vllm:kv_cache_usage_perc", {}, 0),
    ):
        assert value(text, name, **labels) == expected, name


def test_gauges_and_counters_in_the_middle():
    spec = EngineSpec(iteration_base_s=1.0, max_num_seqs=2, num_gpu_blocks=11, ttft_constant_s=0.25)
    requests = [(0.0, 20, 9, 0), (0.0, 40, 9, 16), (0.0, 8, 9, 0)]
    text, _ = serve(spec, requests=requests, until_s=3.5)
    assert value(text, "vllm:num_requests_running") == 2
    assert value(text, "vllm:num_requests_waiting") == 1
    assert value(text, "vllm:num_requests_waiting_by_reason", reason="capacity") == 1
    assert value(text, "vllm:kv_cache_usage_perc") == pytest.approx(5 / 10)
    assert value(text, "vllm:prompt_tokens_total") == 60
    assert value(text, "vllm:generation_tokens_total") == 6
    assert value(text, "vllm:inter_token_latency_seconds_sum") == 4.0
    # the front end sees first tokens a quarter second after the engine made them
    assert value(text, "vllm:time_to_first_token_seconds_sum") == 2.5
    assert value(text, "vllm:request_success_total", finished_reason="length") == 0


def test_http_families_have_no_series_before_the_first_answer():
    fresh, _ = serve(RECORDED)
    assert "# TYPE http_requests_total counter\n# HELP http_request_size_bytes" in fresh
    assert 'http_request_duration_highr_seconds_bucket{le="+Inf"} 0.0' in fresh
    bounded = EngineSpec(iteration_base_s=1.0, max_num_seqs=1, max_queue_size=0, num_gpu_blocks=100)
    used, _ = serve(bounded, requests=[(0.0, 5, 2, 0), (0.5, 5, 2, 0)])
    labels = {"handler": "/v1/completions", "method": "POST"}
    assert value(used, "http_requests_total", status="2xx", **labels) == 1
    assert value(used, "http_requests_total", status="5xx", **labels) == 1


def test_cache_config_tells_the_capacity():
    text, _ = serve(EngineSpec(iteration_base_s=1.0, num_gpu_blocks=1000, block_size=16))
    (labels,) = (
        dict(sample.labels)
        for family in text_string_to_metric_families(text)
        if family.name == "vllm:cache_config_info"
        for sample in family.samples
    )
    assert labels["num_gpu_blocks"] == "1000"
    assert labels["block_size"] == "16"
    assert labels["kv_cache_size_tokens"] == "16000"
    assert labels["kv_cache_max_concurrency"] == "7.8125"
    assert "model_name" not in labels


def test_an_engine_without_a_stated_cache_has_no_page():
    with pytest.raises(InvalidInputError, match="num_gpu_blocks is None"):
        serve(EngineSpec(iteration_base_s=1.0))


def test_token_bounds_go_up_to_the_model_length():
    assert token_bounds(2048) == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
    assert token_bounds(5000)[-1] == 5000


@given(st.floats() | st.integers(-(10**7), 10**19).map(float))
def test_numbers_look_as_the_client_library_writes_them(number):
    assert format_number(number) == floatToGoString(number)


@given(model=st.text('ab/"\\\n', max_size=8), numbers=st.lists(st.integers(0, 9), min_size=2))
def test_a_page_is_what_the_client_library_writes(model, numbers):
    """Counter, gauge, histogram and summary, labels escaped, with and without series."""
    registry = prometheus_client.CollectorRegistry()
    labels = {"engine": "0", "model_name": model}
    seen = prometheus_client.Counter("seen", "Seen.", list(labels), registry=registry)
    level = prometheus_client.Gauge("level", "Level.", list(labels), registry=registry)
    spread = prometheus_client.Histogram(
        "spread", "Spread.", list(labels), buckets=(1, 2.5), registry=registry
    )
    sizes = prometheus_client.Summary("sizes", "Sizes.", list(labels), registry=registry)
    prometheus_client.Counter("never", "Never.", ["a"], registry=registry)
    for number in numbers:
        seen.labels(**labels).inc(number)
        level.labels(**labels).set(number)
        spread.labels(**labels).observe(number)
        sizes.labels(**labels).observe(number)
    theirs = prometheus_client.generate_latest(registry).decode()
    stamp = 1.79546809616e9
    upto = [sum(n <= bound for n in numbers) for bound in (1, 2.5, 99)]
    page = Page(
        [
            counter("seen_total", "Seen.", lambda _: (sum(numbers),), labels),
            gauge("level", "Level.", lambda _: (numbers[-1],), labels),
            histogram(
                "spread",
                "Spread.",
                (1, 2.5),
                lambda _: (*upto, len(numbers), sum(numbers)),
                labels,
            ),
            summary("sizes", "Sizes.", lambda _: (len(numbers), sum(numbers)), labels),
            counter("never_total", "Never.", lambda _: ()),
        ],
        created_unix_s=stamp,
    )
    created = re.compile(r"^([a-z]+_created.*) \S+$", re.MULTILINE)
    assert page.render(None) == created.sub(rf"\1 {format_number(stamp)}", theirs)
