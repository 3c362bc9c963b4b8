"""Predicted against measured latencies of a real GPU: the bounds that must hold."""

import numpy as np
import pytest

from bench import accuracy_measured as bench

pytestmark = pytest.mark.skipif(
    not bench.DATA.exists(), reason=f"measurements not found: {bench.DATA}"
)


@pytest.fixture(scope="module")
def data():
    return bench.read_measured()


def test_rows_up_to_the_largest_concurrency_of_sixteen_shapes(data):
    assert len(data.itl_s) == 129
    assert data.requests.max() <= bench.LARGEST_CONCURRENCY
    assert len(np.unique(data.shape)) == 16
    assert data.alone.sum() == 16


def test_every_split_fits_eight_shapes_and_tests_the_other_eight(data):
    seen = []
    for training in bench.splits(data):
        fitted, tested = set(data.shape[training]), set(data.shape[~training])
        assert len(fitted) == len(tested) == 8
        assert not fitted & tested
        seen.append(frozenset(fitted))
    assert len(set(seen)) == 10


@pytest.mark.parametrize("case", ["a", "b"], ids=["given concurrency", "from the rate"])
def test_the_optimizers_law_holds_the_bounds_for_unseen_shapes(data, case):
    law = bench.our_law(client=False, attention=False)
    itl, ttft, _ = bench.errors(data, law, by_rate=case == "b").mean(axis=0)
    most_itl, most_ttft = bench.BOUNDS[case]
    assert itl <= most_itl
    assert ttft <= most_ttft


def test_rows_name_the_peer_as_baseline(capsys):
    rows = bench.measure()
    assert "the peer's three parameters" in capsys.readouterr().out
    named = {row.name: row for row in rows}
    for case in "ab":
        row = named[f"({case}) mean TTFT, the optimizer's law"]
        assert row.ratio == pytest.approx(row.value / float(row.baseline.split()[2]), rel=0.02)
        assert row.ratio < 0.5
        assert named[f"({case}) p95 TTFT, the optimizer's law"].ratio is None


def test_without_the_data_there_are_no_rows(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "DATA", tmp_path / "absent.csv")
    assert bench.measure() == []
    assert "skipped" in capsys.readouterr().out
