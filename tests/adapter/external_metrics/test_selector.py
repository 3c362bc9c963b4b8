import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import BadSelectorError
from adapter.external_metrics.selector import Operator, parse_selector

LABELS = {"env": "a", "k": "", "tier": "web", "z": "9", "example.com/name": "foo", "n": "-5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        pytest.param("", True, id="empty-selects-all"),
        pytest.param("  ", True, id="blank-selects-all"),
        pytest.param("env=a", True, id="equal"),
        pytest.param("env==a", True, id="double-equal"),
        pytest.param("env=b", False, id="equal-not"),
        pytest.param("none=b", False, id="equal-absent"),
        pytest.param("env!=b", True, id="unequal"),
        pytest.param("env!=a", False, id="unequal-not"),
        pytest.param("none!=b", True, id="unequal-absent-matches"),
        pytest.param("env in (a,b)", True, id="in"),
        pytest.param("env in (b)", False, id="in-not"),
        pytest.param("none in (b)", False, id="in-absent"),
        pytest.param("env notin (b)", True, id="notin"),
        pytest.param("env notin (a)", False, id="notin-not"),
        pytest.param("none notin (a)", True, id="notin-absent-matches"),
        pytest.param("env", True, id="exists"),
        pytest.param("k", True, id="exists-though-empty"),
        pytest.param("none", False, id="exists-not"),
        pytest.param("!none", True, id="exists-negated"),
        pytest.param("! env", False, id="exists-negated-not"),
        pytest.param("z>8", True, id="greater"),
        pytest.param("z > 9", False, id="greater-not-equal"),
        pytest.param("z<10", True, id="less"),
        pytest.param("n<-4", True, id="less-negative"),
        pytest.param("env>1", False, id="greater-of-a-word"),
        pytest.param("none<1", False, id="less-absent"),
        pytest.param("k=", True, id="empty-value"),
        pytest.param("env=", False, id="empty-value-not"),
        pytest.param("k in (,a)", True, id="empty-value-in-a-set"),
        pytest.param("k in (a,)", True, id="empty-value-at-the-end-of-a-set"),
        pytest.param("example.com/name=foo", True, id="prefixed-key"),
        pytest.param("env in (a,b),k,!m,tier notin (x),z=9", True, id="all-kinds"),
        pytest.param("env in (a,b),k,!m,tier notin (web),z=9", False, id="all-kinds-but-one"),
        pytest.param(" env = a ,\tz = 9 ", True, id="blanks-between-tokens"),
        pytest.param("env=a,env=b", False, id="contradiction"),
    ],
)
def test_matching(text, matches):
    assert parse_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a in b", "unable to parse requirement: found 'b', expected: '('", id="no-set"
        ),
        pytest.param("=x", "found '=', expected: !, identifier, or 'end of string'", id="no-key"),
        pytest.param(
            ",a", "found ',', expected: !, identifier, or 'end of string'", id="comma-first"
        ),
        pytest.param("a,", "found '', expected: identifier after ','", id="comma-last"),
        pytest.param("a,,b", "found ',', expected: identifier after ','", id="two-commas"),
        pytest.param(
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            id="no-operator",
        ),
        pytest.param("a=b=c", "found '=', expected: ',' or 'end of string'", id="two-values"),
        pytest.param("a=b c", "found 'c', expected: ',' or 'end of string'", id="two-words"),
        pytest.param(
            "a in (x", "unable to parse requirement: found '', expected: ',' or ')'", id="open-set"
        ),
        pytest.param(
            "a in ()",
            "unable to parse requirement: for 'in', 'notin' operators, values set can't be empty",
            id="empty-set",
        ),
        pytest.param(
            "a>x",
            "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer",
            id="greater-than-a-word",
        ),
        pytest.param(
            "a<99999999999999999999",
            "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer",
            id="past-int64",
        ),
        pytest.param(
            "!", "unable to parse requirement: found '', expected: identifier", id="lonely-not"
        ),
        pytest.param("!a=b", "found '=', expected: ',' or 'end of string'", id="not-with-a-value"),
        pytest.param(
            "a=!b",
            "unable to parse requirement: found '!', expected: identifier",
            id="symbol-as-value",
        ),
        pytest.param(
            "a>=1",
            "unable to parse requirement: found '=', expected: identifier",
            id="no-such-operator",
        ),
        pytest.param(
            "(a)", "found '(', expected: !, identifier, or 'end of string'", id="parenthesis"
        ),
    ],
)
def test_errors_read_as_the_api_machinery_s(text, message):
    with pytest.raises(BadSelectorError) as caught:
        parse_selector(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("-a", 'key: Invalid value: "-a": name part', id="key-starts-badly"),
        pytest.param("a/b/c", "prefix part must be", id="two-slashes"),
        pytest.param("A/b", "prefix part must be", id="upper-case-prefix"),
        pytest.param("/b", "prefix part must be", id="empty-prefix"),
        pytest.param("a" * 64, "no more than 63", id="long-key"),
        pytest.param("a=" + "b" * 64, "no more than 63", id="long-value"),
        pytest.param("a=-b", r'values\[0\]\[a\]: Invalid value: "-b"', id="value-starts-badly"),
        pytest.param("a=é", "a valid label must be", id="not-ascii"),
        pytest.param("a=b\x00", "a valid label must be", id="nul"),
        pytest.param("a=" + "b," * 9000, "above 16384", id="huge"),
    ],
)
def test_what_no_label_can_be_is_refused(text, message):
    with pytest.raises(BadSelectorError, match=message):
        parse_selector(text)


