"""The reader gives prometheus_client's answer, cold and warm, and never an error that isn't ours."""

import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_oracle,
)
from prometheus_client.parser import text_string_to_metric_families as text_oracle

from adapter.collect.exposition import Exposition, ExpositionReader, PageLimits
from adapter.errors import SourceMalformedError

from .captures import capture, needs_captures, needs_notes, ramp, samples

Answer = list[tuple[str, tuple[tuple[str, str], ...], str]]

WANTED = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:time_to_first_token_seconds_sum",
    "vllm:time_to_first_token_seconds_count",
    "process_start_time_seconds",
)


def _key(name: str, labels: dict[str, str], value: float) -> tuple:
    return name, tuple(sorted(labels.items())), repr(float(value))


def oracle(text: str, *, openmetrics: bool = False) -> Answer:
    """Return prometheus_client's samples under the names that the page has."""
    exposed = set(re.findall(r"^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)", text, re.MULTILINE))
    families = (openmetrics_oracle if openmetrics else text_oracle)(text)
    found = []
    for sample in (sample for family in families for sample in family.samples):
        name = sample.name
        if name not in exposed and name.removesuffix("_total") in exposed:
            name = name.removesuffix("_total")  # the oracle's own addition
        found.append(_key(name, sample.labels, sample.value))
    return sorted(found)


def read_answer(page: Exposition) -> Answer:
    pairs = zip(page.series, page.values.tolist(), strict=True)
    return sorted(_key(series.name, series.as_dict(), value) for series, value in pairs)


def names_of(answer: Answer) -> set[str]:
    return {name for name, _, _ in answer}


@needs_captures
@pytest.mark.parametrize("name", ["loaded", "saturated"])
def test_a_capture_reads_as_the_oracle_reads_it(name: str) -> None:
    body = capture(name)
    expected = oracle(body.decode())
    page = ExpositionReader(names_of(expected)).read(body)
    assert read_answer(page) == expected
    assert page.bad_lines == 0


@needs_captures
def test_only_what_is_wanted_is_read() -> None:
    body = capture("saturated")
    page = ExpositionReader(WANTED).read(body)
    assert read_answer(page) == [one for one in oracle(body.decode()) if one[0] in WANTED]


@needs_captures
def test_every_page_of_the_ramp_reads_warm_as_the_oracle_reads_it() -> None:
    reader = ExpositionReader(WANTED, facts={"vllm:cache_config_info": ["num_gpu_blocks"]})
    layout = None
    for _, body in ramp()[::12]:
        page = reader.read(body, layout=layout)
        assert layout is None or page.layout is layout, "a warm reading was expected"
        layout = page.layout
        assert read_answer(page) == [one for one in oracle(body.decode()) if one[0] in WANTED]
        assert [fact.label("num_gpu_blocks") for fact in page.facts] == ["8192"]


def _sample_cases() -> list:
    pages = [
        (number, i, text) for number, texts in samples().items() for i, text in enumerate(texts)
    ]
    return [pytest.param(number, text, id=f"{number}-{i}") for number, i, text in pages] or [
        pytest.param("", "", id="absent")
    ]


@needs_notes
@pytest.mark.parametrize(("number", "text"), _sample_cases())
def test_a_sample_of_the_notes_reads_as_the_oracle_reads_it(number: str, text: str) -> None:
    openmetrics = text.endswith("# EOF\n")
    try:
        expected = oracle(text, openmetrics=openmetrics)
    except ValueError:
        # An excerpt that OpenMetrics' parser refuses (its rules are about whole pages).
        expected, openmetrics = oracle(text), False
    assert expected, f"section {number} has samples"
    reader = ExpositionReader(names_of(expected))
    page = reader.read(text.encode(), openmetrics=openmetrics)
    assert read_answer(page) == expected
    again = reader.read(text.encode(), openmetrics=openmetrics, layout=page.layout)
    assert read_answer(again) == expected


# --- made input -------------------------------------------------------------------------------

