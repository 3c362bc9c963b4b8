"""Selectors mean what they mean in PromQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect.grammar import Labels, Series
from adapter.collect.selectors import Matcher, Selector, parse_selector

SERIES = Series("vllm:x", Labels.of({"engine": "0", "reason": "stop", "empty": ""}))


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        pytest.param("vllm:x", True, id="bare"),
        pytest.param('vllm:x{engine="0"}', True, id="equal"),
        pytest.param('vllm:x{engine="1"}', False, id="not-equal"),
        pytest.param('vllm:x{engine!="1"}', True, id="unlike"),
        pytest.param('vllm:x{reason=~"stop|length"}', True, id="regex"),
        pytest.param('vllm:x{reason=~"st"}', False, id="regex-is-anchored"),
        pytest.param('vllm:x{reason!~"st.*"}', False, id="regex-unlike"),
        pytest.param('vllm:x{absent=""}', True, id="absent-is-empty"),
        pytest.param('vllm:x{empty=""}', True, id="empty"),
        pytest.param('vllm:x{absent!=""}', False, id="absent-is-not-present"),
        pytest.param('vllm:x{ engine = "0" , reason = "stop" , }', True, id="blanks"),
        pytest.param('vllm:x{engine="0",reason="length"}', False, id="all-must-hold"),
    ],
)
def test_a_selector_matches_as_in_promql(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(SERIES) is matches


@pytest.mark.parametrize(
    "text",
    ["", "1x", 'x{a="1"', "x{a=1}", 'x{a="1" b="2"}', 'x{a=~"("}', 'x{="1"}', "x y", 'x{a="1}'],
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_selector(text)


@given(st.text(max_size=20))
def test_a_selector_survives_being_written(value: str) -> None:
    selector = Selector("a:b", (Matcher("x", "=", value), Matcher("y", "!=", "z")))
    assert parse_selector(str(selector)) == selector
