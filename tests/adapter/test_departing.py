"""Replicas on cordoned nodes: replaced before they go, and not missed once they have gone."""

from dataclasses import replace

import numpy as np
import pytest

from adapter.decide import DecisionMemory, decide
from adapter.records import Circumstances
from tests.helpers.snapshots import snapshot_of

from .test_decide import REPORT, SETTINGS, busy, catalog_of


def decided(departing, *, current=3, most=20, rate=16.0):
    catalog = catalog_of(SETTINGS.replace("H100, max_replicas: 20", f"H100, max_replicas: {most}"))
    replicas = [busy(0, f"f{i}", rate) for i in range(current)]
    around = Circumstances(
        reachable_replicas=np.full(2, -1, dtype=np.int64),
        rolling=np.zeros(2, dtype=np.bool_),
        tolerance_ratio=np.zeros(2),
        texts={},
        departing=np.array([departing, 0]),
    )
    snapshot = replace(snapshot_of(catalog, replicas), circumstances=around)
    publication, _ = decide(snapshot, catalog, DecisionMemory.empty(), report=REPORT)
    return publication.values["wva_desired_replicas"]


@pytest.mark.parametrize("departing", [1, 2])
def test_as_many_as_go_are_asked_for_on_top(departing):
    calm, cordoned = decided(0), decided(departing)
    assert calm.tolist() == [3.0, 0.0]
    assert cordoned.sum() == calm.sum() + departing


def test_the_maximum_holds_them_too():
    assert decided(2, most=4)[0] <= 4.0


def test_more_than_there_are_is_all_of_them():
    assert decided(9)[0] >= 3.0