metric_names = st.sampled_from(
    [
        "a",
        "ab",
        "a:b",
        "a_b",
        "abc",
        "a:bc",
        "request_total",
        "long_name_of_some_metric",
        "_x",
        ":y",
    ]
)
label_names = st.sampled_from(["a", "b", "le", "model_name", "engine", "_x", "le_"])
label_values = st.one_of(
    st.sampled_from(
        ["", "0", "0.5", "+Inf", "x=", 'q"', "\\", "a,b", "} 1", '"} 2', "# {", "é", "\n"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12),
)
numbers = st.one_of(
    st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "12.0",
            "1e5",
            "1.5E-7",
            "+3",
            "NaN",
            "+Inf",
            "-Inf",
            "Inf",
            ".5",
            "5.",
            "1e400",
        ]
    ),
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False).map(repr),
)
blanks = st.sampled_from([" ", "  ", "\t", " \t "])


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def text_lines(draw: st.DrawFn) -> str:
    name = draw(metric_names)
    labels = draw(st.dictionaries(label_names, label_values, max_size=3))
    inside = ",".join(f'{k}="{escape(v)}"' for k, v in labels.items())
    comma = "," if labels and draw(st.booleans()) else ""
    braces = f"{{{inside}{comma}}}" if labels or draw(st.booleans()) else ""
    before = draw(blanks) if draw(st.integers(0, 9)) == 0 else ""
    between = draw(blanks) if draw(st.integers(0, 4)) == 0 else " "
    after = draw(st.sampled_from(["", "", "", "", " ", "\t", "\r"]))
    stamp = f" {draw(st.integers(-(10**13), 10**13))}" if draw(st.integers(0, 5)) == 0 else ""
    return f"{before}{name}{braces}{between}{draw(numbers)}{stamp}{after}"


other_lines = st.sampled_from(
    [
        "",
        "   ",
        "# a comment",
        "#",
        "# HELP a Some words.",
        "# TYPE a gauge",
        "  # indented",
        "# TYPE a:b counter",
    ]
)
text_pages = st.lists(st.one_of(text_lines(), other_lines), max_size=12).map("\n".join)


@given(text=text_pages, end=st.sampled_from(["\n", ""]), wanted=st.sets(metric_names, min_size=1))
@example(text='a{b="x\\"} 2"} 1', end="\n", wanted={"a"})
@example(text='a{b="="} 1\nab 2', end="\n", wanted={"a"})
@example(text='abc{a="1"} 1\nab{a="1"} 2\na{a="1"} 3', end="\n", wanted={"ab"})
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_made_text_reads_as_the_oracle_reads_it(text: str, end: str, wanted: set[str]) -> None:
    text += end
    try:
        expected = [one for one in oracle(text) if one[0] in wanted]
    except (ValueError, OverflowError):
        assume(False)
    reader = ExpositionReader(wanted)
    page = reader.read(text.encode())
    assert read_answer(page) == expected
    assert page.bad_lines == 0
    assert read_answer(reader.read(text.encode(), layout=page.layout)) == expected


