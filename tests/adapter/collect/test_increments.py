"""What a counter has gained, through resets, restarts, gaps and late births."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect.exposition import ExpositionReader
from adapter.collect.increments import CounterMemory

WINDOW_S = 60.0
KNOWN, UNKNOWN = 1.7e9, math.nan


class Counters:
    """A target with the counters a, b, c."""

    def __init__(self) -> None:
        self.reader = ExpositionReader(["a", "b", "c", "gauge"])
        self.memory = CounterMemory()
        self.now_s = 0.0

    def read(self, *, after_s: float = 5.0, start: float = UNKNOWN, **totals: float):
        self.now_s += after_s
        body = "".join(f"{name} {value}\n" for name, value in totals.items()).encode()
        page = self.reader.read(body, layout=self.memory.layout)
        counters = np.array([i for i, one in enumerate(page.series) if one.name != "gauge"])
        found = self.memory.advance(
            page, counters, now_s=self.now_s, process_start=start, max_gap_s=WINDOW_S
        )
        if found is None:
            return None
        return {s.name: v for s, v in zip(page.series, found.values.tolist(), strict=True)}, found


def gains(*args: dict[str, float], start: float = UNKNOWN) -> dict[str, float]:
    counters = Counters()
    for totals in args[:-1]:
        counters.read(start=start, **totals)
    found = counters.read(start=start, **args[-1])
    assert found is not None
    return found[0]


def test_the_first_reading_gives_nothing() -> None:
    assert Counters().read(a=1e6) is None


def test_a_counter_gains_its_difference() -> None:
    assert gains({"a": 10, "b": 5}, {"a": 12.5, "b": 5}) == {"a": 2.5, "b": 0.0}


def test_a_series_that_appears_later_has_gained_all_of_it() -> None:
    assert gains({"a": 10}, {"a": 10, "b": 7}) == {"a": 0.0, "b": 7.0}


def test_a_series_that_was_away_goes_on_where_it_was() -> None:
    assert gains({"a": 1, "b": 1000}, {"a": 2}, {"a": 3, "b": 1004}) == {"a": 1.0, "b": 4.0}


def test_a_reset_counts_from_zero() -> None:
    assert gains({"a": 1000}, {"a": 30}) == {"a": 30.0}


def test_a_small_counter_resets_too() -> None:
    assert gains({"a": 5}, {"a": 4}) == {"a": 4.0}


def test_a_sliver_less_is_noise_and_not_all_of_it_again() -> None:
    assert gains({"a": 1_000_000}, {"a": 999_990}) == {"a": 0.0}


def test_a_process_known_to_be_the_same_cannot_have_reset() -> None:
    assert gains({"a": 1000}, {"a": 30}, start=KNOWN) == {"a": 0.0}


def test_a_new_process_counts_from_zero_even_if_it_has_overtaken_the_old_one() -> None:
    counters = Counters()
    counters.read(a=100, b=50, start=KNOWN)
    found = counters.read(a=130, b=20, start=KNOWN + 60.0)
    assert found is not None
    assert found[0] == {"a": 130.0, "b": 20.0}
    assert found[1].restarted


def test_a_reset_is_told_as_a_restart() -> None:
    counters = Counters()
    counters.read(a=1000)
    steady = counters.read(a=1001)
    fallen = counters.read(a=3)
    assert steady is not None
    assert fallen is not None
    assert not steady[1].restarted
    assert fallen[1].restarted


def test_a_gauge_that_falls_is_no_restart() -> None:
    counters = Counters()
    counters.read(a=1000, gauge=30)
    found = counters.read(a=1001, gauge=2)
    assert found is not None
    assert not found[1].restarted


def test_a_missed_scrape_is_made_up_for() -> None:
    counters = Counters()
    counters.read(a=100)
    found = counters.read(a=160, after_s=30.0)
    assert found is not None
    assert found[0] == {"a": 60.0}
    assert found[1].elapsed_s == 30.0


def test_after_a_gap_longer_than_the_window_it_begins_anew() -> None:
    counters = Counters()
    counters.read(a=100)
    assert counters.read(a=5000, after_s=WINDOW_S + 1.0) is None
    found = counters.read(a=5010)
    assert found is not None
    assert found[0] == {"a": 10.0}


def test_nan_is_no_reset_and_no_gain() -> None:
    assert gains({"a": 100}, {"a": math.nan}, {"a": 103}) == {"a": 3.0}


def test_two_readings_at_one_time_lose_nothing() -> None:
    counters = Counters()
    counters.read(a=100)
    assert counters.read(a=105, after_s=0.0) is None
    found = counters.read(a=110)
    assert found is not None
    assert found[0] == {"a": 10.0}


@given(steps=st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_gains_add_up_to_what_was_counted(steps: list[int]) -> None:
    counters, total, gained = Counters(), 500, 0.0
    counters.read(a=total)
    for step in steps:
        total += step
        found = counters.read(a=total)
        assert found is not None
        gained += found[0]["a"]
    assert gained == pytest.approx(sum(steps))
