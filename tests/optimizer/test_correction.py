"""Given profiles that are off by a factor are corrected, those that aren't are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from optimizer import Trust, plan
from optimizer.correction import TOLERATED, CorrectionState, corrected
from optimizer.step_law import parameters_of
from tests.helpers.closed_loop import ClosedLoop
from tests.optimizer.test_estimation import TRUTH, profiles, window, workloads

WINDOW_S = 20.0
LENGTHS = workloads(1000.0, 250.0)


def watched(factor, *, windows, state=None, given=True, noise=0.0, rate=4.0, first=0):
    """Let windows of engines be seen whose times are `factor` times those of the profile."""
    state = CorrectionState.empty() if state is None else state
    random, seen = np.random.default_rng(3), []
    for i in range(first, first + windows):
        truth = TRUTH * factor * np.exp(noise * random.standard_normal())
        found, state = corrected(
            state,
            profiles(TRUTH),
            names=("v",),
            given=np.array([given]),
            observations=window(rate, LENGTHS, truth, seconds=WINDOW_S),
            workloads=LENGTHS,
            now_s=WINDOW_S * i,
            window_s=WINDOW_S,
        )
        seen.append(float((parameters_of(found) / TRUTH)[0, 0]))
    return seen, state


@pytest.mark.parametrize("factor", [0.7, 1.0 / 0.7, 2.0], ids=["faster", "slower", "twice"])
def test_a_profile_that_is_off_is_corrected_within_minutes(factor):
    seen, _ = watched(factor, windows=10)
    assert seen[:4] == [1.0] * 4, "some windows are no proof"
    assert seen[-1] == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("factor", [1.0, 1.07, 0.93], ids=["right", "7-%-slower", "7-%-faster"])
def test_a_profile_is_left_as_given_while_the_law_may_be_what_is_inexact(factor):
    seen, _ = watched(factor, windows=400, noise=0.04)
    assert set(seen) == {1.0}


def test_a_correction_stands_still_while_engines_do():
    _, state = watched(1.4, windows=20)
    seen, _ = watched(1.4, windows=180, state=state, noise=0.03, first=20)
    assert len(set(seen)) <= 3


def test_a_profile_that_was_given_anew_begins_uncorrected():
    _, state = watched(1.4, windows=20)
    assert state.applied[0] > TOLERATED
    other = state.of(("v",), 2.0 * state.given_s)
    assert (other.applied[0], other.windows[0]) == (0.0, 0.0)


def test_learned_profiles_are_no_matter_of_a_factor():
    seen, _ = watched(1.4, windows=20, given=False)
    assert set(seen) == {1.0}


def test_what_is_off_beyond_belief_corrects_nothing():
    assert set(watched(5.0, windows=20)[0]) == {1.0}


def test_variants_are_matched_by_name():
    _, state = watched(1.4, windows=20)
    both = state.of(("new", "v"), np.array([1.0, state.given_s[0]]))
    assert both.applied.tolist() == [0.0, state.applied[0]]


@pytest.mark.parametrize(
    ("trust", "factor"),
    [
        pytest.param(Trust.GIVEN, 1.4, id="given: follows engines"),
        pytest.param(Trust.FIXED, 1.0, id="fixed: held"),
    ],
)
def test_a_fixed_profile_is_held_whatever_engines_do(trust, factor):
    _, state = watched(1.4, windows=20)
    asked = ClosedLoop(models=1).run(5.0, seconds=20.0).request()
    known = replace(state, names=asked.variant_names, given_s=asked.profiles.iteration_base_s)
    variants = replace(asked.variants, trust=np.array([int(trust)]))
    memory = replace(asked.state, correction=known)
    found = plan(replace(asked, variants=variants, state=memory))
    assert found.trust.tolist() == [trust]
    assert found.profile_ratio[0] == pytest.approx(factor, rel=0.06)
    in_force, given = parameters_of(found.profiles), parameters_of(asked.profiles)
    np.testing.assert_allclose(in_force, given * found.profile_ratio[0])
