"""Windows by arrival, and what counts as met."""

import math

import pytest

from simulator.attainment import Attainment, Ending, RequestRecord, Target

TARGET = Target(ttft_s=1.0, itl_s=0.05)


def record(arrival_s, *, ttft_s=0.5, itl_s=0.02, ending=Ending.FINISHED, model="m"):
    return RequestRecord(
        model=model,
        variant="v",
        replica="v-0",
        ending=ending,
        arrival_s=arrival_s,
        ttft_s=ttft_s,
        itl_s=itl_s,
        end_s=arrival_s + 5.0,
    )


@pytest.mark.parametrize(
    ("request_", "met"),
    [
        pytest.param(record(0.0), True, id="within"),
        pytest.param(record(0.0, ttft_s=1.0, itl_s=0.05), True, id="at-the-targets"),
        pytest.param(record(0.0, ttft_s=1.01), False, id="late-first-token"),
        pytest.param(record(0.0, itl_s=0.06), False, id="slow-tokens"),
        pytest.param(record(0.0, itl_s=0.0), True, id="one-token"),
        pytest.param(
            record(0.0, ending=Ending.REJECTED, ttft_s=math.nan, itl_s=math.nan),
            False,
            id="rejected",
        ),
        pytest.param(record(0.0, ending=Ending.LOST), False, id="lost"),
    ],
)
def test_met(request_, met):
    assert TARGET.met(request_) is met


def test_a_request_belongs_to_the_window_of_its_arrival():
    log = Attainment({"m": TARGET, "other": TARGET}, start_s=100.0)
    for arrival_s in (100.0, 109.9, 110.0, 131.0):
        log.arrive("m", arrival_s)
    log.arrive("other", 100.0)
    log.end(record(109.9, ttft_s=2.0))
    log.end(record(100.0))
    log.end(record(131.0, ending=Ending.TIMED_OUT))
    first, second, third = log.windows("m")
    assert (first.start_s, first.arrived, first.ended, first.met, first.failed) == (100, 2, 2, 1, 0)
    assert first.complete
    assert first.met_ratio == 0.5
    assert first.ttft_mean_s == 1.25
    assert first.itl_p95_s == pytest.approx(0.02)
    assert (second.start_s, second.arrived, second.ended) == (110, 1, 0)
    assert not second.complete
    assert math.isnan(second.ttft_p95_s)
    assert (third.start_s, third.failed, third.met_ratio) == (130, 1, 0.0)
