"""Arrivals follow their profile, lengths their moments; streams and lists agree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import InvalidInputError
from simulator.workload import Lengths, RateProfile, RequestStream, Workload, draw_requests

SHORT = Lengths(mean_tokens=10.0, cv=0.5, max_tokens=100)


def workload(profile, **more):
    return Workload(profile=profile, prompt=SHORT, output=SHORT, **more)


def arrivals(profile, *, seed=1, end_s, **more):
    drawn = draw_requests(
        workload(profile, **more), np.random.default_rng(seed), start_s=0.0, end_s=end_s
    )
    return drawn.arrival_s


@st.composite
def profiles(draw):
    count = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.floats(0.5, 30.0), min_size=count, max_size=count))
    rates = draw(st.lists(st.just(0.0) | st.floats(0.1, 20.0), min_size=count, max_size=count))
    times = np.cumsum([0.0, *gaps[1:]])
    return RateProfile(times_s=tuple(times.tolist()), rates_rps=tuple(rates))


@given(profile=profiles(), at=st.lists(st.floats(0.01, 200.0), min_size=1, max_size=20))
def test_moments_invert_the_integral_of_the_rate(profile, at):
    counts = np.sort(at)
    moments_s = profile.moments_s(counts, start_s=0.0)
    assert np.all(np.diff(moments_s[np.isfinite(moments_s)]) >= 0.0)
    ends_s = (*profile.times_s, math.inf)
    for count, moment_s in zip(counts, moments_s, strict=True):
        grid_s = np.unique([min(e, moment_s, 1e9) for e in (0.0, *ends_s)])
        rates = np.array([profile.rate_rps(x) for x in grid_s])
        passed = float(np.sum(np.diff(grid_s) * (rates[1:] + rates[:-1]) / 2.0))
        if math.isinf(moment_s):
            assert profile.rates_rps[-1] == 0.0
            assert passed < count
        else:
            assert passed == pytest.approx(count, rel=1e-6)


def test_a_ramp_a_burst_and_a_fall():
    profile = RateProfile(
        times_s=(0.0, 100.0, 100.5, 200.0, 300.0), rates_rps=(0.0, 40.0, 80.0, 80.0, 0.0)
    )
    arrival_s = arrivals(profile, end_s=1e9)
    expected = {(0, 100): 2000, (100.5, 200): 7960, (200, 300): 4000, (300, 1e9): 0}
    for (start_s, end_s), count in expected.items():
        seen = np.sum((arrival_s >= start_s) & (arrival_s < end_s))
        assert seen == pytest.approx(count, abs=4.0 * math.sqrt(count))
    assert np.mean(arrival_s[arrival_s < 100.0]) == pytest.approx(200.0 / 3.0, rel=0.03)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_intervals_have_their_coefficient_of_variation(cv):
    arrival_s = arrivals(RateProfile.steady(10.0), end_s=10_000.0, interval_cv=cv)
    intervals_s = np.diff(arrival_s)
    assert intervals_s.mean() == pytest.approx(0.1, rel=0.05)
    assert intervals_s.std() / intervals_s.mean() == pytest.approx(cv, rel=0.08)


def test_lengths_have_their_moments():
    drawn = Lengths(mean_tokens=1155.0, cv=0.96, max_tokens=1_000_000).draw(
        np.random.default_rng(2), 400_000
    )
    assert drawn.mean() == pytest.approx(1155.0, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(0.96, rel=0.03)
    assert drawn.dtype == np.int64


def test_lengths_stay_within_their_bounds():
    bounded = Lengths(mean_tokens=100.0, cv=3.0, min_tokens=16, max_tokens=300)
    drawn = bounded.draw(np.random.default_rng(3), 10_000)
    assert (drawn.min(), drawn.max()) == (16, 300)


def test_cached_tokens_are_a_share_of_the_prompt_but_never_all():
    drawn = draw_requests(
        workload(RateProfile.steady(50.0), prefix_hit_ratio=0.9),
        np.random.default_rng(4),
        start_s=0.0,
        end_s=100.0,
    )
    assert np.all(drawn.cached_tokens < drawn.prompt_tokens)
    ratio = drawn.cached_tokens.sum() / drawn.prompt_tokens.sum()
    assert 0.8 < ratio <= 0.9


@settings(deadline=None)
@given(profile=profiles(), seed=st.integers(0, 50), start_s=st.floats(0.0, 1000.0))
def test_a_stream_gives_what_the_list_gives(profile, seed, start_s):
    end_s = start_s + 60.0
    drawn = draw_requests(
        workload(profile), np.random.default_rng(seed), start_s=start_s, end_s=end_s
    )
    stream = RequestStream(
        workload=workload(profile), random=np.random.default_rng(seed), start_s=start_s
    )
    taken = []
    while stream.next_arrival_s < end_s:
        taken.append(stream.take())
    assert [r.arrival_s for r in taken] == drawn.arrival_s.tolist()
    assert [r.prompt_tokens for r in taken] == drawn.prompt_tokens.tolist()
    assert [r.output_tokens for r in taken] == drawn.output_tokens.tolist()


def test_a_stream_that_has_run_dry():
    silent = RateProfile(times_s=(0.0, 1.0), rates_rps=(1e-9, 0.0))
    stream = RequestStream(workload=workload(silent), random=np.random.default_rng(5), start_s=0.0)
    assert stream.next_arrival_s == math.inf
    with pytest.raises(InvalidInputError, match="next_arrival_s"):
        stream.take()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: RateProfile(times_s=(), rates_rps=()), id="no-points"),
        pytest.param(lambda: RateProfile(times_s=(0.0,), rates_rps=(1.0, 2.0)), id="unpaired"),
        pytest.param(
            lambda: RateProfile(times_s=(1.0, 1.0), rates_rps=(1.0, 2.0)), id="not-rising"
        ),
        pytest.param(lambda: RateProfile.steady(-1.0), id="negative-rate"),
        pytest.param(lambda: Lengths(mean_tokens=0.0, cv=1.0, max_tokens=9), id="mean"),
        pytest.param(
            lambda: Lengths(mean_tokens=5.0, cv=1.0, min_tokens=9, max_tokens=8), id="bounds"
        ),
        pytest.param(lambda: workload(RateProfile.steady(1.0), interval_cv=0.0), id="cv"),
        pytest.param(lambda: workload(RateProfile.steady(1.0), prefix_hit_ratio=1.0), id="hits"),
    ],
)
def test_what_cannot_be_drawn(broken):
    with pytest.raises(InvalidInputError):
        broken()
