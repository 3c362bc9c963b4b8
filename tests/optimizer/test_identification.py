"""Whether a fitted profile tells capacity: the standard error, and what it holds back."""

from dataclasses import replace

import numpy as np
import pytest

from optimizer.domain import EngineLimits, SloTargets, Trust
from optimizer.estimation import EstimatorState, learned, update
from optimizer.identification import LARGEST_CAPACITY_ERROR, capacity_error
from optimizer.profile_fit import FitStatus
from optimizer.profile_points import FitProblem
from optimizer.sizing import largest_arrival_rate
from optimizer.step_law import parameters_of

from .test_estimation import NOTHING, SEED, TRUTH, profiles, window, workloads
from .test_profile_fit import observed

LENGTHS = workloads(512.0, 256.0)
SHAPES = [(p, o, (r,)) for p, o in ((256, 256), (1024, 128), (512, 384)) for r in (2.0, 5.0, 9.0)]
WINDOWS = [(r, p, o) for p, o, (r,) in SHAPES]


def limits(batch=256, kv_tokens=4e5):
    return EngineLimits(
        max_batch_size=np.array([batch]),
        max_queue_size=np.array([1000]),
        kv_capacity_tokens=np.array([float(kv_tokens)]),
        max_batched_tokens=np.array([8192.0]),
    )


def targets(itl_s=0.02):
    return SloTargets(
        ttft_s=np.array([2.0]),
        itl_s=np.array([itl_s]),
        percentile_ratio=np.array([0.95]),
        throughput_tps=np.zeros(1),
    )


def error_of(points, *, itl_s=0.02, batch=256):
    problem = FitProblem(
        points=points, anchor=TRUTH[None], hold=np.zeros(1), start=TRUTH[None], dispersion=1.0
    )
    found = capacity_error(
        problem, TRUTH[None], workloads=LENGTHS, limits=limits(batch), slo=targets(itl_s)
    )
    return float(found[0])


def scattered(points, ratio, seed=0):
    noise = np.random.default_rng(seed).normal(0.0, ratio, points.itl_s.shape)
    return replace(points, itl_s=points.itl_s * np.exp(noise))


def test_capacity_is_sure_where_the_law_goes_through_many_shapes():
    assert error_of(observed(SHAPES)) < 0.01


@pytest.mark.parametrize("kept", [1, 3, 4], ids=lambda n: f"{n} points")
def test_no_more_points_than_parameters_tell_nothing(kept):
    assert error_of(observed(SHAPES[:kept])) == np.inf


@pytest.mark.parametrize(
    ("points", "than"),
    [
        pytest.param(scattered(observed(SHAPES), 0.05), scattered(observed(SHAPES), 0.01), id="scatter"),
        pytest.param(scattered(observed(SHAPES[:5]), 0.02), scattered(observed(SHAPES), 0.02), id="few"),
        pytest.param(
            scattered(observed([(512, 256, [1.0 + i / 50 for i in range(9)])]), 0.01),
            scattered(observed(SHAPES), 0.01),
            id="one load",
        ),
    ],
)  # fmt: skip
def test_capacity_is_less_sure(points, than):
    assert error_of(points) > 1.5 * error_of(than)


def capacity(theta, itl_s, batch):
    found = largest_arrival_rate(
        profiles(theta), LENGTHS, limits(batch), targets(itl_s), stability_margin_ratio=0.1
    )
    return found.rate_rps[0]


@pytest.mark.parametrize(
    ("itl_s", "batch"),
    [(0.02, 256), (0.015, 256), (1.0, 64)],
    ids=["ITL binds", "ITL binds early", "a full batch"],
)
def test_the_error_is_that_of_sized_capacity_within_a_third(itl_s, batch):
    """Against capacities of profiles drawn from the fit's covariance."""
    points = scattered(observed(SHAPES), 0.02)
    problem = FitProblem(
        points=points, anchor=TRUTH[None], hold=np.zeros(1), start=TRUTH[None], dispersion=1.0
    )
    drawn = [
        problem.fit(np.eye(5), held=False)
        for problem in (
            replace(problem, points=scattered(observed(SHAPES), 0.02, seed)) for seed in range(60)
        )
    ]
    rates = [capacity(fit.parameters[0], itl_s, batch) for fit in drawn]
    spread = np.subtract(*np.percentile(np.log(rates), [84, 16])) / 2.0
    assert 0.6 * spread < error_of(points, itl_s=itl_s, batch=batch) < 2.5 * spread