@pytest.mark.parametrize("word", ["in", "notin", "gt"])
def test_operators_are_words_where_words_are_expected(word):
    assert parse_selector(f"{word} in ({word})").matches({word: word})
    assert parse_selector(word).requirements[0].operator is Operator.EXISTS


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        pytest.param("v=x", {"x"}, id="equal"),
        pytest.param("a=b,v in (x,y)", {"x", "y"}, id="in"),
        pytest.param("v!=x", None, id="unequal"),
        pytest.param("v", None, id="exists"),
        pytest.param("", None, id="empty"),
    ],
)
def test_pinned_values_are_found(text, pinned):
    assert parse_selector(text).pinned("v") == pinned


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
OPERATIONS = st.sampled_from(["=", "==", "!=", " in ", " notin ", "", "!"])


@st.composite
def requirements(draw):
    """One requirement as text, and what it asks, told another way."""
    key, operation = draw(NAMES), draw(OPERATIONS)
    values = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    if operation in {" in ", " notin "}:
        text = f"{key}{operation}({','.join(values)})"
    elif operation in {"=", "==", "!="}:
        values = values[:1]
        text = f"{key}{operation}{values[0]}"
    else:
        text = f"{operation}{key}"
    test = {
        "": lambda labels: key in labels,
        "!": lambda labels: key not in labels,
    }.get(operation)
    if test is None:
        negated = operation in {"!=", " notin "}
        test = lambda labels: (labels.get(key) in values) is not negated  # noqa: E731
    return text, test


@given(
    st.lists(requirements(), max_size=4),
    st.dictionaries(NAMES, NAMES, max_size=6),
    st.sampled_from(["", " ", "  "]),
)
def test_a_selector_is_the_conjunction_of_its_requirements(parts, labels, blank):
    text = f"{blank},{blank}".join(text for text, _ in parts)
    expected = all(test(labels) for _, test in parts)
    assert parse_selector(text).matches(labels) is expected


@given(st.text(alphabet="ab=!(),<> in\tnot\x00é/", max_size=40))
def test_any_text_is_a_selector_or_an_error_of_ours(text):
    with contextlib.suppress(BadSelectorError):
        assert parse_selector(text).matches(LABELS) in {True, False}
