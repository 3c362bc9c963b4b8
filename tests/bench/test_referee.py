"""The comparison with the independent engine simulator, where its environment is there."""

import numpy as np
import pytest

from bench.referee import BOUNDS, FOLDER, POINTS, compare

there = (FOLDER / "bin" / "python").exists()
NAMES = ("chat, busy", "64 slots, full", "long prompts, half")


@pytest.mark.skipif(not there, reason="no referee: python -m bench.referee --install")
def test_the_engine_is_like_one_that_somebody_else_wrote():
    points = [point for point in POINTS if point.name in NAMES]
    for row in compare(points):
        assert abs(row.value) <= BOUNDS[row.name.rpartition(": ")[2]], row.name


def test_points_are_many_and_different():
    assert len({point.name for point in POINTS}) == len(POINTS) >= 12
    shapes = {(point.prompt, point.output) for point in POINTS}
    assert len(shapes) >= 5
    assert np.ptp([point.rate_rps for point in POINTS]) > 10