@st.composite
def openmetrics_pages(draw: st.DrawFn) -> str:
    lines = []
    for family in draw(st.lists(st.sampled_from(["ra", "rb:x", "rc_y"]), unique=True, max_size=3)):
        kind = draw(st.sampled_from(["counter", "gauge", "histogram", "unknown"]))
        lines.append(f"# TYPE {family} {kind}")
        labels = draw(
            st.dictionaries(st.sampled_from(["a", "b", "engine"]), label_values, max_size=2)
        )
        pairs = [f'{k}="{escape(v)}"' for k, v in labels.items()]
        stamp = (
            f" {draw(st.integers(0, 10**10))}.{draw(st.integers(0, 999))}"
            if draw(st.booleans())
            else ""
        )
        exemplar = ' # {trace_id="a} b # c"} 0.5 1.5' if draw(st.booleans()) else ""
        count = draw(st.integers(0, 10**6))
        if kind == "histogram":
            for le, part in (("0.5", count // 2), ("+Inf", count)):
                inside = ",".join([*pairs, f'le="{le}"'])
                lines.append(f"{family}_bucket{{{inside}}} {part}{stamp}{exemplar}")
            braces = f"{{{','.join(pairs)}}}" if pairs else ""
            lines += [
                f"{family}_count{braces} {count}{stamp}",
                f"{family}_sum{braces} 1.5e3{stamp}",
            ]
        else:
            suffix, tail = ("_total", exemplar) if kind == "counter" else ("", "")
            number = str(count) if kind == "counter" else draw(numbers)
            braces = f"{{{','.join(pairs)}}}" if pairs else ""
            lines.append(f"{family}{suffix}{braces} {number}{stamp}{tail}")
    return "\n".join([*lines, "# EOF", ""])


@given(text=openmetrics_pages())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_made_openmetrics_reads_as_the_oracle_reads_it(text: str) -> None:
    try:
        expected = oracle(text, openmetrics=True)
    except (ValueError, OverflowError):
        assume(False)
    names = [
        f"{f}{s}"
        for f in ("ra", "rb:x", "rc_y")
        for s in ("", "_total", "_bucket", "_count", "_sum")
    ]
    reader = ExpositionReader(names)
    page = reader.read(text.encode(), openmetrics=True)
    assert read_answer(page) == expected
    assert page.bad_lines == 0


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        pytest.param(r'a{x="\\"} 1', {"x": "\\"}, id="backslash"),
        pytest.param(r'a{x="\n"} 1', {"x": "\n"}, id="newline"),
        pytest.param(r'a{x="\""} 1', {"x": '"'}, id="quote"),
        pytest.param(r'a{x="\t"} 1', {"x": r"\t"}, id="no-escape-stays"),
        pytest.param('a{x="1",} 1', {"x": "1"}, id="trailing-comma"),
        pytest.param('a { x = "1" , y = "2" } 1', {"x": "1", "y": "2"}, id="blanks"),
        pytest.param('{"a",x="1"} 1', {"x": "1"}, id="quoted-name"),
        pytest.param('a{"x.y"="1"} 1', {"x.y": "1"}, id="quoted-label"),
        pytest.param("a{} 1", {}, id="empty-braces"),
        pytest.param('a{x="} 2"} 1', {"x": "} 2"}, id="brace-in-value"),
        pytest.param('a{x="",y="="} 1 1500000000000', {"x": "", "y": "="}, id="timestamp"),
    ],
)
def test_a_line_means_what_the_grammar_says(line: str, labels: dict[str, str]) -> None:
    page = ExpositionReader(["a"]).read(f"{line}\n".encode())
    assert [(s.name, s.as_dict()) for s in page.series] == [("a", labels)]
    assert page.values.tolist() == [1.0]
    assert page.bad_lines == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("a", id="no-value"),
        pytest.param("a one", id="word"),
        pytest.param("a 1_000", id="digit-groups"),
        pytest.param('a{x="1} 1', id="open-quote"),
        pytest.param('a{x="1" 1', id="open-brace"),
        pytest.param('a{x="1",x="2"} 1', id="label-twice"),
        pytest.param("a{x} 1", id="label-without-value"),
        pytest.param('{x="1"} 1', id="no-name"),
        pytest.param('b{"a"} 1', id="two-names"),
        pytest.param("<html>", id="html"),
        pytest.param("a 1 later", id="word-for-a-timestamp"),
        pytest.param("a{x=1} 1", id="value-without-quotes"),
    ],
)
def test_a_bad_line_is_skipped_and_counted_and_the_others_are_read(line: str) -> None:
    reader = ExpositionReader(["a", "b"])
    page = reader.read(f'a 1\n{line}\na{{y="2"}} 2\n'.encode())
    assert page.values.tolist() == [1.0, 2.0]
    assert page.bad_lines == 1
    again = reader.read(f'a 3\n{line}\na{{y="2"}} 4\n'.encode(), layout=page.layout)
    assert again.values.tolist() == [3.0, 4.0]
    assert again.bad_lines == 1


def test_labels_that_are_not_utf8_are_a_bad_line() -> None:
    page = ExpositionReader(["a"]).read(b'a{x="\xff"} 1\na 2\n')
    assert page.values.tolist() == [2.0]
    assert page.bad_lines == 1


@given(body=st.binary(max_size=300), openmetrics=st.booleans())
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_raise_nothing(body: bytes, openmetrics: bool) -> None:
    reader = ExpositionReader(["a", "b"], facts={"c": ["x"]})
    page = reader.read(body, openmetrics=openmetrics)
    again = reader.read(body, openmetrics=openmetrics, layout=page.layout)
    assert read_answer(again) == read_answer(page)


mutations = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from([b"", b"\n", b'"', b"{", b"}", b" ", b"a", b"\x00", b"1", b"#"]),
    ),
    min_size=1,
    max_size=4,
)
BASE = (
    b"# HELP a A.\n# TYPE a gauge\n"
    b'a{m="x",le="1"} 1\na{m="x",le="2"} 2.5\nab{m="x"} 3\nabc_total 4\nb 5 1500000000000\n'
    b'c{x="1",z="2"} 1\nzz{q="1"} 7\n'
)


