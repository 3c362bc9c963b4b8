"""Which models are at zero, and whose first request calls for a tick at once."""

import numpy as np
import pytest

from adapter.records import Readings, Reason
from adapter.sleepers import Sleepers
from tests.helpers.snapshots import catalog_of, snapshot_of

CATALOG = catalog_of(
    """
models: {m: {}, n: {}}
variants:
  - {name: m-fast, model: m, accelerator: H100, min_replicas: 0}
  - {name: m-slow, model: m, accelerator: L40S, min_replicas: 0}
  - {name: n, model: n, accelerator: H100, min_replicas: 0}
"""
)
M, N = CATALOG.models


def sleepers(current, *, waiting=(np.nan, np.nan)) -> Sleepers:
    found = Sleepers()
    model = {"router_queue_requests": list(waiting)}
    found.follow(snapshot_of(CATALOG, [], current=current, model=model))
    return found


def queue(*values: float) -> Readings:
    return Readings.of(np.array(values), absent=Reason.NOT_EXPORTED)


@pytest.mark.parametrize(
    ("current", "asleep"),
    [
        pytest.param([0, 0, 1], True, id="all-variants-at-zero"),
        pytest.param([0, 1, 1], False, id="one-variant-runs"),
        pytest.param([-1, 0, 1], False, id="an-unknown-count-is-not-zero"),
        pytest.param([1, 1, 1], False, id="nobody-sleeps"),
    ],
)
def test_a_model_sleeps_when_all_its_variants_are_at_zero(current, asleep):
    assert bool(sleepers(current)) is asleep


@pytest.mark.parametrize(
    ("waiting", "called"),
    [
        pytest.param((1, 0), True, id="for-the-sleeper"),
        pytest.param((0, 5), False, id="for-one-that-runs"),
        pytest.param((0, 0), False, id="nobody-waits"),
        pytest.param((np.nan, np.nan), False, id="the-router-is-silent"),
    ],
)
def test_a_request_for_a_sleeper_calls(waiting, called):
    assert sleepers([0, 0, 1]).called_by((M, N), queue(*waiting)) is called


def test_who_waited_at_the_tick_was_answered_by_it():
    found = sleepers([0, 0, 0], waiting=(3, 0))
    assert bool(found)  # the other model is still watched
    assert not found.called_by((M, N), queue(4, 0))
    assert found.called_by((M, N), queue(4, 1))


def test_a_queue_that_has_emptied_may_call_again():
    found = sleepers([0, 0, 1], waiting=(3, 0))
    assert not found
    found.follow(
        snapshot_of(CATALOG, [], current=[0, 0, 1], model={"router_queue_requests": [0, 0]})
    )
    assert found.called_by((M, N), queue(1, 0))


@pytest.mark.parametrize(
    ("desired", "called"),
    [
        pytest.param([0, 0, 1], True, id="sent-to-zero"),
        pytest.param([0, 1, 1], False, id="one-variant-stays"),
    ],
)
def test_a_request_calls_for_who_was_just_sent_to_zero(desired, called):
    """Until the next tick nobody sees that the replicas have gone."""
    current = [1, 0, 1]
    found = sleepers(current, waiting=(0, 0))
    found.send(snapshot_of(CATALOG, [], current=current), np.array(desired, dtype=float))
    assert found.called_by((M, N), queue(1, 0)) is called


def test_who_waits_and_stays_at_zero_does_not_call_again():
    found = sleepers([0, 0, 1], waiting=(3, 0))
    found.send(snapshot_of(CATALOG, [], current=[0, 0, 1]), np.zeros(3))
    assert not found.called_by((M, N), queue(4, 0))
