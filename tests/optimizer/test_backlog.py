"""What waits is carried forward to when an answer is ready."""

import numpy as np
import pytest

from optimizer.backlog import backlog_ahead_requests, drained_within_s, starting_replicas
from tests.helpers.closed_loop import ClosedLoop


def backlog(*, waiting=0.0, rate=10.0, ready=1, current=None, needed=100.0, passed_s=None):
    """Return the backlog 60 s from now of replicas that serve 10 requests/s each."""
    loop = ClosedLoop(models=1, start=ready)
    loop.now_s = 1000.0
    request = loop.request()
    variants = request.variants
    variants.current_replicas[:] = ready if current is None else current
    variants.ready_replicas[:] = ready
    return float(
        backlog_ahead_requests(
            request,
            waiting=np.array([waiting]),
            rate_rps=np.array([rate]),
            needed_rps=np.array([needed]),
            most_rps=np.full(len(variants), 10.0),
            cold_start_s=np.full(len(variants), 60.0),
            since_s=np.full(len(variants), np.nan if passed_s is None else 1000.0 - passed_s),
            horizon_s=np.array([60.0]),
        )[0]
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"rate": 9.0}, 0.0, id="nothing-waits-and-it-is-carried"),
        pytest.param({"rate": 9.0, "waiting": 30.0}, 0.0, id="is-served-before-help-comes"),
        pytest.param({"rate": 9.0, "waiting": 100.0}, 40.0, id="is-served-in-part"),
        pytest.param({"rate": 15.0}, 300.0, id="what-will-wait"),
        pytest.param({"rate": 15.0, "waiting": 50.0}, 350.0, id="and-what-does"),
        pytest.param({"rate": 15.0, "current": 2, "passed_s": 30.0}, 0.0, id="help-is-coming"),
        pytest.param(
            {"rate": 15.0, "waiting": 50.0, "current": 2, "passed_s": 30.0}, 50.0, id="in-part"
        ),
        pytest.param(
            {"rate": 15.0, "current": 2, "passed_s": 100.0}, 300.0, id="what-is-overdue-is-no-help"
        ),
        pytest.param(
            {"rate": 15.0, "current": 9, "needed": 20.0, "passed_s": 0.0},
            300.0,
            id="what-was-asked-for-because-of-it-calls-nothing-off",
        ),
        pytest.param({"rate": np.nan, "waiting": 50.0}, 0.0, id="unknown-rates-say-nothing"),
    ],
)
def test_backlog_when_an_answer_is_ready(given, expected):
    assert backlog(**given) == pytest.approx(expected)


def test_a_backlog_is_to_be_gone_within_half_a_cold_start_and_no_sooner_than_30_s():
    assert drained_within_s(np.array([20.0, 100.0])).tolist() == [30.0, 50.0]


def test_replicas_that_are_overdue_are_not_on_their_way():
    loop = ClosedLoop(models=2, start=1)
    loop.now_s = 1000.0
    request = loop.request()
    request.variants.current_replicas[:] = 3
    request.variants.ready_replicas[:] = 1
    count = len(request.variants)
    since_s = np.where(np.arange(count) < count / 2, 980.0, 800.0)
    found = starting_replicas(request, cold_start_s=np.full(count, 60.0), since_s=since_s)
    assert set(found[since_s > 900.0]) == {2}
    assert set(found[since_s < 900.0]) == {0}
