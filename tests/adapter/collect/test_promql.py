"""The queries' texts. All of them passed `promtool check rules` (2.42) when they were written."""

import re

import pytest

from adapter.collect.dialects import load_dialects, wanted_names
from adapter.collect.engine_queries import EngineQueries
from adapter.collect.promql import QueryBuilder, either, names_query
from adapter.collect.selectors import Matcher, canonical, parse_selector

DIALECTS = {dialect.name: dialect for dialect in load_dialects()}


def existing(*names: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(canonical(name), []).append(name)
    return found


def builder(*names: str, matchers: tuple[Matcher, ...] = ()) -> QueryBuilder:
    return QueryBuilder(existing=existing(*names), by=("pod",), matchers=matchers, window_s=60.0)


def test_a_gauge_is_grouped_as_its_signal_demands() -> None:
    terms = DIALECTS["vllm"].terms
    build = builder("vllm:num_requests_running", "vllm:kv_cache_usage_perc")
    assert build.signal(terms["running_requests"]) == "(sum by (pod) (vllm:num_requests_running))"
    assert build.signal(terms["kv_usage_ratio"]) == "(max by (pod) (vllm:kv_cache_usage_perc))"


def test_a_counters_rate_is_taken_before_the_sum() -> None:
    build = builder("vllm:request_success_total")
    text = build.counter(DIALECTS["vllm"].terms["completions"])
    assert text == "(sum by (pod) (rate(vllm:request_success_total[60s])))"


def test_alternatives_are_joined_so_that_each_pod_counts_once() -> None:
    both = builder("vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits")
    text = both.counter(DIALECTS["vllm"].terms["prefix_hit_tokens"])
    assert text == (
        "((sum by (pod) (rate(vllm:prefix_cache_hits_total[60s])))) or "
        "((sum by (pod) (rate(vllm:prefix_cache_hits[60s]))))"
    )


def test_only_what_exists_is_asked_for_in_its_spelling() -> None:
    build = builder("vllm_num_requests_running")
    terms = DIALECTS["vllm"].terms
    assert build.signal(terms["running_requests"]) == "(sum by (pod) (vllm_num_requests_running))"
    assert build.signal(terms["kv_usage_ratio"]) == ""
    assert build.counter(terms["completions"]) == ""


def test_ranks_that_say_the_same_are_one() -> None:
    text = builder("sglang:max_total_num_tokens").signal(
        DIALECTS["sglang"].terms["kv_capacity_tokens"]
    )
    assert text == "(sum by (pod) (max by (pod, dp_rank) (sglang:max_total_num_tokens)))"


def test_what_may_be_absent_is_nothing_where_it_is() -> None:
    build = builder("vllm:num_requests_waiting", "vllm:num_requests_swapped")
    text = build.signal(DIALECTS["vllm"].terms["waiting_requests"])
    waiting = "sum by (pod) (vllm:num_requests_waiting)"
    swapped = "sum by (pod) (vllm:num_requests_swapped)"
    assert text == f"(({waiting}) + (({swapped}) or ({waiting}) * 0))"


def test_what_is_needed_and_absent_rules_a_way_out() -> None:
    ways = DIALECTS["dynamo-frontend"].terms["running_requests"]
    assert builder("dynamo_frontend_active_requests").signal(ways) == ""
    assert "queued" in builder(
        "dynamo_frontend_active_requests", "dynamo_frontend_queued_requests"
    ).signal(ways)


def test_products_and_scales() -> None:
    trtllm = builder("trtllm_kv_cache_max_blocks", "trtllm_kv_cache_tokens_per_block")
    assert trtllm.signal(DIALECTS["trtllm-serve"].terms["kv_capacity_tokens"]) == (
        "((sum by (pod) (trtllm_kv_cache_max_blocks)) * "
        "(max by (pod) (trtllm_kv_cache_tokens_per_block)))"
    )
    triton = builder("nv_inference_queue_duration_us", "nv_inference_request_success")
    assert triton.histogram(DIALECTS["triton"].histograms["queue_time_s"], "sum") == (
        "(sum by (pod) (max by (pod) (rate(nv_inference_queue_duration_us[60s]))) * 1e-06)"
    )


def test_settings_conditions_stand_in_every_selector() -> None:
    build = builder("vllm:num_requests_running", matchers=(Matcher("cluster", "=", 'a"b'),))
    text = build.signal(DIALECTS["vllm"].terms["running_requests"])
    assert r'vllm:num_requests_running{cluster="a\"b"}' in text


def test_ages_are_by_the_servers_own_clock() -> None:
    text = builder("vllm:num_requests_running").ages(DIALECTS["vllm"])
    assert text == "max by (pod) (time() - timestamp(vllm:num_requests_running))"


def test_facts_keep_their_labels_and_count_the_ranks() -> None:
    term = DIALECTS["vllm"].terms["kv_capacity_tokens"][1]
    text = builder("vllm:cache_config_info").facts(term)
    assert text == "count by (pod, num_gpu_blocks, block_size) (vllm:cache_config_info)"


def test_names_are_asked_for_in_one_query() -> None:
    text = names_query({"a:b", "c"}, (Matcher("namespace", "=", "x"),))
    assert text == 'count by (__name__) ({__name__=~"a:b|c",namespace="x"})'


def test_either_of_the_same_is_one() -> None:
    assert either(["a", "", "a"]) == "a"
    assert either(["", ""]) == ""
    assert either(["a", "b"]) == "(a) or (b)"


def every_query() -> list[str]:
    names, facts = wanted_names(DIALECTS.values())
    queries = EngineQueries.of(
        DIALECTS.values(),
        existing=existing(*sorted({*names, *facts})),
        labels=("instance", "namespace", "pod"),
        matchers=(),
        window_s=60.0,
    )
    return [*queries.signals.values(), *queries.ages.values(), *(f.text for f in queries.facts)]


def test_there_is_one_query_per_signal() -> None:
    assert len(every_query()) < 60


@pytest.mark.parametrize("text", every_query(), ids=range(len(every_query())))
def test_every_query_is_well_formed(text: str) -> None:
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    depth = 0
    for character in bare:
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(
        r"(rate|increase|delta|avg_over_time)\((?![a-zA-Z_:]+(\{[^}]*\})?\[)", bare
    )
    # A rate of a sum is no rate: pods come and go.
    assert not re.search(r"(rate|increase)\(\(?sum", bare)
    for selector in re.findall(r"(?:vllm|sglang|trtllm)[a-z_:]*(?:\{[^}]*\})?", text):
        parse_selector(selector)