def feed(state, windows, *, scatter=0.0, seed=SEED, first_s=0.0, truth=TRUTH):
    random = np.random.default_rng(1)
    for i, (rate, prompt, output) in enumerate(windows):
        lengths = workloads(prompt, output)
        seen = window(rate, lengths, truth)
        seen = replace(seen, itl_s=seen.itl_s * np.exp(random.normal(0.0, scatter, 1)))
        state = update(
            state,
            names=("v",),
            observations=seen,
            workloads=lengths,
            seed=profiles(seed),
            now_s=first_s + 10.0 * i,
            limits=limits(),
            slo=targets(),
        )
    return state


def test_an_unsure_fit_is_declared_and_holds_the_seed():
    state = feed(EstimatorState.empty(("v",)), WINDOWS, scatter=0.2)
    found = learned(state, profiles(SEED))
    assert state.capacity_error[0] > LARGEST_CAPACITY_ERROR
    assert found.status[0] == FitStatus.SEED
    assert found.trust[0] == Trust.PRIOR
    np.testing.assert_array_equal(parameters_of(found.profiles)[0], SEED)


def test_a_sure_fit_is_learned_and_right():
    found = learned(feed(EstimatorState.empty(("v",)), WINDOWS), profiles(SEED))
    assert found.trust[0] == Trust.LEARNED
    ratio = capacity(parameters_of(found.profiles)[0], 0.02, 256) / capacity(TRUTH, 0.02, 256)
    assert ratio == pytest.approx(1.0, abs=0.05)


def test_a_fit_that_has_become_unsure_gives_way_to_the_last_good_one():
    sure = feed(EstimatorState.empty(("v",)), WINDOWS)
    others = [(r * 1.3, p * 1.3, o) for r, p, o in WINDOWS]
    unsure = feed(sure, others * 2, scatter=0.25, first_s=1000.0)
    assert unsure.capacity_error[0] > LARGEST_CAPACITY_ERROR
    found = learned(unsure, profiles(SEED))
    assert found.status[0] == FitStatus.HELD
    ratio = capacity(parameters_of(found.profiles)[0], 0.02, 256) / capacity(TRUTH, 0.02, 256)
    assert ratio == pytest.approx(1.0, abs=0.05)


def test_where_nobody_gave_a_seed_an_unsure_fit_is_all_there_is():
    state = feed(EstimatorState.empty(("v",)), WINDOWS, scatter=0.04, seed=NOTHING)
    assert state.capacity_error[0] > LARGEST_CAPACITY_ERROR
    assert learned(state, profiles(NOTHING)).trust[0] == Trust.LEARNED


def test_an_engine_that_has_changed_is_learned_anew_within_minutes():
    """What was sure is held against each window: a slower engine isn't taken for the old one."""
    slower = TRUTH * np.array([1.3, 1.4, 1.4, 1.4, 1.0])
    state = feed(EstimatorState.empty(("v",)), WINDOWS * 3, scatter=0.02)
    assert learned(state, profiles(SEED)).trust[0] == Trust.LEARNED
    state = feed(state, WINDOWS * 4, scatter=0.02, first_s=1000.0, truth=slower)
    found = learned(state, profiles(SEED))
    assert found.trust[0] == Trust.LEARNED
    ratio = capacity(parameters_of(found.profiles)[0], 0.02, 256) / capacity(slower, 0.02, 256)
    assert ratio == pytest.approx(1.0, abs=0.05)


def test_a_profile_that_engines_contradict_is_trusted_no_longer():
    state = feed(EstimatorState.empty(("v",)), WINDOWS * 3)
    state = feed(state, WINDOWS[:3], first_s=1000.0, truth=TRUTH * 1.4)
    assert learned(state, profiles(SEED)).trust[0] == Trust.PRIOR


def test_one_window_that_is_far_off_moves_nothing():
    state = feed(EstimatorState.empty(("v",)), WINDOWS * 3)
    before = state.good.copy()
    state = feed(state, WINDOWS[:1], first_s=1000.0, truth=TRUTH * 1.4)
    assert learned(state, profiles(SEED)).trust[0] == Trust.LEARNED
    np.testing.assert_allclose(state.good, before, rtol=0.05)