@given(changes=mutations, cut=st.integers(0, 4))
@settings(max_examples=600, deadline=None)
def test_a_warm_reading_is_the_cold_one_whatever_changed(changes: list, cut: int) -> None:
    reader = ExpositionReader(["a", "b", "abc_total"], facts={"c": ["x"]})
    layout = reader.read(BASE).layout
    body = BASE
    for place, what in changes:
        at = place % (len(body) + 1)
        body = body[:at] + what + body[at + cut :]
    warm = reader.read(body, layout=layout)
    cold = ExpositionReader(["a", "b", "abc_total"], facts={"c": ["x"]}).read(body)
    assert read_answer(warm) == read_answer(cold)
    assert warm.facts == cold.facts
    assert warm.bad_lines == cold.bad_lines


def test_new_numbers_are_read_warm_and_new_series_cold() -> None:
    reader = ExpositionReader(["a", "ab"])
    first = reader.read(b'a{x="1"} 1\nabc 5\n')
    numbers = reader.read(b'a{x="1"} 1234567.5\nabc 66\n', layout=first.layout)
    assert numbers.layout is first.layout
    assert numbers.values.tolist() == [1234567.5]
    # As many lines as before, and one that was not wanted has become one that is.
    series = reader.read(b'a{x="1"} 1\nab 5\n', layout=first.layout)
    assert series.layout is not first.layout
    assert series.values.tolist() == [1.0, 5.0]


def test_pages_that_differ_in_facts_alone_share_a_layout() -> None:
    reader = ExpositionReader(["a"], facts={"info": ["blocks"]})
    one = reader.read(b'a 1\ninfo{blocks="10",size="16"} 1\n')
    two = reader.read(b'a 2\ninfo{blocks="12345",size="16"} 1\n')
    assert one.layout is two.layout
    assert [fact.as_dict() for fact in two.facts] == [{"blocks": "12345"}]
    three = reader.read(b'a 3\ninfo{blocks="10",size="16"} 1\n', layout=two.layout)
    assert [fact.label("blocks") for fact in three.facts] == ["10"]
    # A fact that was never seen can't be known: it is read, not taken for the last one.
    four = reader.read(b'a 3\ninfo{blocks="99",size="16"} 1\n', layout=two.layout)
    assert [fact.label("blocks") for fact in four.facts] == ["99"]


def test_a_layout_goes_when_nobody_uses_it() -> None:
    reader = ExpositionReader(["a"])
    for place in range(50):
        reader.read(f'a{{pod="{place}"}} 1\n'.encode())
    assert len(reader._shelf._layouts) <= 1


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        pytest.param(b"a 1\n" * 20, PageLimits(lines=10), id="lines"),
        pytest.param(b"a 1\n" * 20, PageLimits(series=10), id="series"),
        pytest.param(b"<p>\n" * 20, PageLimits(odd_lines=10), id="odd-lines"),
    ],
)
def test_a_page_beyond_its_limits_is_refused(body: bytes, limits: PageLimits) -> None:
    with pytest.raises(SourceMalformedError, match="http://pod"):
        ExpositionReader(["a"], limits=limits).read(body, source="http://pod")


def test_what_is_remembered_is_bounded() -> None:
    reader = ExpositionReader(["a"])
    for batch in range(3):
        lines = [f'a{{pod="{batch}-{i}"}} 1\nunwanted_{batch}_{i} 1' for i in range(15_000)]
        reader.read("\n".join(lines).encode() + b"\n")
    assert len(reader._vocabulary.labels) <= 30_000
    assert len(reader._vocabulary._telling) <= 30_000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"a" + b" " * 200_000 + b"x\n", id="blanks"),
        pytest.param(b'a{x="' + b'\\"' * 100_000 + b"\n", id="escapes-without-end"),
        pytest.param(b"a{" + b'x="1",' * 50_000 + b"\n", id="labels-without-end"),
        pytest.param(b"a{" + b'"x"' * 50_000 + b"}\n", id="quotes-in-a-row"),
        pytest.param(b"{" * 200_000 + b"\n", id="braces"),
        pytest.param(b"a 1 # {" + b'x="' * 50_000 + b"\n", id="exemplar-without-end"),
    ],
)
def test_hostile_lines_take_linear_time(body: bytes) -> None:
    # A quadratic reader would take minutes here; the suite's patience is the bound.
    page = ExpositionReader(["a"]).read(body, openmetrics=True)
    assert page.bad_lines == 1


def test_values_keep_their_precision() -> None:
    page = ExpositionReader(["a"]).read(b'a 1.7954681495270857e+09\na{x="1"} NaN\n')
    assert page.values[0] == 1.7954681495270857e09
    assert math.isnan(page.values[1])
    assert page.values.dtype == np.float64
