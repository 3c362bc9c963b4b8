"""Columns as exposition: the same as prometheus_client says, only sooner and in pieces."""

import asyncio
import gzip
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from adapter.openmetrics import LINES_PER_PIECE, ColumnFamily, RowLabels, Series, expose, gzipped

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.1"
ACCEPTS = [
    pytest.param("text/plain;version=0.0.4", parse_text, id="text"),
    pytest.param("", parse_text, id="nothing-accepted"),
    pytest.param(OPENMETRICS, parse_openmetrics, id="openmetrics"),
    pytest.param(PROMETHEUS_3, parse_openmetrics, id="prometheus-3"),
    pytest.param("application/openmetrics-text;version=1.0.0;escaping=dots", None, id="dots"),
]


class Columns:
    """A collector of given families."""

    def __init__(self, *families: ColumnFamily) -> None:
        self._families = families

    def collect(self):
        return self._families


def family(rows, *series, name="wva_x") -> ColumnFamily:
    return ColumnFamily(name, "Help for a stranger.", RowLabels(rows), series)


def collected(body) -> list[bytes]:
    async def run() -> list[bytes]:
        return [piece async for piece in body]

    return asyncio.run(run())


def text_of(registry, accept="") -> str:
    return b"".join(collected(expose(registry, accept).body)).decode()


def samples(families) -> list[tuple]:
    return sorted(
        (f.name, f.type, f.documentation, s.name, tuple(sorted(s.labels.items())), repr(s.value))
        for f in families
        for s in f.samples
    )


@pytest.mark.parametrize(("accept", "parse"), ACCEPTS)
def test_says_the_same_as_prometheus_client(accept, parse):
    rows = [{"variant_name": f"v{i}", "namespace": "default"} for i in range(5)]
    values = np.array([1.0, 0.25, math.nan, 1e-7, 12_345_678.9])
    both = (Series(values, ("kind", "a")), Series(values * -3.0, ("kind", 'b"\\\n')))
    registry = CollectorRegistry()
    Counter("wva_seen_total", "Seen.", registry=registry).inc(3)
    registry.register(Columns(family(rows, Series(values)), family(rows, *both, name="wva_y")))
    encode, content_type = choose_encoder(accept)
    ours, theirs = text_of(registry, accept), encode(registry).decode()
    assert expose(registry, accept).content_type == content_type
    if parse is None:  # no parser for rewritten names: the text itself
        assert ours == theirs
        return
    created = "_created"  # the clock's, once each
    assert [s for s in samples(parse(ours)) if created not in s[3]] == [
        s for s in samples(parse(theirs)) if created not in s[3]
    ]


@given(
    label=st.text(max_size=30).filter(lambda text: "\r" not in text),
    value=st.floats(allow_nan=False, allow_subnormal=False),
)
def test_any_label_and_number_survive(label, value):
    rows = [{"variant_name": label}]
    text = text_of(Columns(family(rows, Series(np.array([value])))), OPENMETRICS)
    (got,) = parse_openmetrics(text)
    (sample,) = got.samples
    assert sample.labels == {"variant_name": label}
    assert sample.value == value


def test_nan_is_no_sample_and_infinity_is_one():
    rows = [{"v": "a"}, {"v": "b"}, {"v": "c"}]
    text = text_of(Columns(family(rows, Series(np.array([math.nan, math.inf, -math.inf])))))
    assert 'v="a"' not in text
    assert 'wva_x{v="b"} +Inf\n' in text
    assert 'wva_x{v="c"} -Inf\n' in text


def test_a_family_without_samples_still_says_what_it_is():
    text = text_of(Columns(family([{"v": "a"}], Series(np.array([math.nan])))))
    assert text == "# HELP wva_x Help for a stranger.\n# TYPE wva_x gauge\n"


def test_body_comes_in_pieces_and_names_its_family_once():
    count = 2 * LINES_PER_PIECE + 1
    rows = [{"v": str(i)} for i in range(count)]
    pieces = collected(expose(Columns(family(rows, Series(np.arange(float(count))))), "").body)
    assert max(piece.count(b"\n") for piece in pieces) <= LINES_PER_PIECE + 2
    text = b"".join(pieces).decode()
    assert text.count("# TYPE") == 1
    assert len(next(iter(parse_text(text))).samples) == count


def test_openmetrics_ends_with_eof_and_has_it_once():
    text = text_of(Columns(family([{"v": "a"}], Series(np.ones(1)))), OPENMETRICS)
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1


def test_gzip_is_the_same_body():
    rows = [{"v": str(i)} for i in range(5000)]
    registry = Columns(family(rows, Series(np.arange(5000.0))))
    packed = b"".join(collected(gzipped(expose(registry, "").body)))
    assert gzip.decompress(packed).decode() == text_of(registry)
