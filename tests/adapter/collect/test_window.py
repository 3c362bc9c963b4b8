"""The window holds its seconds and no others, whatever the ticks are like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.collect.window import SlotClock, WindowTable


def play(ticks: list[float], *, window_s: float = 60.0) -> tuple[float, float]:
    """Return the seconds and events in the window after ticks with one event per second."""
    clock = SlotClock(window_s)
    table = WindowTable(2, clock)
    row = table.take_row()
    last = ticks[0]
    table.empty(clock.turn(last))
    for now in ticks[1:]:
        table.empty(clock.turn(now))
        table.add(row, np.array([now - last, now - last]))
        last = now
    seconds, events = table.totals()[row]
    return float(seconds), float(events)


@pytest.mark.parametrize(
    ("step_s", "least_s", "most_s"),
    [
        pytest.param(5.0, 60.0, 60.0, id="the-usual-tick"),
        pytest.param(15.0, 60.0, 60.0, id="slow"),
        pytest.param(2.0, 58.0, 64.0, id="quick"),
        pytest.param(0.5, 58.0, 64.5, id="waking"),
        pytest.param(7.0, 56.0, 63.0, id="odd"),
    ],
)
def test_the_window_covers_its_length(step_s: float, least_s: float, most_s: float) -> None:
    seconds, _ = play([i * step_s for i in range(400)])
    assert least_s <= seconds <= most_s


@given(steps=st.lists(st.floats(1.0, 20.0), min_size=100, max_size=160))
def test_the_window_covers_its_length_under_jitter(steps: list[float]) -> None:
    ticks = np.concatenate([[0.0], np.cumsum(steps)]).tolist()
    seconds, events = play(ticks)
    # A slot leaves as a whole: at worst one of them and one tick are missing or in excess.
    assert 60.0 - 2 * 4.5 - 20.0 <= seconds <= 60.0 + 4.5 + 2 * 20.0
    assert events == pytest.approx(seconds, rel=1e-5)


def test_what_is_older_than_the_window_is_gone() -> None:
    clock = SlotClock(60.0)
    table = WindowTable(1, clock)
    row = table.take_row()
    table.empty(clock.turn(0.0))
    table.add(row, np.array([7.0]))
    table.empty(clock.turn(59.0))
    assert table.totals()[row, 0] == 7.0
    table.empty(clock.turn(61.0))
    assert table.totals()[row, 0] == 0.0


def test_after_a_long_sleep_the_window_is_empty() -> None:
    clock = SlotClock(60.0)
    table = WindowTable(1, clock)
    row = table.take_row()
    for now in range(0, 120, 5):
        table.empty(clock.turn(float(now)))
        table.add(row, np.array([1.0]))
    table.empty(clock.turn(5000.0))
    assert table.totals()[row, 0] == 0.0


def test_rows_come_and_go_without_leaving_traces() -> None:
    clock = SlotClock(60.0)
    table = WindowTable(1, clock)
    clock.turn(0.0)
    rows = [table.take_row() for _ in range(100)]
    assert len(set(rows)) == 100
    for row in rows:
        table.add(row, np.array([float(row)]))
    table.free_row(rows[50])
    again = table.take_row()
    assert again == rows[50]
    assert table.totals()[again, 0] == 0.0
    assert table.totals()[rows[51], 0] == float(rows[51])


def test_five_thousand_rows_are_small() -> None:
    clock = SlotClock(60.0)
    table = WindowTable(100, clock)
    for _ in range(5000):
        table.take_row()
    assert table._cells.nbytes < 40 * 2**20
