"""Replicas that may be taken away: the price of it, and what is held for their loss."""

import numpy as np
import pytest

from optimizer import SpotTable, plan
from optimizer.spot import reserve_rps

from .test_routing import FAST, SLOW, question, settled


def spot(survive, *, interruptions=0.0, notice_s=30.0):
    return SpotTable(
        interruptions_per_hour=np.array([interruptions, 0.0]),
        notice_s=np.array([notice_s, 0.0]),
        survive=np.array([survive, 0]),
    )


@pytest.mark.parametrize("survive", [0, 1, 2])
@pytest.mark.parametrize("rate", [20.0, 60.0])
def test_what_is_left_after_a_loss_still_carries_the_demand(survive, rate):
    found = settled(question(rate=rate, current=(2, 1), spot=spot(survive)))
    left = found.desired.copy()
    left[FAST] -= min(survive, left[FAST])
    assert left @ found.capacity_rps >= rate


def test_surviving_costs_replicas_only_where_some_may_go():
    none, one = (settled(question(rate=60.0, spot=spot(survive))) for survive in (0, 1))
    assert one.desired.sum() > none.desired.sum()


def test_a_notice_as_long_as_a_start_needs_no_reserve():
    asked = question(rate=60.0, spot=spot(1, notice_s=60.0))
    assert reserve_rps(asked, np.array([10.0, 4.0]), asked.variants.cold_start_s).tolist() == [0.0]


def test_a_variant_that_does_not_run_and_would_not_be_bought_needs_none():
    asked = question(rate=10.0, current=(0, 2), spot=spot(2))
    rates = np.array([4.0, 4.0])  # as fast as the other, and dearer
    assert reserve_rps(asked, rates, asked.variants.cold_start_s).tolist() == [0.0]
    assert reserve_rps(asked, np.array([40.0, 4.0]), asked.variants.cold_start_s).tolist() == [80.0]


def test_nobody_who_asks_needs_no_reserve():
    assert plan(question(rate=0.0, current=(0, 0), spot=spot(2))).desired.tolist() == [0, 0]


def test_who_is_interrupted_often_is_dear_and_the_others_are_bought():
    seldom, often = (
        settled(question(rate=40.0, current=(0, 0), spot=spot(0, interruptions=each)))
        for each in (0.0, 120.0)
    )
    assert seldom.desired[FAST] > 0
    assert often.desired[FAST] < seldom.desired[FAST]
    assert often.desired[SLOW] > seldom.desired[SLOW]
