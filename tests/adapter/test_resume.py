"""Going on from what was known: nothing gets old faster than time goes by."""

import numpy as np
import pytest

from adapter.resume import Resume, watched

INF = np.inf


def after(*ticks: tuple[float, float], name: str = "a") -> Resume:
    """Return the state after ticks of (time, age of the freshest reading), oldest first."""
    resume = Resume.nothing()
    for now_s, age_s in ticks:
        resume = watched(
            resume,
            names=(name,),
            complete=np.array([True]),
            reading_age_s=np.array([age_s]),
            now_s=now_s,
        )
    return resume


@pytest.mark.parametrize(
    ("ticks", "age_s"),
    [
        pytest.param([(100.0, INF)], INF, id="never read"),
        pytest.param([(100.0, 0.0), (105.0, INF)], 5.0, id="woken: it was at zero a tick ago"),
        pytest.param([(100.0, 2.0), (105.0, INF), (110.0, INF)], 12.0, id="all replicas replaced"),
        pytest.param([(100.0, 40.0), (105.0, 0.0)], 0.0, id="read again"),
        pytest.param([(100.0, 0.0), (105.0, 5.0)], 5.0, id="silent"),
    ],
)
def test_an_age_grows_with_time_and_not_at_once(ticks, age_s):
    resume = after(*ticks)
    now_s, seen_s = ticks[-1]
    assert resume.reading_age_s(np.array([seen_s]), now_s)[0] == age_s


def test_what_was_known_of_one_variant_says_nothing_of_another():
    resume = after((100.0, 0.0)).aligned(("b",))
    assert resume.reading_age_s(np.array([INF]), 101.0)[0] == INF
