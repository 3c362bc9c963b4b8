"""A verdict is given only where the past was reproduced."""

import math

import numpy as np
import pytest

from adapter.commands.audit.verdict import ALLOWED, Check, Verdict, _typical


def check(name, error):
    return Check(
        name=name,
        of="recorded counts",
        unit="s",
        recorded=1.0,
        simulated=1.0 + error,
        error=error,
        allowed=ALLOWED[name],
    )


@pytest.mark.parametrize("name", ALLOWED)
def test_one_figure_that_is_too_far_off_withholds_the_verdict(name):
    others = [check(other, 0.0) for other in ALLOWED if other != name]
    assert Verdict(checks=(*others, check(name, ALLOWED[name])), base="b").given
    refused = Verdict(checks=(*others, check(name, ALLOWED[name] + 0.01)), base="b")
    assert not refused.given
    assert refused.why_not.startswith(f"{name} of recorded counts is off by")


def test_what_cannot_be_compared_withholds_it_too():
    refused = Verdict(checks=(check("TTFT mean", math.nan),), base="b")
    assert not refused.given
    assert "can't be compared" in refused.why_not


def test_latencies_are_compared_by_the_window_of_the_middle_request():
    was, simulated = np.ones(4), np.array([1.1, 1.2, 9.0, math.nan])
    assert _typical(was, simulated, np.array([10.0, 10.0, 1.0, 50.0])) == pytest.approx(0.2)
    assert math.isnan(_typical(was, simulated, np.zeros(4)))
